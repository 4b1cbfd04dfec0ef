/** What an operator deploys fits together: kong/kong.env, kong/kong.yml and the plugins that there are. */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { EXIT } from '../../plugins/cli/io.ts'
import { run } from '../../plugins/cli/program.ts'
import { PLUGIN_NAMES } from '../../plugins/kong/registry.ts'
import { createRedactor } from '../../policies/redaction/index.ts'

const COMPANIONS = ['llm-key', 'llm-edge', 'llm-guard', 'llm-upstream']

const root = new URL('../../', import.meta.url)
const read = (path: string) => readFileSync(new URL(path, root), 'utf8')

describe('kong/kong.env', () => {
  const lines = read('kong/kong.env').split('\n')
  const variables = new Map(
    lines.flatMap((line) => {
      const [, name, value] = /^(\w+)=(.*)$/.exec(line) ?? []
      return name === undefined || value === undefined ? [] : [[name, value] as const]
    }),
  )
  const variable = (plugin: string, what: string) =>
    variables.get(`KONG_PLUGINSERVER_${plugin.toUpperCase().replaceAll('-', '_')}_${what}`)

  test('loads every plugin of the pack', () => {
    expect(variables.get('KONG_PLUGINS')?.split(',').toSorted()).toEqual(
      ['bundled', ...COMPANIONS, ...PLUGIN_NAMES].toSorted(),
    )
    for (const name of COMPANIONS)
      for (const file of ['handler', 'schema'])
        expect(existsSync(new URL(`kong/plugins/${name}/${file}.lua`, root)), `${name}/${file}.lua`).toBe(true)
  })

  test('asks for each plugin by its own command, all on one socket, and starts one process', () => {
    const names = variables.get('KONG_PLUGINSERVER_NAMES')?.split(',') ?? []
    expect(names.toSorted()).toEqual(PLUGIN_NAMES.toSorted())
    const sockets = names.map((name) => variable(name, 'SOCKET'))
    expect(new Set(sockets).size).toBe(1)
    for (const name of names) expect(variable(name, 'QUERY_CMD')).toMatch(new RegExp(` dump ${name}$`))
    const [first, ...others] = names.map((name) => variable(name, 'START_CMD'))
    expect(first).toMatch(new RegExp(` serve --socket ${sockets[0]}$`))
    expect(others.filter((command) => command !== undefined)).toEqual([])
  })

  test('says of every group of variables why, and quotes nothing', () => {
    for (const block of lines.join('\n').split(/\n\n+/)) expect(block).toMatch(/^# .+\./)
    for (const [name, value] of variables) expect(value, name).not.toMatch(/["']/)
  })
})

/** Every configuration that we hand out. */
const configs = ['kong', 'kong/deck', 'kong/migration']
  .filter((folder) => existsSync(new URL(folder, root)))
  .flatMap((folder) => readdirSync(new URL(folder, root)).map((file) => `${folder}/${file}`))
  .filter((path) => /\.ya?ml$/.test(path) && read(path).includes('_format_version'))

/** What somebody runs before they come to us is as it is found. */
const ours = configs.filter((path) => !path.endsWith('.before.yml'))

test('hands out the configurations that README and the guides name', () => {
  expect(ours).toEqual(expect.arrayContaining(['kong/kong.yml', 'kong/demo.yml']))
})

describe.each(ours)('%s', (path) => {
  test('shows nothing to `portcullis check`, together with kong.env', async () => {
    const out: string[] = []
    const env = ['--env', new URL('kong/kong.env', root).pathname]
    const code = await run(['check', new URL(path, root).pathname, ...env, '--fail-on', 'note'], {
      out: (text) => void out.push(text),
      err: (text) => void out.push(text),
      env: {},
    })
    expect(out.join('')).toMatch(/^no findings/)
    expect(code).toBe(EXIT.ok)
  })

  test('has no secret in it', () => {
    const secret = createRedactor({ families: ['secret'] })
    expect(secret.find(read(path)).map(({ start, end }) => read(path).slice(start, end))).toEqual([])
  })
})

test('shows nothing to `portcullis check` as docker compose runs it', async () => {
  const out: string[] = []
  const io = { out: (text: string) => void out.push(text), err: (text: string) => void out.push(text), env: {} }
  const [demo, compose] = ['kong/demo.yml', 'docker-compose.yml'].map((path) => new URL(path, root).pathname)
  await run(['check', demo ?? '', '--env', compose ?? '', '--fail-on', 'note'], io)
  expect(out.join('')).toMatch(/^no findings/)
})
