/** What kong/deck hands to deck is what deck takes, and only adds. deck itself is no program of these tests; its schema is. */

import { readdirSync, readFileSync } from 'node:fs'
import { Ajv } from 'ajv'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'

const root = new URL('../../', import.meta.url)
const read = (path: string) => readFileSync(new URL(path, root), 'utf8')

interface DeckFile {
  readonly _info?: { readonly select_tags?: readonly string[]; readonly default_lookup_tags?: object }
  readonly _plugin_configs?: Readonly<Record<string, object>>
  readonly plugins?: readonly { readonly name: string; readonly service?: string; readonly _config?: string }[]
  readonly consumers?: readonly { readonly username: string }[]
}

// Draft 4, of which the schema uses nothing that changed since.
const { $schema, ...schema } = JSON.parse(read('test/fixtures/deck/kong_json_schema.json')) as Record<string, unknown>
const validate = new Ajv({ strict: false, validateFormats: false }).compile(schema)

/** As deck does it with its environment's variables, in text. */
const filled = (text: string) => text.replaceAll(/\$\{\{ env "(DECK_\w+)" \}\}/g, '$1')
const fileOf = (path: string) => parse(filled(read(path))) as DeckFile

const files = readdirSync(new URL('kong/deck', root)).map((name) => `kong/deck/${name}`)
const plugins = fileOf('kong/deck/plugins.yml')
const consumers = fileOf('kong/deck/consumers.yml')

describe.each(files)('%s', (path) => {
  test('is what deck takes', () => {
    expect($schema).toBe('http://json-schema.org/draft-04/schema#')
    expect(validate(fileOf(path)), JSON.stringify(validate.errors)).toBe(true)
  })

  test('only adds plugins and consumers, which deck tells from others by its tag', () => {
    const { _info, ...content } = fileOf(path)
    expect(_info?.select_tags).toEqual(['portcullis'])
    const entities = Object.keys(content).filter((name) => !name.startsWith('_'))
    expect(['plugins', 'consumers']).toEqual(expect.arrayContaining(entities))
  })
})

test('is refused by the schema when it is not what deck takes', () => {
  const token = { key: 'reports', algorithm: 'RS256', rsa_public_key: 'x' }
  expect(validate({ _format_version: '3.0', consumers: [{ username: 'reports', jwt_secrets: [token] }] })).toBe(false)
  expect(validate({ _format_version: '3.0', plugins: [{ name: 'llm-guard', enforce: true }] })).toBe(false)
})

test('puts every plugin on a service that is found by its tag, once, with a config that is there', () => {
  expect(plugins._info?.default_lookup_tags).toEqual({ services: ['llm'] })
  const places = (plugins.plugins ?? []).map(({ name, service }) => `${name} on ${service}`)
  expect(places.filter((place) => place.endsWith('undefined'))).toEqual([])
  expect(new Set(places).size).toBe(places.length)
  const named = new Set((plugins.plugins ?? []).flatMap(({ _config }) => _config ?? []))
  expect([...named].toSorted()).toEqual(Object.keys(plugins._plugin_configs ?? {}).toSorted())
})

test('has the consumer that stands for nobody under the name that the plugins call it', () => {
  const names = (consumers.consumers ?? []).map(({ username }) => username)
  const anonymous = Object.values(plugins._plugin_configs ?? {}).flatMap((config) =>
    'anonymous' in config ? [config.anonymous] : [],
  )
  expect(anonymous).toHaveLength(2)
  for (const name of anonymous) expect(names).toContain(name)
})

test('asks for no variable that the guide does not set', () => {
  const asked = new Set(files.flatMap((path) => [...read(path).matchAll(/env "(DECK_\w+)"/g)].map(([, name]) => name)))
  const set = [...read('kong/README.md').matchAll(/(DECK_\w+)=/g)].map(([, name]) => name)
  expect(set.toSorted()).toEqual([...asked].toSorted())
})
