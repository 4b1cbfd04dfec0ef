import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { readAdminApi } from '../../../../plugins/cli/check/admin-api.ts'
import { Places } from '../../../../plugins/cli/check/document.ts'
import { RULES } from '../../../../plugins/cli/check/rules/index.ts'
import { EXIT } from '../../../../plugins/cli/io.ts'
import { FIXTURES, findings, portcullis, ROOT } from './portcullis.ts'

const folder = mkdtempSync(join(tmpdir(), 'portcullis-check-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const base = readFileSync(`${FIXTURES}/base.yml`, 'utf8')
/** In which nothing is to be found. */
const VARIABLES = `${FIXTURES}/socket-timeout.good.env`

function fileOf(content: string, name = 'kong.yml'): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

async function rulesIn(...args: string[]): Promise<string[]> {
  const found = await findings(args)
  return [...new Set(found.filter(({ acknowledged }) => !acknowledged).map(({ rule }) => rule))]
}

describe('what is judged', () => {
  it('leaves routes alone that lead to no model', async () => {
    const config = fileOf(
      '_format_version: "3.0"\nservices: [{name: shop, url: "http://shop.example.com", routes: [{name: shop}]}]\n',
    )
    expect(await rulesIn(config)).toEqual([])
    expect(await rulesIn(config, '--all-routes')).toEqual(
      ['upstream-in-clear', 'http-allowed', 'route-without-auth'].toSorted(),
    )
  })

  it('judges a route to a provider that has nothing of the pack on it', async () => {
    const config = fileOf(
      '_format_version: "3.0"\nservices: [{name: o, host: api.openai.com, protocol: https, tls_verify: true, routes: [{name: o, protocols: [https]}]}]\n',
    )
    expect(await rulesIn(config)).toEqual(['route-without-auth'])
  })

  it.each<readonly [what: string, targets: string]>([
    ['on it', 'upstreams: [{name: models, targets: [{target: "10.0.0.1:80"}, {target: "api.openai.com:443"}]}]'],
    [
      'beside it',
      'upstreams: [{name: models}]\ntargets: [{upstream: models, target: "api.openai.com:443"}, {upstream: {name: models}, target: "10.0.0.1:80"}]',
    ],
  ])('judges a route to a provider that is a target of an upstream, written %s', async (_, targets) => {
    const config = fileOf(
      `_format_version: "3.0"\n${targets}\nservices: [{name: o, host: models, protocol: http, routes: [{name: o, protocols: [https]}]}]\n`,
    )
    expect((await rulesIn(config)).toSorted()).toEqual(['route-without-auth', 'upstream-in-clear'])
    const inside = readFileSync(config, 'utf8').replace('api.openai.com:443', '[fd00::1]:8000')
    expect(await rulesIn(fileOf(inside))).toEqual([])
    expect(await rulesIn(fileOf(inside), '--all-routes')).toEqual(['route-without-auth'])
  })

  it('judges plugins by what they stand on, also where that is defined elsewhere', async () => {
    const config = fileOf(
      '_format_version: "3.0"\nplugins:\n  - name: llm-token-limit\n    service: existing\n    config: {store: redis, redis: {host: redis}, limits: [{name: t, limit: 1, window_seconds: 60}]}\n',
    )
    expect((await rulesIn(config)).toSorted()).toEqual(['edge-missing', 'guard-missing', 'route-without-auth'])
  })

  it('takes several files together', async () => {
    const guard = '      - name: llm-guard\n        config:\n          require: [llm-scope, llm-token-limit]\n'
    const without = fileOf(base.replace(guard, ''), 'without.yml')
    const rest = fileOf(
      '_format_version: "3.0"\nplugins:\n  - name: llm-guard\n    service: {name: openai}\n    config: {require: [llm-scope, llm-token-limit]}\n',
      'rest.yml',
    )
    expect(await rulesIn(without)).toEqual(['guard-missing'])
    expect(await rulesIn(without, rest)).toEqual([])
  })

  it('reads deck’s shared configs and defaults', async () => {
    const config = fileOf(
      base
        .replace('        protocols: [https]\n', '')
        .replace('        config:\n          hide_credentials: true\n', '        _config: keys\n')
        .replace(
          'services:',
          '_info: {defaults: {route: {protocols: [https]}}}\n_plugin_configs: {keys: {hide_credentials: true}}\nservices:',
        ),
    )
    expect(await rulesIn(config)).toEqual([])
  })

  it('reads the variables of a compose file, those of its env_file too', async () => {
    writeFileSync(join(folder, 'node.env'), readFileSync(`${FIXTURES}/socket-timeout.bad.env`))
    const compose =
      'services:\n  redis: {image: redis}\n  kong:\n    env_file: node.env\n    environment:\n      KONG_LOG_LEVEL: debug\n'
    const path = fileOf(compose, 'compose.yml')
    expect((await rulesIn(`${FIXTURES}/base.yml`, '--env', path)).toSorted()).toEqual(['debug-log', 'socket-timeout'])
    const fixed = fileOf(
      compose
        .replace('debug', 'info')
        .replace('environment:', 'environment:\n      KONG_NGINX_PROXY_LUA_SOCKET_READ_TIMEOUT: 2s'),
      'fixed.yml',
    )
    expect(await rulesIn(`${FIXTURES}/base.yml`, '--env', fixed)).toEqual([])
  })
})

describe('acknowledging', () => {
  const bad = readFileSync(`${FIXTURES}/edits-after-scope.bad.yml`, 'utf8')
  const tagged = (rule: string) =>
    fileOf(
      bad.replace(
        '- name: request-transformer\n',
        `- name: request-transformer\n        tags: ["portcullis-ack:${rule}"]\n`,
      ),
    )

  it('takes a tag with the rule’s name, on that entity', async () => {
    const path = tagged('edits-after-scope')
    expect(await rulesIn(path)).toEqual([])
    expect((await findings([path])).map(({ acknowledged }) => acknowledged)).toEqual([true])
    expect((await portcullis(['check', path, '--env', VARIABLES])).out).toBe('no findings, 1 acknowledged\n')
  })

  it('takes no other tag', async () => {
    expect(await rulesIn(tagged('http-allowed'))).toEqual(['edits-after-scope'])
  })
})

describe('how it ends', () => {
  const note = `${FIXTURES}/in-shadow.bad.yml`
  const warning = `${FIXTURES}/body-caps.bad.yml`

  it.each([
    [note, 'error', EXIT.ok],
    [note, 'warning', EXIT.ok],
    [note, 'note', EXIT.findings],
    [warning, 'error', EXIT.ok],
    [warning, 'warning', EXIT.findings],
  ])('%s with --fail-on %s: %i', async (path, failOn, code) => {
    expect((await portcullis(['check', path, '--fail-on', failOn])).code).toBe(code)
  })

  it.each([
    [[], /name a declarative file/],
    [['/nowhere/kong.yml'], /ENOENT/],
    [[fileOf('a: 1\n', 'other.yml')], /no declarative configuration/],
    [[fileOf('_format_version: "1.1"\n', 'old.yml')], /_format_version/],
    [[`${FIXTURES}/base.yml`, '--ignore', 'no-such-rule'], /no-such-rule/],
    [[`${FIXTURES}/base.yml`, '--env', `${FIXTURES}/README.md`], /KONG_/],
    [[`${FIXTURES}/base.yml`, '--fail-on', 'never'], /fail-on/],
    [['http://127.0.0.1:1', `${FIXTURES}/base.yml`], /either files or/],
    [['http://user:hunter2secret@127.0.0.1:1'], /without user/],
  ] as [string[], RegExp][])('%s cannot be done', async (args, why) => {
    const { code, out, err } = await portcullis(['check', ...args])
    expect({ code, out }).toEqual({ code: EXIT.failed, out: '' })
    expect(err).toMatch(why)
    expect(err).not.toContain('hunter2secret')
  })

  it('runs as a command', () => {
    const main = join(ROOT, 'plugins/cli/main.ts')
    const ran = spawnSync(process.execPath, ['--import', 'tsx', main, 'check', warning, '--env', VARIABLES], {
      cwd: ROOT,
      encoding: 'utf8',
    })
    expect(ran.status, ran.stderr).toBe(EXIT.findings)
    expect(ran.stdout).toMatch(/^.*body-caps\.bad\.yml:\d+: warning \[body-caps\] .*\n {4}fix: .*\n1 warning\n$/)
  })
})

describe('SARIF', () => {
  const schema = JSON.parse(readFileSync(`${FIXTURES}/sarif-schema-2.1.0.json`, 'utf8')) as object
  const validate = new Ajv({ strict: false, validateFormats: false }).compile(schema)
  const bad = readdirSync(FIXTURES)
    .filter((name) => name.endsWith('.bad.yml'))
    .map((name) => `${FIXTURES}/${name}`)

  it.each(bad)('of %s is valid against the OASIS schema', async (path) => {
    const { out } = await portcullis(['check', path, '--format', 'sarif'])
    expect(validate(JSON.parse(out)), JSON.stringify(validate.errors)).toBe(true)
  })

  it('is refused by the schema when it is wrong', () => {
    expect(validate({ version: '2.1.0', runs: [{ results: [] }] })).toBe(false)
  })

  it('points at a line, names its rule, and carries what was acknowledged as suppressed', async () => {
    const path = `${FIXTURES}/client-key-in-clear.good.yml`
    const { out } = await portcullis(['check', path, '--format', 'sarif'])
    const log = JSON.parse(out) as {
      runs: [
        {
          tool: { driver: { rules: { id: string }[] } }
          results: { ruleId: string; ruleIndex: number; suppressions?: object[]; locations: object[] }[]
        },
      ]
    }
    const [run] = log.runs
    const [result] = run.results
    expect(run.tool.driver.rules.map(({ id }) => id)).toEqual(RULES.map(({ id }) => id))
    expect(run.tool.driver.rules[result?.ruleIndex ?? -1]?.id).toBe('client-key-in-clear')
    expect(result?.suppressions).toHaveLength(1)
    const line =
      readFileSync(path, 'utf8')
        .split('\n')
        .findIndex((text) => text.includes('bob-example-key')) + 1
    expect(result?.locations).toEqual([
      { physicalLocation: { artifactLocation: { uri: path }, region: { startLine: line } } },
    ])
  })
})

describe('secrets', () => {
  const secret = `sk-${'proj'}-9f8Q2mZx7LkV4bN1cR6tY3wE5uHjP0aSdGfT3BlbkFJ8sD2kLmQ9zXcVbN4rT7yU1oW`

  it.each(['text', 'json', 'sarif'])('stay out of %s, wherever they stand', async (format) => {
    const spots = [
      base.replace('redis: {host: redis}', `redis: {host: redis, password: "${secret}"}`),
      base
        .replace('name: openai\n        paths', `name: "${secret}"\n        paths`)
        .replace('protocols: [https]', 'protocols: [http]'),
      base.replace('username: bob', `username: "${secret}"\n    keyauth_credentials: [{key: "${secret}"}]`),
      base.replace(
        '- name: llm-key',
        `- name: "${secret}"\n        config: {"${secret}": "${secret}"}\n      - name: llm-key`,
      ),
      base.replace('window_seconds', secret),
      base.replace('https://api.openai.com', `http://user:${secret}@api.openai.com`),
    ]
    for (const content of spots) {
      const { out, err } = await portcullis(['check', fileOf(content), '--format', format, '--explain'])
      expect(out + err).not.toContain(secret)
    }
  })

  it('are found in any field of any plugin', async () => {
    const config = base.replace(
      'consumers:',
      `      - name: some-plugin\n        config: {deep: [{er: ["x", "${secret}"]}]}\nconsumers:`,
    )
    const [found] = await findings([fileOf(config)])
    expect(found).toMatchObject({ rule: 'secret-in-clear', what: 'some-plugin holds a secret in config.deep[0].er[1]' })
  })

  it('keeps a name from moving a terminal’s cursor', async () => {
    const { out } = await portcullis([
      'check',
      fileOf(
        base
          .replace('name: openai\n        paths', 'name: "\\e[2J\\u202e"\n        paths')
          .replace('protocols: [https]', 'protocols: [http]'),
      ),
    ])
    expect(out).toContain('route "\\u{1b}[2J\\u{202e}"')
    expect(out.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u)
  })
})

describe('a running Admin API', () => {
  let server: Server | undefined
  afterEach(() => void server?.close())

  type Answer = (path: string, query: URLSearchParams, token: string | undefined) => object | undefined

  async function serve(answer: Answer): Promise<string> {
    server = createServer((request, response) => {
      const url = new URL(request.url ?? '/', 'http://kong')
      const found = answer(url.pathname, url.searchParams, request.headers['kong-admin-token'] as string | undefined)
      response.writeHead(found === undefined ? 404 : 200, { 'content-type': 'application/json' })
      response.end(JSON.stringify(found ?? { message: 'Not found' }))
    })
    await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  /** The entities of a declarative file as the Admin API lists them, one to a page. */
  function listsOf(content: string): Readonly<Record<string, object[]>> {
    const { services = [], consumers = [] } = parse(content) as Record<string, Record<string, unknown>[]>
    const lists: Record<string, object[]> = { services: [], routes: [], consumers: [], plugins: [], 'key-auths': [] }
    for (const { routes, plugins, ...service } of services) {
      const url = new URL(String(service.url))
      lists.services?.push({
        ...service,
        id: `id-${service.name}`,
        host: url.hostname,
        protocol: url.protocol.slice(0, -1),
        url: undefined,
      })
      for (const route of routes as object[])
        lists.routes?.push({ id: 'r1', ...route, service: { id: `id-${service.name}` } })
      for (const [index, plugin] of (plugins as object[]).entries())
        lists.plugins?.push({ id: `p${index}`, ...plugin, service: { id: `id-${service.name}` } })
    }
    for (const { keyauth_credentials: keys = [], ...consumer } of consumers) {
      lists.consumers?.push({ ...consumer, id: `id-${consumer.username}` })
      for (const key of keys as object[])
        lists['key-auths']?.push({ ...key, consumer: { id: `id-${consumer.username}` } })
    }
    return lists
  }

  const paged =
    (lists: Readonly<Record<string, object[]>>): Answer =>
    (path, query) => {
      const list = lists[path.slice(1)]
      if (list === undefined) return undefined
      const at = Number(query.get('offset') ?? 0)
      return { data: list.slice(at, at + 1), next: at + 1 < list.length ? `${path}?offset=${at + 1}` : null }
    }

  it('is read page by page, and judged as a file is', async () => {
    expect(await rulesIn(await serve(paged(listsOf(base))))).toEqual([])
    server?.close()
    const url = await serve(
      paged(
        listsOf(
          readFileSync(`${FIXTURES}/guard-incomplete.bad.yml`, 'utf8').replace(
            'require: [llm-scope, llm-token-limit]',
            'require: [llm-token-limit]',
          ),
        ),
      ),
    )
    expect(await findings([url])).toMatchObject([{ rule: 'guard-incomplete', file: `${url}/plugins/p5` }])
  })

  it('knows where an upstream leads', async () => {
    const lists: Readonly<Record<string, object[]>> = {
      upstreams: [
        { id: 'u-1', name: 'other' },
        { id: 'u-2', name: 'models' },
      ],
      'upstreams/u-1/targets': [{ id: 't-1', target: '10.0.0.1:80' }],
      'upstreams/u-2/targets': [
        { id: 't-2', target: '10.0.0.2:443' },
        { id: 't-3', target: 'api.anthropic.com:443' },
      ],
      services: [{ id: 's', name: 'o', host: 'models', protocol: 'https', tls_verify: true }],
      routes: [{ id: 'r', name: 'o', protocols: ['https'], service: { id: 's' } }],
      consumers: [],
      plugins: [],
    }
    expect(await rulesIn(await serve(paged(lists)))).toEqual(['route-without-auth'])
  })

  it('shows keys in clear always, so that is no finding; their age is', async () => {
    const lists = listsOf(base)
    const created = Math.floor(Date.UTC(2020, 0, 1) / 1000)
    const url = await serve(
      paged({ ...lists, 'key-auths': [{ id: 'k', key: 'clear', created_at: created, consumer: { id: 'id-bob' } }] }),
    )
    expect(await rulesIn(url)).toEqual(['key-too-old'])
  })

  it('gets the header from the environment', async () => {
    const lists = paged(listsOf(base))
    const url = await serve((path, query, token) => (token === 't0ken' ? lists(path, query, token) : undefined))
    expect((await portcullis(['check', url])).code).toBe(EXIT.failed)
    const ran = await portcullis(['check', url], { PORTCULLIS_ADMIN_HEADER: 'Kong-Admin-Token: t0ken' })
    expect(ran).toMatchObject({ code: EXIT.ok, err: '' })
    const bad = await portcullis(['check', url], { PORTCULLIS_ADMIN_HEADER: 'Kong-Admin-Token t0ken' })
    expect(bad.code).toBe(EXIT.failed)
    expect(bad.err).not.toContain('t0ken')
  })

  it('says why nobody answers', async () => {
    const url = await serve(() => undefined)
    await new Promise((resolve) => server?.close(resolve))
    const { code, err } = await portcullis(['check', url])
    expect({ code, err }).toEqual({
      code: EXIT.failed,
      err: 'portcullis: could not read /services of the Admin API: ECONNREFUSED\n',
    })
  })

  it.each<[string, Answer]>([
    ['pages that go round', (path) => ({ data: [], next: `${path}?offset=1` })],
    ['a next page elsewhere', () => ({ data: [], next: 'http://169.254.169.254/latest' })],
    ['no list', () => ({ message: 'hello' })],
    ['a list of anything', () => ({ data: [null, 'x'], next: null })],
    ['nothing', () => undefined],
  ])('is refused with %s', async (_, answer) => {
    const { code, err } = await portcullis(['check', await serve(answer)])
    expect(code).toBe(EXIT.failed)
    expect(err).toContain('/services')
  })
})

it('does not wait for an Admin API whose pages come one by one, for ever', async () => {
  const deadline = new AbortController()
  let pages = 0
  const server = createServer((_request, response) => {
    if (++pages === 3) deadline.abort(new DOMException('late', 'TimeoutError'))
    response.end(JSON.stringify({ data: [], next: `/services?offset=${pages}` }))
  })
  try {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    await expect(readAdminApi({ url, headers: {}, deadline: deadline.signal }, new Places())).rejects.toMatchObject({
      code: 'unreachable_admin',
      message: 'could not read /services of the Admin API: TimeoutError',
    })
    expect(pages).toBeLessThan(5)
  } finally {
    server.close()
  }
})

describe('an Admin API that does not answer as one', () => {
  it.each<[string, (response: ServerResponse) => void, string]>([
    [
      'breaks off',
      (response) => {
        response.writeHead(200, { 'content-length': '100' })
        response.write('{"data":[', () => response.destroy())
      },
      'UND_ERR_SOCKET',
    ],
    ['redirects', (response) => response.writeHead(302, { location: 'http://169.254.169.254/' }).end(), 'status 302'],
    ['wants a token', (response) => response.writeHead(401).end('{}'), 'status 401'],
    ['is a page', (response) => response.end('<html>Sign in</html>'), 'the answer is no list of an Admin API'],
  ])('is refused when it %s', async (_, answer, why) => {
    const server = createServer((_request, response) => answer(response))
    try {
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
      expect(await portcullis(['check', url, '--format', 'sarif'])).toEqual({
        code: EXIT.failed,
        out: '',
        err: `portcullis: could not read /services of the Admin API: ${why}\n`,
      })
    } finally {
      server.close()
    }
  })
})

describe('documentation', () => {
  it('lists every rule in kong/check.md as `portcullis check --list-rules` prints them', async () => {
    const { out } = await portcullis(['check', '--list-rules'])
    const page = readFileSync(join(ROOT, 'kong/check.md'), 'utf8')
    expect(page.split('<!-- generated: rules -->\n')[1]?.split('<!-- end -->')[0]).toBe(out)
  })
})
