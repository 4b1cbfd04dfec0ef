/** Rules that could not be judged are told of, wherever one looks; and variables are found where they lie. */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { RULES } from '../../../../plugins/cli/check/rules/index.ts'
import { EXIT } from '../../../../plugins/cli/io.ts'
import { FIXTURES, portcullis, ROOT } from './portcullis.ts'

const folder = mkdtempSync(join(tmpdir(), 'portcullis-check-gaps-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const read = (name: string) => readFileSync(`${FIXTURES}/${name}`, 'utf8')
const base = read('base.yml')
const good = read('socket-timeout.good.env')
const needing = (need: string) => RULES.filter((rule) => rule.needs === need).map(({ id }) => id)

/** A folder of its own with these files. Returns their paths. */
function filesOf(files: Readonly<Record<string, string>>): readonly string[] {
  const own = mkdtempSync(join(folder, 'case-'))
  return Object.entries(files).map(([name, content]) => {
    const path = join(own, name)
    mkdirSync(join(path, '..'), { recursive: true })
    writeFileSync(path, content)
    return path
  })
}

interface Report {
  readonly findings: readonly { readonly rule: string; readonly file: string; readonly line?: number }[]
  readonly notJudged: readonly { readonly rules: readonly string[]; readonly why: string; readonly fix: string }[]
  readonly variablesBeside: readonly string[]
}

async function report(...args: readonly string[]): Promise<Report> {
  const { out, err, code } = await portcullis(['check', '--json', ...args])
  expect(code, err).not.toBe(EXIT.failed)
  return JSON.parse(out) as Report
}

const rulesIn = ({ findings }: Report) => findings.map(({ rule }) => rule)

describe('a configuration without the variables of Kong', () => {
  const [path = ''] = filesOf({ 'kong.yml': base })

  it('is told of in text, at the end, with every rule by name and what to do', async () => {
    const { code, out } = await portcullis(['check', path])
    expect(code).toBe(EXIT.ok)
    const [summary, rules, why, fix, ...rest] = out.split('\n')
    expect(summary).toBe(`no findings, ${needing('variables').length} rules NOT JUDGED`)
    expect(rules).toBe(`NOT JUDGED: ${needing('variables').join(', ')}`)
    expect(needing('variables')).toEqual(expect.arrayContaining(['old-tls', 'plugin-server', 'socket-timeout']))
    expect(why).toBe('    why: no variables of Kong are known')
    expect(fix).toMatch(/^ {4}fix: .*--env/)
    expect(rest).toEqual([''])
  })

  it('is told of in JSON and SARIF, and beside them for whoever watches', async () => {
    expect((await report(path)).notJudged).toEqual([
      {
        rules: needing('variables'),
        why: 'no variables of Kong are known',
        fix: expect.stringContaining('--env') as string,
      },
    ])
    const { out, err } = await portcullis(['check', path, '--format', 'sarif'])
    const [invocation] = (JSON.parse(out) as { runs: [{ invocations: object[] }] }).runs[0].invocations
    expect(invocation).toEqual({
      executionSuccessful: true,
      toolConfigurationNotifications: needing('variables').map((id) => ({
        level: 'warning',
        message: { text: expect.stringContaining('--env') as string },
        associatedRule: { id },
      })),
    })
    expect(err).toContain('NOT JUDGED: plugin-server')
  })

  it('ends with 1 when that is asked for, unless those rules are ignored', async () => {
    expect((await portcullis(['check', path, '--strict'])).code).toBe(EXIT.findings)
    expect((await portcullis(['check', path, '--strict', '--env', filesOf({ e: good })[0] ?? ''])).code).toBe(EXIT.ok)
    const ignored = needing('variables').flatMap((id) => ['--ignore', id])
    expect(await portcullis(['check', path, '--strict', ...ignored])).toMatchObject({
      code: EXIT.ok,
      out: 'no findings\n',
    })
  })

  it('is not told of where they are known', async () => {
    const { out } = await portcullis(['check', path, '--env', filesOf({ e: good })[0] ?? ''])
    expect(out).toBe('no findings\n')
    expect((await report(`${ROOT}kong/kong.yml`)).notJudged).toEqual([])
  })
})

it('plugins on services of other files say nothing about how those are reached, and the report says so', async () => {
  const plugins = `${ROOT}kong/deck/plugins.yml`
  const { notJudged } = await report(plugins, '--env', `${ROOT}kong/kong.env`)
  expect(notJudged).toMatchObject([{ rules: needing('routes'), why: expect.stringContaining('elsewhere') as string }])
  expect(needing('routes')).toEqual(expect.arrayContaining(['http-allowed', 'upstream-in-clear']))
  const [services = ''] = filesOf({
    'services.yml': `_format_version: "3.0"\nservices:\n${['openai', 'anthropic', 'gemini', 'vllm']
      .map(
        (name) =>
          `  - {name: ${name}, url: "https://${name}.internal", tls_verify: true, routes: [{name: ${name}, protocols: [http]}]}`,
      )
      .join('\n')}\n`,
  })
  const whole = await report(plugins, services, '--env', `${ROOT}kong/kong.env`)
  expect(whole.notJudged).toEqual([])
  expect(new Set(rulesIn(whole))).toEqual(new Set(['http-allowed']))
})

describe('variables beside the configuration', () => {
  const old = `${good}KONG_SSL_PROTOCOLS=TLSv1.1 TLSv1.2\n`

  it('are taken from a kong.env, and the report names it', async () => {
    const [path = '', env = ''] = filesOf({ 'kong.yml': base, 'kong.env': old })
    const found = await report(path)
    expect(found.variablesBeside).toEqual([env])
    expect(found.findings).toMatchObject([{ rule: 'old-tls', file: env, line: old.trim().split('\n').length }])
    expect((await portcullis(['check', path])).out).toContain(`\nvariables: ${env} (`)
  })

  it('give way to those that are named, and to --no-env', async () => {
    const [path = '', , named = ''] = filesOf({ 'kong.yml': base, 'kong.env': old, 'other.env': good })
    expect(await report(path, '--env', named)).toMatchObject({ findings: [], variablesBeside: [], notJudged: [] })
    expect(await report(path, '--no-env')).toMatchObject({ findings: [], notJudged: [{ rules: needing('variables') }] })
  })

  it('are taken from a kong.conf as Kong reads it, and a variable wins over it', async () => {
    const settings = good
      .split('\n')
      .flatMap((line) => /^KONG_(\w+)=(.*)$/.exec(line)?.slice(1, 3).join('\u0000') ?? [])
      .map((line) => line.split('\u0000'))
    const conf = settings
      .map(([name = '', value = '']) => `${name.toLowerCase()} = ${value}   # said \\# so`)
      .join('\n')
    const [path = ''] = filesOf({ 'kong.yml': base, 'kong.conf': `# ssl_protocols = TLSv1\n${conf}\n` })
    expect(await report(path)).toMatchObject({ findings: [], notJudged: [] })
    const older = filesOf({ 'kong.yml': base, 'kong.conf': `${conf}\nssl_cipher_suite=old # for one client\n` })
    expect((await report(older[0] ?? '')).findings).toMatchObject([
      { rule: 'old-tls', file: older[1], line: settings.length + 1 },
    ])
    const mended = filesOf({
      'kong.yml': base,
      'kong.conf': `${conf}\nssl_cipher_suite=old\n`,
      'kong.env': 'KONG_SSL_CIPHER_SUITE=modern\n',
    })
    expect(await report(mended[0] ?? '')).toMatchObject({ findings: [], variablesBeside: [mended[1], mended[2]] })
  })

  it.each([
    ['kong/kong', (env: string) => `env:\n${env}`],
    ['kong/ingress', (env: string) => `controller: {enabled: true}\ngateway:\n  env:\n${env.replaceAll(/^/gm, '  ')}`],
  ])('may be named as the values of the chart %s', async (_, chart) => {
    const settings = [...good.matchAll(/^KONG_(\w+)=(.*)$/gm)]
    const env = settings
      .map(([, name = '', value = '']) => `  ${name.toLowerCase()}: ${JSON.stringify(value)}`)
      .join('\n')
    const secret = '  pg_password: {valueFrom: {secretKeyRef: {name: db, key: password}}}'
    const [path = '', values = '', older = ''] = filesOf({
      'kong.yml': base,
      'values.yaml': chart(`${env}\n${secret}`),
      'older.yaml': chart(`${env}\n  ssl_cipher_suite: old`),
    })
    expect(await report(path, '--env', values)).toMatchObject({ findings: [], notJudged: [] })
    const line = readFileSync(older, 'utf8').split('\n').length
    expect((await report(path, '--env', older)).findings).toMatchObject([{ rule: 'old-tls', file: older, line }])
  })

  it('are those of the service of a compose file that serves, with the defaults of what the shell may set', async () => {
    const [path = '', compose = ''] = filesOf({
      'kong.yml': base,
      'compose.yml': [
        'x-kong: &kong {KONG_DATABASE: postgres, KONG_PG_HOST: db}',
        'services:',
        '  migrations: {environment: {<<: *kong}}',
        '  kong:',
        '    env_file: [node.env]',
        `    environment: {<<: *kong, KONG_SSL_CIPHER_SUITE: "\${SUITE:-old}", KONG_LOG_LEVEL: "\${LEVEL-info}"}`,
        '  ping: {environment: ["KONG_PG_PASSWORD=a$$b"]}',
      ].join('\n'),
      'node.env': good,
    })
    expect((await report(path, '--env', compose)).findings).toMatchObject([{ rule: 'old-tls', file: compose, line: 6 }])
    const elsewhere = filesOf({ 'node.env': good })
    const mended = readFileSync(compose, 'utf8')
      .replace(':-old', ':-modern')
      .replace('[node.env]', elsewhere[0] ?? '')
    writeFileSync(compose, mended)
    rmSync(join(compose, '../node.env'))
    expect(await report(path, '--env', compose)).toMatchObject({ findings: [], notJudged: [] })
  })

  it('are none in a file that says nothing to Kong', async () => {
    const [path = ''] = filesOf({ 'kong.yml': base, 'kong.env': 'OPENAI_AUTHORIZATION=x\n' })
    expect(await report(path)).toMatchObject({ variablesBeside: [], notJudged: [{ rules: needing('variables') }] })
  })
})

describe('the settings of a running Kong', () => {
  let server: Server | undefined
  afterEach(() => void server?.close())

  const recorded = JSON.parse(read('settings-3.9.1.json')) as { readonly configuration: object }

  /** An Admin API with one service of `base.yml`, that answers so to `GET /`. */
  async function serve(status: number, root: object): Promise<string> {
    const service = { id: 's', name: 'openai', host: 'api.openai.com', protocol: 'https', tls_verify: true }
    const lists: Readonly<Record<string, object[]>> = {
      services: [service],
      routes: [{ id: 'r', name: 'openai', protocols: ['https'], service: { id: 's' } }],
      consumers: [],
      plugins: Object.entries({
        'llm-key': { key_in_query: false },
        'key-auth': { key_in_query: false, hide_credentials: true },
        'llm-edge': {},
        'llm-upstream': {},
      }).map(([name, config]) => ({ id: name, name, config, service: { id: 's' } })),
    }
    server = createServer(({ url = '' }, response) => {
      const path = new URL(url, 'http://kong').pathname.slice(1)
      const found = path === '' ? root : lists[path] && { data: lists[path], next: null }
      response
        .writeHead(path === '' ? status : found ? 200 : 404)
        .end(JSON.stringify(found ?? { message: 'Not found' }))
    })
    await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  it('are judged as variables are', async () => {
    expect(await report(await serve(200, recorded), '--fail-on', 'note')).toMatchObject({ findings: [], notJudged: [] })
    server?.close()
    const url = await serve(200, {
      ...recorded,
      configuration: {
        ...recorded.configuration,
        ssl_cipher_suite: 'old',
        nginx_proxy_lua_socket_read_timeout: '60s',
        pluginserver_llm_scope_socket: '/usr/local/kong/other.socket',
        trusted_ips: ['10.0.0.0/8', '0.0.0.0/0'],
      },
    })
    const found = await report(url)
    expect(rulesIn(found).toSorted()).toEqual(['old-tls', 'plugin-server', 'socket-timeout', 'trusts-everybody'])
    expect(new Set(found.findings.map(({ file }) => file))).toEqual(new Set([`${url}/`]))
  })

  it.each([
    ['as long as Kong runs the plugin server', 500, { message: 'An unexpected error occurred' }, /GET \/ is 500/],
    ['behind somebody who keeps them', 403, {}, /GET \/ is 403/],
    ['of a control plane', 200, { configuration: { role: 'control_plane' } }, /data planes/],
    ['that are no settings', 200, { configuration: [] }, /does not tell/],
  ] as const)('are not known %s, which the report says', async (_, status, root, why) => {
    const url = await serve(status, root)
    const { notJudged } = await report(url)
    expect(notJudged).toMatchObject([{ rules: needing('variables'), why: expect.stringMatching(why) as string }])
    expect(await report(url, '--env', filesOf({ e: good })[0] ?? '')).toMatchObject({ notJudged: [] })
  })
})
