/** What an operator deploys: the bundle, as a process, with all that can happen to one. */

import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { PLUGIN_NAMES } from '../../../plugins/kong/registry.ts'
import { entryKey, FACTS_KEY, type Facts, type PluginEntry } from '../../../plugins/kong/shared-context.ts'
import { createDirectWorker } from '../../support/kong-client/direct-worker.ts'
import { createRequest, type KongRequest } from '../../support/kong-client/request.ts'
import { settleMessage } from '../../support/kong-client/settle-message.ts'
import { createWorker, type PluginConfig, type Worker } from '../../support/kong-client/worker.ts'
import { redisServerVersion, startRedis } from '../../support/redis/server.ts'
import { builtServer } from './built-server.ts'
import {
  answered,
  launch,
  llmRequest,
  PROMPT,
  type ServerProcess,
  startServer,
  tokenLimitConfig,
} from './process-harness.ts'
import { rawConnection, until } from './server/harness.ts'

let directory: string
let socket: string
const processes: ServerProcess[] = []
const workers: Worker[] = []

const built = builtServer((folder, path) => {
  directory = folder
  socket = path
})
const command = join(built, 'portcullis-kong.cjs')
afterEach(async () => {
  for (const worker of workers.splice(0)) worker.close()
  for (const { child } of processes.splice(0)) {
    const gone = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined
    child.kill('SIGKILL')
    await gone
  }
  rmSync(directory, { recursive: true })
})

async function start(args: readonly string[] = []): Promise<ServerProcess> {
  const server = await startServer(command, socket, args)
  processes.push(server)
  return server
}

function kong(options: { readonly readTimeoutMs?: number } = {}, create: typeof createWorker = createWorker): Worker {
  const worker = create({ socket, ...options })
  workers.push(worker)
  return worker
}

/** How a worker asks, and what becomes of a request when it gets no answer. */
const WAYS = [
  ["Kong's own way", createWorker, 'failed_open'],
  ['in one message', createDirectWorker, 'exited'],
] as const

async function run(args: readonly string[]) {
  const child = launch([command, ...args])
  return { code: await child.exit, stdout: child.stdout(), stderr: child.stderr() }
}

function replyHeader(request: KongRequest, name: string): string | undefined {
  const entry = request.shared.get(entryKey('llm-token-limit')) as PluginEntry | undefined
  const { reply_headers: headers = [] } = entry ?? {}
  const list = typeof headers === 'string' ? (JSON.parse(headers) as string[]) : headers
  return list.includes(name) ? list[list.indexOf(name) + 1] : undefined
}
const limitHeader = (request: KongRequest) => replyHeader(request, 'x-ratelimit-limit-tokens')
const remaining = (request: KongRequest) => Number(replyHeader(request, 'x-ratelimit-remaining-tokens'))

describe('dump', () => {
  test('prints one plugin as pure JSON, in the shape Kong wants', async () => {
    const { code, stdout, stderr } = await run(['dump', 'llm-token-limit'])
    expect([code, stderr]).toEqual([0, ''])
    const infos = JSON.parse(stdout)
    expect(infos).toHaveLength(1)
    expect(infos[0]).toMatchObject({ Name: 'llm-token-limit', Priority: 905, Schema: { name: 'llm-token-limit' } })
    // Never `response`: Kong would buffer every reply.
    expect([...infos[0].Phases].sort()).toEqual(['access', 'log'])
    const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'))
    expect(infos[0].Version).toBe(version)
  })

  test('marks every record that may be absent, which Kong would fill in otherwise', async () => {
    const { stdout } = await run(['dump', 'llm-token-limit'])
    const records: unknown[] = []
    const collect = (fields: ReadonlyArray<Record<string, { type: string; required?: boolean; fields?: never }>>) => {
      for (const [, attributes] of fields.flatMap(Object.entries)) {
        if (attributes.type !== 'record') continue
        records.push(attributes.required)
        collect(attributes.fields ?? [])
      }
    }
    collect(JSON.parse(stdout)[0].Schema.fields[0].config.fields)
    expect(records.length).toBeGreaterThan(0)
    expect(records).not.toContain(undefined)
  })

  test.each([[['dump']], [['dump', 'nobody']], [['dump', 'constructor']], [['dump', 'llm-token-limit', 'x']]])(
    '%j is a usage error, with nothing on stdout',
    async (args) => {
      const { code, stdout } = await run(args)
      expect([code, stdout]).toEqual([2, ''])
    },
  )
})

describe('the command line', () => {
  test.each([
    [[]],
    [['serve']],
    [['serve', '--socket', '']],
    [['serve', '--socket', '/tmp/x', '--deadline-ms', '5']],
    [['serve', '--socket', '/tmp/x', '--deadline-ms', '1e3']],
    [['serve', '--socket', '/tmp/x', '--metrics-port', '70000']],
    [['serve', '--socket', '/tmp/x', '--no-such-thing']],
    [['start']],
  ])('%j is refused', async (args) => {
    const { code, stderr } = await run(args)
    expect(code).toBe(2)
    expect(stderr).toContain('Usage:')
  })

  test('tells its version and its usage', async () => {
    expect((await run(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
    expect((await run(['--help'])).stdout).toContain('portcullis-kong serve --socket PATH')
  })
})

describe('serve', () => {
  test('decides, counts and settles', async () => {
    await start()
    const [worker, plugin] = [kong(), tokenLimitConfig('a', 1_000)]
    const first = llmRequest()
    expect(await worker.access(first, plugin)).toBe('done')
    expect(limitHeader(first)).toBe('1000')
    answered(first, { prompt_tokens: 10, completion_tokens: 5 })
    expect(await worker.log(first, plugin)).toBe('done')
    // Settling twice changes nothing.
    expect(await worker.log(first, plugin)).toBe('done')
    const second = llmRequest()
    await worker.access(second, plugin)
    expect(remaining(second) + (1_000 - remaining(first))).toBe(985)
  })

  test('refuses in the shape of the API', async () => {
    await start()
    const worker = kong()
    const request = llmRequest()
    expect(await worker.access(request, tokenLimitConfig('a', 10))).toBe('exited')
    expect(request.reply?.status).toBe(429)
    expect(JSON.parse(request.reply?.body ?? '')).toMatchObject({ error: { code: 'request_exceeds_limit' } })
  })

  test('a bad config refuses every request, and says why without quoting a value', async () => {
    const server = await start()
    const worker = kong()
    const plugin = tokenLimitConfig('a', 10, { store: 'canary-store', surprise: 'canary-surprise' })
    for (let n = 0; n < 2; n++) {
      const request = llmRequest()
      expect(await worker.access(request, plugin)).toBe('exited')
      expect(request.reply?.status).toBe(503)
      await worker.log(request, plugin)
    }
    await until(() => server.stderr().includes('CONFIG REFUSED'))
    expect(server.stderr()).toContain('store: must be one of')
    expect(server.stderr()).toContain('surprise: is not a known field')
    expect(server.stderr()).not.toContain('canary')
  })

  test('counts exactly when told to, with an encoding that lies beside the bundle', async () => {
    const server = await start()
    const request = llmRequest()
    const plugin = tokenLimitConfig('a', 1_000, { tokenizer: 'gpt-tokenizer' })
    expect(await kong().access(request, plugin)).toBe('done')
    expect(remaining(request)).toBeGreaterThan(0)
    expect(server.stderr()).not.toContain('tokenizer_missing')
  })

  test('keeps prompts and keys out of its log, whatever happens', async () => {
    const server = await start(['--log-level', 'info'])
    const worker = kong()
    const plugin = tokenLimitConfig('a', 1_000)
    await worker.access(llmRequest(), plugin)
    await worker.access(llmRequest({ body_size: 3 }), plugin)
    await worker.access(llmRequest({ headers: { 'content-type': PROMPT } }), plugin)
    await worker.access(llmRequest({ path: `/${PROMPT}` }), plugin)
    await worker.access(llmRequest({ method: PROMPT }), plugin)
    const broken = createRequest({ requestId: PROMPT, headers: [['_method', PROMPT]], body: Buffer.from(PROMPT) })
    await worker.access(broken, plugin)
    broken.shared.set('portcullis_facts', PROMPT)
    await worker.access(broken, plugin)
    server.child.kill('SIGTERM')
    await server.exit
    expect(server.stderr()).toContain('fault')
    expect(server.stderr()).not.toContain(PROMPT)
  })

  test('shows health and metrics on the loopback', async () => {
    const port = await freePort()
    await start(['--metrics-port', String(port)])
    const [worker, plugin] = [kong(), tokenLimitConfig('a', 1_000)]
    const request = llmRequest()
    await worker.access(request, plugin)
    await worker.access(llmRequest({ path: '/nowhere' }), plugin)
    answered(request, { prompt_tokens: 10, completion_tokens: 5 })
    await worker.log(request, plugin)
    const read = async (path: string) => await fetch(`http://127.0.0.1:${port}${path}`)
    expect(await (await read('/healthz')).json()).toMatchObject({ status: 'ok', openEvents: 0, instances: 1 })
    const text = await (await read('/metrics')).text()
    for (const line of [
      'portcullis_decisions_total{policy="llm-token-limit",decision="pass",code="",would_reject=""} 1',
      'portcullis_decisions_total{policy="llm-token-limit",decision="reject",code="unmetered_operation",would_reject=""} 1',
      'portcullis_tokens_total{policy="llm-token-limit",kind="settled"} 15',
      'portcullis_settlements_total{policy="llm-token-limit",ended="complete",usage="reported"} 1',
      'portcullis_kong_round_trips_bucket{le="3",plugin="llm-token-limit",phase="access"} 2',
      'portcullis_kong_events_total{plugin="llm-token-limit",phase="access",ended="exited"} 1',
      'portcullis_kong_open_events 0',
      'nodejs_eventloop_lag_seconds',
    ])
      expect(text).toContain(line)
    expect((await read('/')).status).toBe(404)
  })
})

describe('settlements that llm-edge sends in a batch', () => {
  /** What `kong/plugins/llm-edge/settle.lua` sends for a request that is over. */
  function recordOf(request: KongRequest, plugin: PluginConfig) {
    const entry = request.shared.get(entryKey(plugin.plugin)) as PluginEntry
    const { mark, protocol, reservations, report } = entry
    return { plugin: mark.plugin, plugin_id: mark.plugin_id, protocol, reservations, report }
  }

  /** What it sends first. */
  function endOf(request: KongRequest, plugin: PluginConfig) {
    const { request_id: id } = request.shared.get(FACTS_KEY) as Facts
    const { mark, report } = request.shared.get(entryKey(plugin.plugin)) as PluginEntry
    return { request: id, plugins: [mark.plugin, mark.plugin_id], report }
  }

  async function letThrough(worker: Worker, plugin: PluginConfig): Promise<KongRequest> {
    const request = llmRequest()
    expect(await worker.access(request, plugin)).toBe('done')
    answered(request, { prompt_tokens: 10, completion_tokens: 5 }, plugin.plugin)
    return request
  }

  async function settle(message: string | Parameters<typeof settleMessage>[0], more = '') {
    const [text, held] = typeof message === 'string' ? [message, Buffer.alloc(0)] : settleMessage(message)
    const connection = await rawConnection(socket)
    const argument = [text, Buffer.concat([held, Buffer.from(more)])]
    const [, , error, result] = await connection.request(0, 'portcullis.Settle', argument)
    connection.socket.destroy()
    return { error, result }
  }

  /** Of two requests, of which `first` was the very first; the next one shows what is left. */
  async function expectCountedOnce(worker: Worker, plugin: PluginConfig, first: KongRequest): Promise<void> {
    const next = llmRequest()
    await worker.access(next, plugin)
    const reserved = 1_000 - remaining(first)
    expect(remaining(next)).toBe(1_000 - 2 * 15 - reserved)
  }

  test('count like those of the log phase, and once', async () => {
    await start()
    const [worker, plugin] = [kong(), tokenLimitConfig('a', 1_000)]
    const request = await letThrough(worker, plugin)
    expect((request.shared.get(entryKey(plugin.plugin)) as PluginEntry).batch).toBe(true)
    const records = [recordOf(request, plugin), recordOf(await letThrough(worker, plugin), plugin)]
    expect(await settle({ records })).toEqual({ error: null, result: { unknown: [] } })
    expect(await settle({ records })).toEqual({ error: null, result: { unknown: [] } })
    await worker.log(request, plugin)
    await expectCountedOnce(worker, plugin, request)
  })

  test('reach a server that never saw the config, once it is told', async () => {
    const first = await start()
    const plugin = tokenLimitConfig('a', 1_000)
    const records = [recordOf(await letThrough(kong(), plugin), plugin)]
    first.child.kill('SIGKILL')
    await first.exit
    const second = await start()
    expect(await settle({ records })).toEqual({ error: null, result: { unknown: [1] } })
    const configs = [{ plugin: plugin.plugin, config: plugin.config }]
    expect(await settle({ records, configs })).toEqual({ error: null, result: { unknown: [] } })
    const refused = [{ plugin: plugin.plugin, config: plugin.config.replace('"limit-a"', '""') }]
    const other = records.map((record) => ({ ...record, plugin_id: 'other' }))
    expect(await settle({ records: other, configs: refused })).toEqual({ error: null, result: { unknown: [1] } })
    await until(() => second.stderr().includes('requests cannot be settled: their config is refused'))
  })

  test('tell who watches, once, what Kong’s log data would', async () => {
    await start()
    const sinks = [{ type: 'file', path: join(directory, 'audit.ndjson'), flush_ms: 0 }]
    const minute = { name: 'tokens', limit: 1_000, window_seconds: 60 }
    const config = { audit: { sinks, redaction: {} }, scope: { mode: 'shadow' }, token_limit: { limits: [minute] } }
    const plugin: PluginConfig = {
      plugin: 'llm-gateway',
      id: 'g',
      seq: 1,
      config: JSON.stringify({ __plugin_id: 'g', ...config }),
    }
    const request = await letThrough(kong(), plugin)
    const entry = request.shared.get(entryKey('llm-gateway')) as PluginEntry
    expect(entry).toMatchObject({ batch: true, observes: true })
    const data = {
      request: { id: 'r-1', method: 'POST' },
      upstream_uri: '/v1/chat/completions',
      route: { id: 'route-1', name: 'llm' },
      client_ip: '192.0.2.7',
      started_at: 1_700_000_000_000,
      latencies: { request: 250, proxy: 20 },
      response: { status: 200 },
    }
    const seen = { data, entries: [{ plugin: 'llm-gateway', verdicts: entry.verdicts }] }
    const records = [{ ...recordOf(request, plugin), seen }]
    for (let time = 0; time < 2; time++)
      expect(await settle({ records })).toEqual({ error: null, result: { unknown: [] } })
    const lines = () => readFileSync(join(directory, 'audit.ndjson'), 'utf8').trim().split('\n')
    await until(() => existsSync(join(directory, 'audit.ndjson')) && lines()[0] !== '')
    expect(lines()).toHaveLength(1)
    expect(JSON.parse(lines()[0] ?? '')).toMatchObject({
      time: '2023-11-14T22:13:20.000Z',
      'portcullis.decision': 'pass',
      'portcullis.would_reject': [expect.any(String)],
      'portcullis.ended': 'complete',
      'portcullis.route.name': 'llm',
      'portcullis.duration_ms': 250,
      'portcullis.upstream.duration_ms': 20,
      'http.response.status_code': 200,
      'gen_ai.usage.output_tokens': 5,
    })
  })

  test('of requests that this process let through are told by their ids, and count once', async () => {
    await start()
    const [worker, plugin] = [kong(), tokenLimitConfig('a', 1_000)]
    const [one, two] = [await letThrough(worker, plugin), await letThrough(worker, plugin)]
    const records = [recordOf(one, plugin), recordOf(two, plugin)]
    const ended = [one, two].map((request) => endOf(request, plugin))
    expect(await settle({ ended })).toEqual({ error: null, result: { unknown: [] } })
    // A second time nothing is known of them: then everything is told, and nothing is counted again.
    expect(await settle({ ended })).toEqual({ error: null, result: { unknown: [1, 2] } })
    expect(await settle({ records })).toEqual({ error: null, result: { unknown: [] } })
    await expectCountedOnce(worker, plugin, one)
  })

  test('are unknown by an id alone after the process, for another config, or with a plugin too many', async () => {
    const first = await start()
    const [worker, plugin] = [kong(), tokenLimitConfig('a', 1_000)]
    const request = await letThrough(worker, plugin)
    const end = endOf(request, plugin)
    const others = [
      { ...end, plugins: [plugin.plugin, 'other'] },
      { ...end, plugins: [...end.plugins, 'llm-scope', plugin.id] },
      { ...end, request: '__proto__' },
    ]
    expect(await settle({ ended: others })).toEqual({ error: null, result: { unknown: [1, 2, 3] } })
    first.child.kill('SIGKILL')
    await first.exit
    await start()
    expect(await settle({ ended: [end] })).toEqual({ error: null, result: { unknown: [1] } })
  })

  test('of requests that Kong refused without an answer give back what was let through, or still would be', async () => {
    const server = await start()
    const [worker, plugin] = [kong(), tokenLimitConfig('a', 1_000)]
    const [first, lost, late] = [llmRequest(), llmRequest(), llmRequest()]
    for (const request of [first, lost]) expect(await worker.access(request, plugin)).toBe('done')
    expect(remaining(lost)).toBeLessThan(remaining(first))
    const unheard = [lost, late].map((request) => ({
      request: (request.shared.get(FACTS_KEY) as Facts).request_id,
      plugins: ['llm-scope', plugin.plugin],
    }))
    const end = { request: unheard[0]?.request, plugins: [plugin.plugin, plugin.id], report: { version: 1 } }
    for (let time = 0; time < 2; time++)
      expect(await settle({ ended: [end], unheard })).toEqual({ error: null, result: { unknown: [1] } })
    expect(await worker.access(late, plugin)).toBe('exited')
    await until(() => server.stderr().includes('event_over'))
    const next = llmRequest()
    await worker.access(next, plugin)
    expect(remaining(next)).toBe(remaining(lost))
  })

  test('tell who watches the same by an id as with everything', async () => {
    await start()
    const path = join(directory, 'audit.ndjson')
    const audit = { sinks: [{ type: 'file', path, flush_ms: 0 }], content: 'redacted', redaction: {} }
    const minute = { name: 'tokens', limit: 1_000, window_seconds: 60 }
    const config = { audit, scope: { mode: 'shadow' }, token_limit: { limits: [minute] } }
    const plugin: PluginConfig = {
      plugin: 'llm-gateway',
      id: 'g',
      seq: 1,
      config: JSON.stringify({ __plugin_id: 'g', ...config }),
    }
    const request = await letThrough(kong(), plugin)
    const entry = request.shared.get(entryKey('llm-gateway')) as PluginEntry
    const facts = request.shared.get(FACTS_KEY) as Facts
    const times = { started_at: 1_700_000_000_000, duration: 250, upstream: 20 }
    expect(await settle({ ended: [{ ...endOf(request, plugin), ...times }] })).toEqual({
      error: null,
      result: { unknown: [] },
    })
    const lines = () => (existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n').filter(Boolean) : [])
    await until(() => lines().length === 1)
    const data = {
      request: { id: facts.request_id, method: facts.method },
      upstream_uri: facts.path,
      route: facts.route,
      service: facts.service,
      consumer: facts.consumer,
      authenticated_entity: facts.credential,
      client_ip: facts.address,
      started_at: times.started_at,
      latencies: { request: times.duration, proxy: times.upstream },
      response: { status: 200 },
    }
    const held = JSON.parse(entry.reservations ?? '[]') as readonly object[]
    const reservations = JSON.stringify(held.map((one, index) => ({ ...one, id: `another-${index}` })))
    const seen = { data, entries: [{ plugin: 'llm-gateway', verdicts: entry.verdicts }] }
    const records = [{ ...recordOf(request, plugin), reservations, seen }]
    expect(await settle({ records })).toEqual({ error: null, result: { unknown: [] } })
    await until(() => lines().length === 2)
    const [byId, whole] = lines().map((line) => JSON.parse(line) as Record<string, unknown>)
    expect(byId).toMatchObject({ 'portcullis.duration_ms': 250, 'portcullis.would_reject': [expect.any(String)] })
    // What was redacted waits for but one of them.
    const { 'portcullis.content.request': content, ...rest } = byId ?? {}
    expect(content).toEqual(expect.any(String))
    expect(whole).toEqual({ ...rest, 'portcullis.content.request.dropped': 'lost' })
  })

  test('tell who watches once of a request that nobody decided on', async () => {
    await start()
    const path = join(directory, 'audit.ndjson')
    const config = JSON.stringify({ __plugin_id: 'a', sinks: [{ type: 'file', path, flush_ms: 0 }] })
    const report = { version: 1, status: 503, source: 'exit', contacted: false, completed: true } as const
    const refusal = { version: 1, plugin: 'llm-guard', code: 'policy_unavailable', undecided: true }
    const seenOf = (id: string) => ({
      data: { request: { id, method: 'POST' }, upstream_uri: '/v1/chat/completions', response: { status: 503 } },
      entries: [],
      refusal,
    })
    const recordsOf = (id: string) => [
      { plugin: 'llm-audit-log', plugin_id: 'a', reservations: undefined, report, seen: seenOf(id) },
    ]
    const configs = [{ plugin: 'llm-audit-log', config }]
    for (const id of ['one', 'one', 'two'])
      expect(await settle({ records: recordsOf(id), configs })).toEqual({ error: null, result: { unknown: [] } })
    const lines = () => (existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n').filter(Boolean) : [])
    await until(() => lines().length >= 2)
    expect(lines().map((line) => JSON.parse(line) as object)).toMatchObject(
      ['one', 'two'].map((id) => ({ 'portcullis.request.id': id, 'portcullis.code': 'policy_unavailable' })),
    )
  })

  test.each([
    'no JSON',
    '[]',
    '{"version":1,"ended":{}}',
    '{"version":2,"ended":[]}',
    '{"version":1,"ended":[5]}',
    '{"version":1,"ended":[{"request":5,"plugins":[],"report":{}}]}',
    '{"version":1,"ended":[{"request":"r","plugins":{},"report":{}}]}',
    '{"version":1,"ended":[{"request":"r","plugins":["p"],"report":{}}]}',
    '{"version":1,"ended":[{"request":"r","plugins":["p",1],"report":{}}]}',
    '{"version":1,"ended":[{"request":"r","plugins":["p","a"]}]}',
    '{"version":1,"ended":[],"unheard":{}}',
    '{"version":1,"ended":[],"unheard":[{"request":5,"plugins":[]}]}',
    '{"version":1,"ended":[],"unheard":[{"request":"r","plugins":[5]}]}',
    '{"version":1,"records":[{"plugin":"p","plugin_id":"a","seen":[]}],"configs":[]}',
    '{"version":2,"records":[],"configs":[]}',
    '{"version":1,"records":{},"configs":[]}',
    '{"version":1,"records":[{"plugin":1,"plugin_id":"a"}],"configs":[]}',
    '{"version":1,"records":[],"configs":[{"plugin":"llm-token-limit"}]}',
    '{"version":1,"records":[{"plugin":"p","plugin_id":"a","held_bytes":2}],"configs":[]}',
    '{"version":1,"records":[{"plugin":"p","plugin_id":"a","held_bytes":-1}],"configs":[]}',
    '{"version":1,"records":[{"plugin":"p","plugin_id":"a","held_bytes":"2"}],"configs":[]}',
  ])('are refused when malformed: %s', async (message) => {
    await start()
    expect(await settle(message)).toEqual({ error: 'not a batch of settlements', result: null })
  })

  test('are refused when reservations are left over', async () => {
    await start()
    expect(await settle({ records: [] }, '[]')).toEqual({ error: 'not a batch of settlements', result: null })
  })

  test('lose none for one that cannot be read', async () => {
    const server = await start()
    const [worker, plugin] = [kong(), tokenLimitConfig('a', 1_000)]
    const good = recordOf(await letThrough(worker, plugin), plugin)
    const bad = { ...good, reservations: PROMPT }
    expect(await settle({ records: [bad, good] })).toEqual({ error: null, result: { unknown: [] } })
    const next = llmRequest()
    await worker.access(next, plugin)
    const first = llmRequest()
    await worker.access(first, tokenLimitConfig('b', 1_000))
    expect(remaining(next)).toBe(remaining(first) - 15)
    await until(() => server.stderr().includes('settlement fault'))
    expect(server.stderr()).not.toContain(PROMPT)
  })
})

describe('a socket', () => {
  test('is for its owner and group alone', async () => {
    await start()
    expect((statSync(socket).mode & 0o777).toString(8)).toBe('660')
  })

  test('is taken from a server that is dead', async () => {
    const first = await start()
    first.child.kill('SIGKILL')
    await first.exit
    expect(existsSync(socket)).toBe(true)
    await start()
    expect(await kong().access(llmRequest(), tokenLimitConfig('a', 1_000))).toBe('done')
  })

  test('is refused to a second server beside the first', async () => {
    await start()
    const second = await run(['serve', '--socket', socket])
    expect(second.code).toBe(1)
    expect(second.stderr).toContain('another plugin server listens')
    expect(await kong().access(llmRequest(), tokenLimitConfig('a', 1_000))).toBe('done')
  })

  test('is refused where somebody else listens', async () => {
    const stranger = createServer().listen(socket)
    await until(() => stranger.listening)
    const { code } = await run(['serve', '--socket', socket])
    stranger.close()
    expect(code).toBe(1)
  })

  test('is never made of a file that is there', async () => {
    writeFileSync(socket, 'precious')
    expect((await run(['serve', '--socket', socket])).code).toBe(1)
    expect(readFileSync(socket, 'utf8')).toBe('precious')
  })

  test.each(['no/such/directory/s', `${'long/'.repeat(30)}s`])('cannot be at %s', async (path) => {
    const { code, stderr } = await run(['serve', '--socket', join(directory, path)])
    expect(code).toBe(1)
    expect(stderr).toMatch(/^portcullis-kong: /)
  })
})

describe('the end', () => {
  test.each(['SIGTERM', 'SIGQUIT', 'SIGINT'] as const)('%s ends it, and the socket with it', async (signal) => {
    const server = await start()
    const worker = kong()
    await worker.access(llmRequest(), tokenLimitConfig('a', 1_000))
    server.child.kill(signal)
    await until(() => !existsSync(socket))
    // Kong's other worker may still come over the connection that it has.
    expect(await worker.access(llmRequest(), tokenLimitConfig('a', 1_000))).toBe('done')
    worker.close()
    expect(await server.exit).toBe(0)
    expect([existsSync(socket), existsSync(`${socket}.pid`)]).toEqual([false, false])
    expect(server.stderr()).toContain('"msg":"stopped"')
  })

  test('lets an open event come to its own', async () => {
    const server = await start()
    const connection = await rawConnection(socket)
    const plugin = tokenLimitConfig('a', 1_000)
    const started = await connection.request(1, 'plugin.StartInstance', { Name: plugin.plugin, Config: plugin.config })
    const { Id } = started[3] as { readonly Id: number }
    const asked = await connection.request(2, 'plugin.HandleEvent', { InstanceId: Id, EventName: 'access' })
    const { EventId } = asked[3] as { readonly EventId: number }
    server.child.kill('SIGTERM')
    await until(() => server.stderr().includes('"msg":"stopping"'))
    const facts = llmRequest().shared.get('portcullis_facts')
    const answer = await connection.request(3, 'plugin.Step', { EventId, Data: facts })
    expect(answer[3]).toMatchObject({ Data: { Method: 'kong.ctx.shared.set' } })
    expect((await connection.request(4, 'plugin.Step', { EventId }))[3]).toMatchObject({ Data: 'ret' })
    expect(await server.exit).toBe(0)
  })

  test('does not wait for ever: what is open then is refused', async () => {
    const server = await start(['--drain-ms', '100'])
    const connection = await rawConnection(socket)
    const plugin = tokenLimitConfig('a', 1_000)
    const started = await connection.request(1, 'plugin.StartInstance', { Name: plugin.plugin, Config: plugin.config })
    const { Id } = started[3] as { readonly Id: number }
    await connection.request(2, 'plugin.HandleEvent', { InstanceId: Id, EventName: 'access' })
    server.child.kill('SIGTERM')
    expect(await server.exit).toBe(0)
    expect(server.stderr()).toContain('open work abandoned')
  })
})

test('an end does not wait for whoever should read its log', async () => {
  const server = await start()
  server.child.stderr?.pause()
  const connection = await rawConnection(socket)
  // More lines than any pipe holds.
  for (let n = 0; n < 20_000; n++) await connection.request(n, 'plugin.CloseInstance', 'nobody')
  server.child.kill('SIGTERM')
  const ended = await new Promise((resolve) => server.child.once('exit', resolve))
  expect(ended).toBe(0)
})

/** Of the request that warms a worker up. */
const WARM = 15
const USED = 1_000 - WARM

/** A first request, after which a worker knows what its server takes. */
async function warmUp(worker: Worker, plugin: PluginConfig): Promise<void> {
  const request = llmRequest()
  expect(await worker.access(request, plugin)).toBe('done')
  answered(request, { prompt_tokens: 10, completion_tokens: 5 })
  expect(await worker.log(request, plugin)).toBe('done')
}

/** Beyond the request that finds its connection dead. */
async function untilDecided(worker: Worker, request: KongRequest, plugin: PluginConfig): Promise<void> {
  if ((await worker.access(request, plugin)) === 'done') return
  expect(await worker.access(request, plugin)).toBe('done')
}

describe('kill -9', () => {
  test.each(WAYS)('never lets one route run the config of another: %s', async (_, create, failed) => {
    const [one, other] = [tokenLimitConfig('one', 1_111), tokenLimitConfig('other', 2_222)]
    const first = await start()
    const worker = kong({ readTimeoutMs: 500 }, create)
    for (const [plugin, limit] of [
      [one, '1111'],
      [other, '2222'],
    ] as const) {
      const request = llmRequest()
      expect(await worker.access(request, plugin)).toBe('done')
      expect(limitHeader(request)).toBe(limit)
    }
    first.child.kill('SIGKILL')
    await first.exit
    await start()
    // The other one first, then the old one: with ids from 0 it got the other one's config from here on.
    for (const [plugin, limit] of [
      [other, '2222'],
      [one, '1111'],
      [other, '2222'],
      [one, '1111'],
    ] as const) {
      const request = llmRequest()
      const end = await worker.access(request, plugin)
      // The pooled connection is dead: Kong lets that one pass, and llm-guard finds no mark.
      if (end === failed) expect(limitHeader(request)).toBeUndefined()
      else expect([end, limitHeader(request)]).toEqual(['done', limit])
    }
    expect(worker.errors.filter((error) => error.startsWith('no plugin instance')).length).toBeGreaterThan(0)
  })

  test('never gives one caller the body of another: the old event is refused', async () => {
    const plugin = tokenLimitConfig('a', 1_000)
    const first = await start()
    const uploading = await rawConnection(socket)
    const started = await uploading.request(1, 'plugin.StartInstance', { Name: plugin.plugin, Config: plugin.config })
    const { Id } = started[3] as { readonly Id: number }
    const asked = await uploading.request(2, 'plugin.HandleEvent', { InstanceId: Id, EventName: 'access' })
    const { EventId } = asked[3] as { readonly EventId: number }
    first.child.kill('SIGKILL')
    await first.exit
    await start()
    expect(await kong().access(llmRequest(), plugin)).toBe('done')
    const late = await rawConnection(socket)
    const answer = await late.request(3, 'plugin.Step', { EventId, Data: 'the body of the upload' })
    expect(answer[3]).toMatchObject({ EventId, Data: { Method: 'kong.response.exit', Args: { 0: 503 } } })
  })
})

test.each(WAYS)('a reservation of the process before is settled: %s', async (_, create) => {
  const plugin = tokenLimitConfig('a', 1_000)
  const first = await start()
  const worker = kong({}, create)
  await warmUp(worker, plugin)
  const request = llmRequest()
  expect(await worker.access(request, plugin)).toBe('done')
  first.child.kill('SIGKILL')
  await first.exit
  const port = await freePort()
  await start(['--metrics-port', String(port)])
  answered(request, { prompt_tokens: 10, completion_tokens: 5 })
  expect(await kong({}, create).log(request, plugin)).toBe('done')
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
  expect(text).toContain('portcullis_settlements_total{policy="llm-token-limit",ended="complete",usage="reported"} 1')
})

describe.skipIf(redisServerVersion() === undefined)('with Redis', () => {
  test.each(WAYS)(
    'counters outlive the process, and a reservation is settled by the next one: %s',
    async (_, create) => {
      const redis = await startRedis()
      try {
        const plugin = tokenLimitConfig('a', 1_000, {
          store: 'redis',
          redis: { host: redis.host, port: redis.port, command_timeout_ms: 2_000 },
        })
        const first = await start()
        const worker = kong({}, create)
        await warmUp(worker, plugin)
        const request = llmRequest()
        expect(await worker.access(request, plugin)).toBe('done')
        const held = USED - remaining(request)
        expect(held).toBeGreaterThan(0)
        first.child.kill('SIGKILL')
        await first.exit

        const second = await start()
        const before = llmRequest()
        await untilDecided(worker, before, plugin)
        expect(remaining(before)).toBe(USED - 2 * held)
        answered(request, { prompt_tokens: 10, completion_tokens: 5 })
        expect(await worker.log(request, plugin)).toBe('done')
        const after = llmRequest()
        expect(await worker.access(after, plugin)).toBe('done')
        expect(remaining(after)).toBe(USED - 2 * held - 15)
        for (const each of workers.splice(0)) each.close()
        second.child.kill('SIGTERM')
        expect(await second.exit).toBe(0)
      } finally {
        await redis.close()
      }
    },
  )

  test('what was reserved for a worker that is gone by then is given back', async () => {
    const redis = await startRedis()
    const port = await freePort()
    const client = connect(redis.port, redis.host)
    try {
      const plugin = tokenLimitConfig('a', 1_000, {
        store: 'redis',
        redis: { host: redis.host, port: redis.port, command_timeout_ms: 5_000 },
      })
      await start(['--metrics-port', String(port), '--deadline-ms', '10000'])
      const metric = async (line: string) => {
        const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
        return text
          .split('\n')
          .filter((sample) => sample.startsWith(line))
          .reduce((sum, sample) => sum + Number(sample.split(' ').at(-1)), 0)
      }
      const worker = kong({}, createDirectWorker)
      await warmUp(worker, plugin)
      const before = llmRequest()
      expect(await worker.access(before, plugin)).toBe('done')
      client.write('CLIENT PAUSE 60000 ALL\r\n')
      await once(client, 'data')
      const lost = Array.from({ length: 5 }, () => worker.access(llmRequest(), plugin))
      await untilAsync(async () => (await metric('portcullis_kong_open_events')) === 5)
      worker.close()
      expect(new Set(await Promise.all(lost))).toEqual(new Set(['exited']))
      await untilAsync(async () => (await metric('portcullis_kong_open_events')) === 0)
      client.write('CLIENT UNPAUSE\r\n')
      const given = 'portcullis_settlements_total{policy="llm-token-limit",ended="not_forwarded"'
      await untilAsync(async () => (await metric(given)) === 5)
      const after = llmRequest()
      expect(await kong({}, createDirectWorker).access(after, plugin)).toBe('done')
      // But for the one before and this one itself, nothing is held.
      expect(remaining(after)).toBe(USED - 2 * (USED - remaining(before)))
    } finally {
      client.destroy()
      await redis.close()
    }
  })

  test('that is gone is a refusal with `deny`, and the server goes on', async () => {
    const redis = await startRedis()
    const plugin = tokenLimitConfig('a', 1_000, {
      store: 'redis',
      on_store_error: 'deny',
      redis: { host: redis.host, port: redis.port },
    })
    const server = await start()
    const worker = kong()
    expect(await worker.access(llmRequest(), plugin)).toBe('done')
    await redis.close()
    const request = llmRequest()
    expect(await worker.access(request, plugin)).toBe('exited')
    expect(request.reply?.status).toBe(503)
    expect(server.child.exitCode).toBeNull()
  })
})

test.each(WAYS)('SIGSTOP: Kong gives up, and the frames that wait then harm nobody: %s', async (_, create, failed) => {
  const plugin = tokenLimitConfig('a', 10_000)
  const server = await start()
  const patient = kong({}, create)
  const worker = kong({ readTimeoutMs: 1_000 }, create)
  for (const each of [patient, worker, worker]) expect(await each.access(llmRequest(), plugin)).toBe('done')
  server.child.kill('SIGSTOP')
  // Without an answer in one message, the next go Kong's own way.
  for (const end of [failed, 'failed_open', 'failed_open']) {
    const request = llmRequest()
    expect(await worker.access(request, plugin)).toBe(end)
    expect(request.shared.has(entryKey('llm-token-limit'))).toBe(false)
    expect(request.reply?.status).toBe(end === 'exited' ? 503 : undefined)
  }
  server.child.kill('SIGCONT')
  await until(() => server.stderr().includes('connection destroyed'))
  for (let n = 0; n < 20; n++) expect(await patient.access(llmRequest(), plugin)).toBe('done')
})

test.each(WAYS)('a thousand requests at once are all decided and all settled: %s', async (_, create) => {
  await start()
  const plugin = tokenLimitConfig('a', 10_000_000)
  const worker = kong({ readTimeoutMs: 10_000 }, create)
  await warmUp(worker, plugin)
  const requests = Array.from({ length: 1_000 }, () => llmRequest())
  expect(new Set(await Promise.all(requests.map((request) => worker.access(request, plugin))))).toEqual(
    new Set(['done']),
  )
  for (const request of requests) answered(request, { prompt_tokens: 3, completion_tokens: 1 })
  expect(new Set(await Promise.all(requests.map((request) => worker.log(request, plugin))))).toEqual(new Set(['done']))
  const last = llmRequest()
  await worker.access(last, plugin)
  const reserved = 10_000_000 - WARM - 4_000 - remaining(last)
  expect(reserved).toBeGreaterThan(0)
  expect(reserved).toBeLessThan(100)
})

test('a worker asks in one message over one connection, once it knows that the server takes it', async () => {
  await start()
  const plugin = tokenLimitConfig('a', 1_000_000)
  const worker = createDirectWorker({ socket })
  workers.push(worker)
  for (let n = 0; n < 50; n++) expect(await worker.access(llmRequest(), plugin)).toBe('done')
  expect([worker.ownWay, worker.channels]).toEqual([1, 1])
  expect(worker.rpc.messageId).toBe(4)
})

describe('kong reload', () => {
  /** nginx as far as this process looks: a name and a parent. */
  const WORKER = `
    "$1" "$2" serve --socket "$3" & server=$!
    trap 'kill -TERM $server' TERM
    wait $server
    wait $server
    echo "server exited with $?" >&2
  `

  test('the new server takes the path over without a gap, and the old one ends with its connections', async () => {
    const nginx = join(directory, 'nginx')
    symlinkSync('/bin/sh', nginx)
    const spawnWorker = () => {
      const worker = launch(['-c', WORKER, 'worker', process.execPath, command, socket], nginx)
      processes.push(worker)
      return worker
    }
    const plugin = tokenLimitConfig('a', 1_000)
    const old = spawnWorker()
    await until(() => old.stderr().includes('server started at'))
    const before = kong()
    const request = llmRequest()
    expect(await before.access(request, plugin)).toBe('done')

    const next = spawnWorker()
    await until(() => next.stderr().includes('server started at'))
    expect(await kong().access(llmRequest(), plugin)).toBe('done')
    // On the old connection or a new one, by the old process or the new one.
    answered(request, { prompt_tokens: 10, completion_tokens: 5 })
    expect(await before.log(request, plugin)).toBe('done')
    expect(next.stderr() + old.stderr()).not.toContain('fault')

    before.close()
    await until(() => old.stderr().includes('server exited with 0'))
    expect(old.stderr()).toContain('another server has taken over the socket')
    // What the old one removes is not the socket of the new one.
    expect(await kong().access(llmRequest(), plugin)).toBe('done')
    next.child.kill('SIGTERM')
    await until(() => next.stderr().includes('server exited with 0'))
  })
})

describe("Kong's stock plugin server", () => {
  const stock = fileURLToPath(new URL('../../../node_modules/kong-pdk/bin/kong-js-pluginserver', import.meta.url))

  test('loads every built plugin, and nothing else is in their directory', async () => {
    const child = launch([stock, '-d', join(built, 'plugins'), '--dump-all-plugins'])
    expect(await child.exit).toBe(0)
    const theirs: { Name: string; Priority: number; Version: string; Schema: { fields: { config: object }[] } }[] =
      JSON.parse(child.stdout())
    expect(theirs.map(({ Name }) => Name).sort()).toEqual([...PLUGIN_NAMES].sort())
    for (const { Name, Priority, Version, Schema } of theirs) {
      const [ours] = JSON.parse((await run(['dump', Name])).stdout)
      expect({ Priority, Version }).toEqual({ Priority: ours.Priority, Version: ours.Version })
      // Kong's own dump does not say that the record is required.
      expect(Schema.fields[0]?.config).toMatchObject({ fields: ours.Schema.fields[0].config.fields })
    }
  })

  test('runs it', async () => {
    const child = launch([stock, '-d', join(built, 'plugins'), '-p', directory, '--sock-name', 's'])
    processes.push(child)
    await until(() => existsSync(socket))
    const [worker, plugin] = [kong(), tokenLimitConfig('a', 100)]
    const request = llmRequest()
    expect(await worker.access(request, plugin)).toBe('done')
    expect(limitHeader(request)).toBe('100')
    expect(await worker.access(llmRequest(), plugin)).toBe('exited')
  })
})

describe('the bundle', () => {
  test('is one file that needs nothing beside it', async () => {
    const alone = join(directory, 'alone')
    mkdirSync(alone)
    const copy = join(alone, 'portcullis-kong.cjs')
    writeFileSync(copy, readFileSync(command))
    chmodSync(copy, 0o755)
    const child = launch([copy, 'dump', 'llm-token-limit'])
    expect(await child.exit).toBe(0)
    expect(JSON.parse(child.stdout())).toHaveLength(1)
  })

  test('carries no compiler, and the licences of what it does carry', () => {
    const text = readFileSync(command, 'utf8')
    expect(text).not.toContain('createProgram')
    const notices = readFileSync(join(built, 'THIRD-PARTY-NOTICES.txt'), 'utf8')
    expect(notices).toContain('kong-pdk 0.6.0 (Apache-2.0)')
    expect(notices).toContain('TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION')
    expect(notices).not.toContain('ts-node')
  })
})

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await until(() => server.listening)
  const { port } = server.address() as { readonly port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

async function untilAsync(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 20))
}
