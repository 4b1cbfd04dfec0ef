/** The audit log on a real Kong: a record of every request, and no canary in anything that is left behind. */

import { once } from 'node:events'
import { createServer, request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type AuditRecord, auditRecordSchema } from '../../policies/audit/index.ts'
import { type Canaries, createCanaries, leaksIn } from '../canary/support/canaries.ts'
import { startUpstream, type Upstream } from '../canary/support/upstream.ts'
import { AUDIENCE, ISSUER, type IssuerKey, makeKey, sign } from '../support/jwks/issuer.ts'
import { configOf, KEYS, tokens } from './support/config.ts'
import { EXPLOSIVE } from './support/explosive.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong, PluginConfig } from './support/kong.ts'
import { METRICS_PORT } from './support/ports.ts'
import { until } from './support/wait.ts'

const validate = new Ajv2020({ allErrors: true }).compile(auditRecordSchema)

const canaries: Canaries = createCanaries('text')
const plant = (place: string) => canaries.plant(place)
const received: string[] = []
const collector = createServer((request, response) => {
  request.on('data', (piece) => received.push(String(piece)))
  request.on('end', () => response.writeHead(200).end())
})
let upstream: Upstream
let kong: Kong
let idp: IssuerKey

interface Sent {
  readonly route?: string
  readonly path?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly leave?: true
}

interface Answer {
  readonly status: number
  readonly id: string
  readonly text: string
}

function chat(more: object = {}): string {
  return JSON.stringify({
    model: plant('model'),
    max_tokens: 10,
    user: plant('user'),
    messages: [
      { role: 'system', content: plant('system prompt') },
      { role: 'user', content: plant('prompt') },
      {
        role: 'assistant',
        tool_calls: [
          {
            id: plant('tool call'),
            type: 'function',
            function: { name: 'f', arguments: `{"a":"${plant('tool arguments')}"}` },
          },
        ],
      },
    ],
    ...more,
  })
}

/** Every claim of it is a canary, and so is its id. */
function token(scope = 'llm:chat'): Promise<string> {
  const claims = {
    sub: plant('claim sub'),
    email: plant('claim email'),
    jti: plant('claim jti'),
    groups: [plant('claim groups')],
    address: { locality: plant('claim inside a claim') },
    scope: `${scope} ${plant('claim scope')}`,
  }
  return sign(idp, Math.floor(Date.now() / 1000), { claims })
}

function send({
  route = 'llm',
  path = '/v1/chat/completions',
  headers,
  body = chat(),
  leave,
}: Sent = {}): Promise<Answer> {
  const target = `/${route}${path}?trace=${plant('query')}`
  const all = {
    authorization: `Bearer ${KEYS.alice}`,
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    cookie: plant('cookie'),
    'user-agent': plant('user agent'),
    'x-custom': plant('custom header'),
    ...headers,
  }
  return new Promise((resolve) => {
    const sent = httpRequest({ host: '127.0.0.1', port: kong.port, path: target, method: 'POST', headers: all })
    let id = ''
    const gone = () => resolve({ status: 0, id, text: '' })
    sent.on('error', gone)
    sent.on('response', (reply) => {
      let text = JSON.stringify(reply.headers)
      reply.on('data', (piece) => {
        text += piece
        if (leave) sent.destroy()
      })
      reply.on('error', gone)
      id = String(reply.headers['x-kong-request-id'])
      reply.on('close', () => resolve({ status: reply.statusCode ?? 0, id, text }))
    })
    sent.end(body)
  })
}

function records(): readonly AuditRecord[] {
  return received
    .join('')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as AuditRecord)
}

async function recordOf({ id }: Answer): Promise<AuditRecord> {
  const find = () => records().find((record) => record['portcullis.request.id'] === id)
  await until(`the record of request ${id}`, async () => find() !== undefined, 10_000)
  return find() as AuditRecord
}

describe.skipIf(kongMissing)('the audit log on a real Kong', () => {
  beforeAll(async () => {
    collector.listen(0, '127.0.0.1')
    await once(collector, 'listening')
    upstream = await startUpstream(plant)
    const auditLog: PluginConfig = {
      name: 'llm-audit-log',
      config: {
        redaction: { tag_key: plant('tag key') },
        content: 'hash',
        hash_key: plant('hash key'),
        sinks: [
          {
            type: 'http',
            url: `http://127.0.0.1:${(collector.address() as AddressInfo).port}/${plant('collector url')}`,
            headers: { authorization: `Bearer ${plant('collector header')}` },
            flush_ms: 10,
          },
          { type: 'http', url: `http://127.0.0.1:1/${plant('dead collector')}` },
          { type: 'stdout', flush_ms: 10 },
        ],
      },
    }
    idp = await makeKey('k1')
    const jwks = JSON.stringify({ keys: [idp.jwk] })
    const byToken: PluginConfig = {
      name: 'llm-scope',
      config: { sources: ['jwt'], jwt: { issuers: [{ issuer: ISSUER, jwks, audiences: [AUDIENCE] }] } },
    }
    const tokenGuard: PluginConfig = { name: 'llm-guard', config: { require: ['llm-scope', 'llm-audit-log'] } }
    const shadow = tokens(5, { mode: 'shadow' })
    const guard: PluginConfig = { name: 'llm-guard', config: { require: ['llm-token-limit', 'llm-audit-log'] } }
    const config = configOf(upstream.url, {
      llm: { limits: [tokens(100_000)], settings: { max_body_bytes: 4_096 }, extra: [auditLog, guard], guard: false },
      shadowed: { limits: [shadow], extra: [auditLog] },
      bare: { edge: false, guard: false, extra: [auditLog] },
      tokens: { keyed: false, guard: false, extra: [byToken, auditLog, tokenGuard] },
      unlogged: { limits: [tokens()], guard: false },
    })
    kong = await startKong({ config, env: EXPLOSIVE })
  }, 120_000)
  afterAll(async () => {
    await kong?.stop()
    upstream?.close()
    collector.closeAllConnections()
    collector.close()
  })

  test('has a record of what was answered', async () => {
    const answer = await send()
    expect(answer.status).toBe(200)
    const record = await recordOf(answer)
    expect(record).toMatchObject({
      'portcullis.decision': 'pass',
      'portcullis.ended': 'complete',
      'portcullis.route.name': 'llm',
      'portcullis.service.name': 'llm',
      'user.name': 'alice',
      'portcullis.credential.fingerprint': expect.stringMatching(/^[0-9a-f]{64}$/),
      'client.address': '127.0.0.1',
      'http.request.method': 'POST',
      'http.response.status_code': 200,
      'portcullis.upstream.status_code': 200,
      'gen_ai.operation.name': 'chat',
      'gen_ai.request.stream': false,
      'gen_ai.request.max_tokens': 10,
      'gen_ai.usage.input_tokens': 9,
      'gen_ai.usage.output_tokens': 4,
      'portcullis.usage.source': 'reported',
      'portcullis.usage.estimated.output_tokens': 10,
      'portcullis.content.request.hash': expect.stringMatching(/^[0-9a-f]{64}$/),
    })
    expect(record['portcullis.duration_ms']).toBeGreaterThanOrEqual(0)
    expect(record['portcullis.upstream.duration_ms']).toBeGreaterThanOrEqual(0)
    expect(Math.abs(Date.parse(record.time) - Date.now())).toBeLessThan(60_000)
  })

  test.each<[string, Sent, number, Partial<AuditRecord>]>([
    [
      'Kong’s own key-auth',
      { headers: { authorization: `Bearer ${plant('wrong key')}` } },
      401,
      { 'portcullis.policy': 'other', 'error.type': '401' },
    ],
    [
      'a Lua companion',
      { headers: { 'x-api-key': plant('second key') } },
      401,
      { 'portcullis.policy': 'llm-key', 'portcullis.code': 'invalid_key' },
    ],
    [
      'the limit',
      { body: chat({ max_tokens: 500_000 }) },
      429,
      {
        'portcullis.policy': 'llm-token-limit',
        'portcullis.code': 'request_exceeds_limit',
        'gen_ai.operation.name': 'chat',
      },
    ],
    ['a malformed body', { body: `{"model":"${plant('malformed')}` }, 400, { 'portcullis.code': 'invalid_request' }],
    ['a large body', { body: chat({ pad: 'x'.repeat(5_000) }) }, 413, { 'portcullis.code': 'request_too_large' }],
  ])('has a record of what was refused by %s', async (_name, sent, status, expected) => {
    const answer = await send(sent)
    expect(answer.status).toBe(status)
    expect(leaksIn(canaries, [{ name: 'the refusal', text: answer.text }])).toEqual([])
    expect(await recordOf(answer)).toMatchObject({
      'portcullis.decision': 'reject',
      'portcullis.route.name': 'llm',
      'http.response.status_code': status,
      'portcullis.usage.source': 'none',
      ...expected,
    })
  })

  test('follows streams to their end, whoever ends them', async () => {
    const stream = chat({ stream: true, stream_options: { include_usage: true } })
    const whole = await send({ body: stream, headers: { 'x-upstream': 'stream' } })
    expect(await recordOf(whole)).toMatchObject({
      'gen_ai.request.stream': true,
      'gen_ai.usage.output_tokens': 4,
      'portcullis.ended': 'complete',
    })
    const left = await send({ body: stream, headers: { 'x-upstream': 'hang' }, leave: true })
    expect(await recordOf(left)).toMatchObject({
      'portcullis.ended': 'client_gone',
      'portcullis.usage.source': 'delivered',
    })
    const broken = await send({ body: stream, headers: { 'x-upstream': 'break' } })
    expect(await recordOf(broken)).toMatchObject({ 'portcullis.ended': 'upstream_failed' })
  })

  test('tells errors of the upstream', async () => {
    const failed = await send({ headers: { 'x-upstream': 'error' } })
    expect(await recordOf(failed)).toMatchObject({ 'portcullis.upstream.status_code': 500, 'error.type': '500' })
    const closed = await send({ headers: { 'x-upstream': 'close' } })
    expect(await recordOf(closed)).toMatchObject({
      'portcullis.ended': 'upstream_failed',
      'http.response.status_code': 502,
    })
    await send({ headers: { 'x-upstream': 'garbage' } })
  })

  test('shows what shadow mode held back', async () => {
    const answer = await send({ route: 'shadowed' })
    expect(answer.status).toBe(200)
    expect(await recordOf(answer)).toMatchObject({
      'portcullis.decision': 'pass',
      'portcullis.would_reject': ['request_exceeds_limit'],
      'portcullis.would_reject.rules': ['tokens'],
    })
  })

  test('knows who sent a token by a hash alone', async () => {
    const headers = { authorization: `Bearer ${await token()}` }
    const answers = [
      await send({ route: 'tokens', headers }),
      await send({ route: 'tokens', headers: { ...headers, 'x-upstream': 'error' } }),
    ]
    expect(answers.map(({ status }) => status)).toEqual([200, 500])
    for (const answer of answers) {
      const record = await recordOf(answer)
      expect(record).toMatchObject({
        'portcullis.decision': 'pass',
        'portcullis.route.name': 'tokens',
        'user.hash': expect.stringMatching(/^[0-9a-f]{32,64}$/),
      })
      expect(record['user.name']).toBeUndefined()
    }
  })

  test.each<[string, (good: string) => string | Promise<string>, number, Partial<AuditRecord>]>([
    ['is not for this call', () => token('llm:models'), 403, { 'portcullis.code': 'insufficient_scope' }],
    [
      'is signed by nobody',
      (good) => good.replace(/[^.]+$/, 'x'.repeat(86)),
      401,
      { 'portcullis.code': 'invalid_token' },
    ],
    ['is cut', (good) => good.split('.').slice(0, 2).join('.'), 401, { 'portcullis.code': 'invalid_token' }],
  ])('has a record of a token that %s', async (_name, spoil, status, expected) => {
    const authorization = `Bearer ${await spoil(await token())}`
    const answer = await send({ route: 'tokens', headers: { authorization } })
    expect(answer.status, answer.text).toBe(status)
    expect(leaksIn(canaries, [{ name: 'the refusal', text: answer.text }])).toEqual([])
    expect(await recordOf(answer)).toMatchObject({
      'portcullis.decision': 'reject',
      'portcullis.policy': 'llm-scope',
      'portcullis.usage.source': 'none',
      ...expected,
    })
  })

  test.each([
    ['llm-audit-log', 1],
    ['llm-token-limit', 'readOverrides'],
  ])('has a record of an exception inside %s that quotes the request', async (policy, explode) => {
    const answer = await send({ body: chat({ explode }) })
    expect(answer.status).toBe(503)
    expect(leaksIn(canaries, [{ name: 'the refusal', text: answer.text }])).toEqual([])
    expect(await recordOf(answer)).toMatchObject({
      'portcullis.decision': 'reject',
      'portcullis.policy': policy,
      'portcullis.code': 'policy_unavailable',
      'http.response.status_code': 503,
    })
    expect(await kong.log()).toMatch(new RegExp(`policy fault.*${policy}|${policy}.*policy fault`))
  })

  test('goes on after an exception that no policy could catch', async () => {
    await send({ body: chat({ explode: 'later' }) })
    await until('the exception is told', async () => (await kong.log()).includes('uncaught exception'), 10_000)
    await until('the plugin server is back', async () => (await send()).status === 200, 20_000)
    expect(await recordOf(await send())).toMatchObject({ 'portcullis.decision': 'pass' })
  })

  test('works without llm-edge, and knows the credential by its id only', async () => {
    const answer = await send({ route: 'bare' })
    const record = await recordOf(answer)
    expect(record).toMatchObject({
      'portcullis.route.name': 'bare',
      'user.name': 'alice',
      'gen_ai.operation.name': 'chat',
    })
    expect(record['portcullis.credential.fingerprint']).toBeUndefined()
  })

  test('goes on when the plugin server was killed', async () => {
    const [pid = 0] = await kong.pluginServers()
    await kong.signal(pid, 'SIGKILL')
    await send()
    await until('the plugin server is back', async () => (await send()).status === 200, 20_000)
    expect(await recordOf(await send())).toMatchObject({ 'portcullis.decision': 'pass' })
  })

  test('writes nothing of a route without it', async () => {
    const { id } = await send({ route: 'unlogged' })
    await recordOf(await send())
    expect(records().some((record) => record['portcullis.request.id'] === id)).toBe(false)
  })

  test('leaves no canary behind: not in records, metrics, or Kong’s own error log', async () => {
    await send({ headers: { 'x-forwarded-for': plant('forwarded for') } })
    const all = records()
    expect(all.length).toBeGreaterThan(14)
    for (const record of all) expect(validate(record), JSON.stringify(validate.errors)).toBe(true)
    const metrics = await (await fetch(`http://127.0.0.1:${METRICS_PORT}/metrics`)).text()
    const log = await kong.log()
    const sources = [
      { name: 'the collector', text: received.join('') },
      { name: 'the metrics', text: metrics },
      { name: 'Kong’s error log', text: log },
    ]
    expect(leaksIn(canaries, sources)).toEqual([])
    expect(new Set(canaries.planted.values()).size).toBeGreaterThan(20)
    // The log did hold records of the stdout sink, and the complaint about the dead collector.
    expect(log).toContain('portcullis.decision')
    expect(log).toContain('audit sink fails')
  })
})
