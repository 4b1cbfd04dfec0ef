/** What an operator deploys fits together: kong/kong.env, kong/kong.yml and the plugins that there are. */

import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { PLUGIN_NAMES } from '../../plugins/kong/registry.ts'
import { parsePolicyConfig } from '../../policies/schema/parse.ts'
import { tokenLimit } from '../../policies/token-limit/index.ts'

const COMPANIONS = ['llm-key', 'llm-edge', 'llm-guard']

const root = new URL('../../', import.meta.url)
const read = (path: string) => readFileSync(new URL(path, root), 'utf8')

interface PluginEntry {
  readonly name: string
  readonly config?: { readonly require?: readonly string[] }
}

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

describe('kong/kong.yml', () => {
  const config = parse(read('kong/kong.yml')) as { services: { plugins: PluginEntry[] }[] }
  const plugins = config.services.flatMap((service) => service.plugins)

  test('guards every plugin that decides', () => {
    const deciding = plugins.map(({ name }) => name).filter((name) => PLUGIN_NAMES.includes(name))
    expect(plugins.find(({ name }) => name === 'llm-guard')?.config?.require).toEqual(deciding)
  })

  test('has a config of llm-token-limit that its parser takes', () => {
    const limit = plugins.find(({ name }) => name === 'llm-token-limit')
    expect(() => parsePolicyConfig(tokenLimit, limit?.config)).not.toThrow()
  })
})
