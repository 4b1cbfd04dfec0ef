/** The manifests say what the rest of kong/ says, as far as that shows without a cluster. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { run } from '../../plugins/cli/program.ts'

const root = new URL('../../', import.meta.url)
const read = (path: string) => readFileSync(new URL(path, root), 'utf8')

const variables = new Map(
  read('kong/kong.env')
    .split('\n')
    .flatMap((line) => {
      const [, name, value] = /^KONG_(\w+)=(.*)$/.exec(line) ?? []
      return name === undefined || value === undefined ? [] : [[name.toLowerCase(), value] as const]
    }),
)

/** The chart sets these itself. */
const CHART = /^(database|declarative_config|trusted_ips|proxy_listen|admin_|status_listen|anonymous)/

describe('kong/kubernetes/values.yaml', () => {
  const { gateway } = parse(read('kong/kubernetes/values.yaml')) as { gateway: { env: Record<string, string> } }

  const { plugins = '', pluginserver_names: servers = '' } = gateway.env

  test('has the variables of kong.env, in the chart’s spelling', () => {
    const wanted = [...variables].filter(([name]) => !CHART.test(name) && !/^plugin/.test(name))
    expect(Object.fromEntries(Object.entries(gateway.env).filter(([name]) => !/^plugin/.test(name)))).toEqual(
      Object.fromEntries(wanted),
    )
    expect(wanted.length).toBeGreaterThan(10)
  })

  test('loads plugins as kong.env does', () => {
    for (const [name, value] of Object.entries(gateway.env))
      if (/^pluginserver_llm/.test(name)) expect(value, name).toBe(variables.get(name))
    expect(variables.get('plugins')?.split(',')).toEqual(expect.arrayContaining(plugins.split(',')))
    expect(variables.get('pluginserver_names')?.split(',')).toEqual(expect.arrayContaining(servers.split(',')))
    for (const name of servers.split(','))
      expect(Object.keys(gateway.env)).toContain(`pluginserver_${name.replaceAll('-', '_')}_query_cmd`)
  })

  test('has texts only, as variables are', () => {
    for (const [name, value] of Object.entries(gateway.env)) expect(typeof value, name).toBe('string')
  })
})

interface Manifest {
  readonly kind: string
  readonly metadata: { readonly name: string; readonly annotations?: Readonly<Record<string, string>> }
  readonly plugin?: string
  readonly config?: object
  readonly username?: string
  readonly spec?: { readonly externalName?: string }
}

describe('kong/kubernetes/llm.yaml', () => {
  const documents = parseAllDocuments(read('kong/kubernetes/llm.yaml'))
  const manifests = (Array.isArray(documents) ? documents : []).map((document) => document.toJS() as Manifest)
  const of = (kind: string) => manifests.filter((manifest) => manifest.kind === kind)
  const annotation = (kind: string, name: string) => of(kind)[0]?.metadata.annotations?.[`konghq.com/${name}`]

  test('names every plugin that it makes, and makes every plugin that it names', () => {
    const named = annotation('Ingress', 'plugins')?.split(',').toSorted()
    expect(named).toEqual(
      of('KongPlugin')
        .map(({ metadata }) => metadata.name)
        .toSorted(),
    )
  })

  test('shows nothing to `portcullis check` in Kong’s own words', async () => {
    const config = {
      _format_version: '3.0',
      services: [
        {
          name: 'openai',
          protocol: annotation('Service', 'protocol'),
          host: of('Service')[0]?.spec?.externalName,
          tls_verify: annotation('Service', 'tls-verify') === 'true',
          routes: [
            {
              name: 'openai',
              protocols: annotation('Ingress', 'protocols')?.split(','),
              plugins: of('KongPlugin').map(({ plugin, config: settings }) => ({ name: plugin, config: settings })),
            },
          ],
        },
      ],
      consumers: of('KongConsumer').map(({ username }) => ({ username })),
    }
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-kic-'))
    const path = join(folder, 'kong.json')
    writeFileSync(path, JSON.stringify(config))
    const out: string[] = []
    const io = { out: (text: string) => void out.push(text), err: (text: string) => void out.push(text), env: {} }
    for (const variables of ['kong/kong.env', 'kong/kubernetes/values.yaml'])
      await run(['check', path, '--strict', '--env', new URL(variables, root).pathname, '--fail-on', 'note'], io)
    rmSync(folder, { recursive: true })
    expect(out).toEqual(['no findings\n', 'no findings\n'])
  })
})
