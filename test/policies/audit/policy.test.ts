import { Ajv2020 } from 'ajv/dist/2020.js'
import { describe, expect, it } from 'vitest'
import { type AuditRecord, auditLog, auditRecordSchema } from '../../../policies/audit/index.ts'
import { CODES, RefusedRead } from '../../../policies/errors.ts'
import type { Caller, Deps, Ending, Exchange, PolicyInstance, Reservation } from '../../../policies/policy.ts'
import { createRuntime } from '../../../policies/runtime.ts'
import { parsePolicyConfig } from '../../../policies/schema/parse.ts'
import { createDisk, createLines, createOutputs, createTestClock, type TestOutputs } from './support.ts'

const validate = new Ajv2020({ allErrors: true, strict: true }).compile(auditRecordSchema)

const SECRET = 'sk-proj-Zk3vQ9xT7bW2nR5mL8pY4cH6jD1fG0sA-aB3dE5gH7jK9mN1pQ3rS5tU7vW9xY1zT3BlbkFJ'
const EMAIL = 'marie.curie@sorbonne.example'

const ALICE: Caller = {
  consumer: { id: 'c-1', username: 'alice', customId: 'custom', tags: ['gold'], groups: ['ops'] },
  credential: { id: 'k-1', fingerprint: 'f00d', tags: ['tag'], createdAt: 1 },
  claims: { sub: EMAIL, iss: 'https://issuer.example', email: EMAIL },
  address: '192.0.2.7',
}

interface Stage {
  readonly instance: PolicyInstance
  readonly outputs: TestOutputs
  readonly lines: string[]
  readonly clock: ReturnType<typeof createTestClock>
  /** One request from its beginning to its end. */
  run(
    exchange: Partial<Exchange>,
    ending?: Partial<Ending>,
    reply?: readonly string[],
  ): Promise<AuditRecord | undefined>
  /** The end of a request that the policy was never asked about. */
  runUnseen(ending?: Partial<Ending>): Promise<AuditRecord | undefined>
}

function stage(config: Readonly<Record<string, unknown>> = {}, fractions: readonly number[] = []): Stage {
  const clock = createTestClock()
  const { lines, logger } = createLines()
  const outputs = createOutputs({ files: createDisk(clock.now) })
  const chances = [...fractions]
  let ids = 0
  const deps: Deps = {
    clock,
    random: { id: () => `id-${++ids}`, fraction: () => chances.shift() ?? 0.5 },
    runtime: createRuntime(),
    logger,
    openLimitStore: () => {
      throw new Error('not here')
    },
    outputs,
  }
  const parsed = parsePolicyConfig(auditLog, { sinks: [{ type: 'stdout', flush_ms: 0 }], redaction: {}, ...config })
  const instance = auditLog.create(parsed, deps)

  async function run(exchange: Partial<Exchange>, ending: Partial<Ending> = {}, reply: readonly string[] = []) {
    const decision = await instance.decide(request(exchange))
    expect(decision.type).toBe('pass')
    const reservation = decision.type === 'pass' ? decision.reservation : undefined
    return tell(reservation, ending, reply)
  }

  async function tell(reservation: Reservation | undefined, ending: Partial<Ending>, reply: readonly string[]) {
    const reader = reservation === undefined ? undefined : instance.readReply?.(carried(reservation))
    for (const piece of reply) reader?.push(Buffer.from(piece))
    const before = outputs.stdout.length
    instance.observe?.(
      { ...ENDED, ...ending, reservations: reservation === undefined ? [] : [carried(reservation)] },
      reader,
    )
    await clock.pass(1)
    const text = Buffer.concat(outputs.stdout.slice(before)).toString()
    if (text === '') return undefined
    const record = JSON.parse(text) as AuditRecord
    expect(validate(record), JSON.stringify(validate.errors)).toBe(true)
    return record
  }
  return { instance, outputs, lines, clock, run, runUnseen: (ending = {}) => tell(undefined, ending, []) }
}

/** Kong carries it to another process as JSON. */
const carried = (reservation: Reservation) => JSON.parse(JSON.stringify(reservation)) as Reservation

const ENDED: Ending = {
  route: {},
  outcome: {
    ended: 'complete',
    status: 200,
    usage: { inputTokens: 12, cachedInputTokens: 3, outputTokens: 5, reasoningTokens: 2 },
  },
  status: 200,
  durationMs: 812.34567,
  upstreamMs: 300,
  startedAt: Date.UTC(2026, 10, 23, 9, 0, 0, 5),
  verdicts: [{ policy: 'llm-token-limit', decision: 'pass', estimated: { input: 20, output: 64 } }],
  reservations: [],
}

function request(change: Partial<Exchange> & { readonly bytes?: Uint8Array } = {}): Exchange {
  return {
    requestId: 'req-1',
    method: 'POST',
    path: '/v1/chat/completions',
    route: { id: 'r-1', name: 'chat', serviceId: 's-1', serviceName: 'openai' },
    queryNames: () => [],
    header: () => undefined,
    body: () => encode(chat()),
    caller: () => ALICE,
    ...change,
  }
}

const chat = (more: object = {}) => ({
  model: 'gpt-4o-mini',
  stream: true,
  max_tokens: 64,
  messages: [{ role: 'user', content: `My key is ${SECRET}, write to ${EMAIL}` }],
  ...more,
})
const encode = (body: unknown) => new TextEncoder().encode(typeof body === 'string' ? body : JSON.stringify(body))

describe('a record', () => {
  it('says who asked which model for what, and what became of it', async () => {
    expect(await stage().run({})).toEqual({
      schema: 'portcullis.audit/1',
      time: '2026-11-23T09:00:00.005Z',
      'portcullis.request.id': 'req-1',
      'portcullis.decision': 'pass',
      'portcullis.ended': 'complete',
      'portcullis.route.id': 'r-1',
      'portcullis.route.name': 'chat',
      'portcullis.service.id': 's-1',
      'portcullis.service.name': 'openai',
      'user.id': 'c-1',
      'user.name': 'alice',
      'portcullis.credential.id': 'k-1',
      'portcullis.credential.fingerprint': 'f00d',
      'client.address': '192.0.2.7',
      'http.request.method': 'POST',
      'http.response.status_code': 200,
      'portcullis.upstream.status_code': 200,
      'gen_ai.operation.name': 'chat',
      'gen_ai.provider.name': 'openai',
      'gen_ai.request.model': 'gpt-4o-mini',
      'gen_ai.request.stream': true,
      'gen_ai.request.max_tokens': 64,
      'gen_ai.usage.input_tokens': 12,
      'gen_ai.usage.output_tokens': 5,
      'gen_ai.usage.cache_read.input_tokens': 3,
      'gen_ai.usage.reasoning.output_tokens': 2,
      'portcullis.usage.source': 'reported',
      'portcullis.usage.estimated.input_tokens': 20,
      'portcullis.usage.estimated.output_tokens': 64,
      'portcullis.duration_ms': 812.346,
      'portcullis.upstream.duration_ms': 300,
    })
  })

  it.each<[string, Partial<Ending>, Partial<AuditRecord>]>([
    [
      'refused by a policy',
      {
        status: 429,
        outcome: { ended: 'not_forwarded' },
        verdicts: [
          { policy: 'llm-scope', decision: 'pass' },
          { policy: 'llm-token-limit', decision: 'reject', code: 'rate_limit_exceeded' },
        ],
      },
      {
        'portcullis.decision': 'reject',
        'portcullis.policy': 'llm-token-limit',
        'portcullis.code': 'rate_limit_exceeded',
        'error.type': 'rate_limit_exceeded',
        'portcullis.usage.source': 'none',
      },
    ],
    [
      'held back by shadow mode',
      { verdicts: [{ policy: 'llm-scope', decision: 'pass', wouldReject: ['insufficient_scope'] }] },
      { 'portcullis.decision': 'pass', 'portcullis.would_reject': ['insufficient_scope'] },
    ],
    [
      'refused for want of a scope',
      { verdicts: [{ policy: 'llm-scope', decision: 'reject', code: 'insufficient_scope', rule: 'llm:chat' }] },
      { 'portcullis.code': 'insufficient_scope', 'portcullis.rule': 'llm:chat' },
    ],
    [
      'held back by one limit, and by a policy that knows no rules',
      {
        verdicts: [
          { policy: 'llm-api-key', decision: 'pass', wouldReject: ['invalid_key'] },
          { policy: 'llm-token-limit', decision: 'pass', wouldReject: ['rate_limit_exceeded'], rule: 'hourly' },
        ],
      },
      {
        'portcullis.would_reject': ['invalid_key', 'rate_limit_exceeded'],
        'portcullis.would_reject.rules': ['', 'hourly'],
      },
    ],
    [
      'left by the client',
      { outcome: { ended: 'client_gone', status: 200, delivered: { characters: [40, 0, 0, 0] } } },
      { 'portcullis.ended': 'client_gone', 'error.type': 'client_gone', 'portcullis.usage.source': 'delivered' },
    ],
    [
      'failed upstream',
      { status: 502, outcome: { ended: 'upstream_failed' } },
      { 'portcullis.ended': 'upstream_failed', 'error.type': 'upstream_failed', 'http.response.status_code': 502 },
    ],
    ['not observed', { outcome: { ended: 'complete', status: 200 } }, { 'portcullis.usage.source': 'unobserved' }],
    [
      'answered with an error of the upstream',
      { status: 401, outcome: { ended: 'complete', status: 401 } },
      { 'portcullis.decision': 'pass', 'error.type': '401', 'portcullis.usage.source': 'none' },
    ],
  ])('of a request %s', async (_name, ending, expected) => {
    expect(await stage().run({}, ending)).toMatchObject(expected)
  })

  it('is written also for a request that another plugin refused before this one ran', async () => {
    const { instance, outputs, clock } = stage()
    instance.observe?.({
      requestId: 'req-9',
      method: 'POST',
      path: '/v1/chat/completions',
      route: { id: 'r-1' },
      status: 401,
      caller: { address: '192.0.2.9' },
      outcome: { ended: 'not_forwarded' },
      verdicts: [],
      reservations: [],
    })
    await clock.pass(1)
    const record = JSON.parse(Buffer.concat(outputs.stdout).toString()) as AuditRecord
    expect(validate(record), JSON.stringify(validate.errors)).toBe(true)
    expect(record).toMatchObject({
      'portcullis.request.id': 'req-9',
      'portcullis.decision': 'reject',
      'portcullis.policy': 'other',
      'error.type': '401',
      'client.address': '192.0.2.9',
      'gen_ai.operation.name': 'chat',
      'gen_ai.provider.name': 'openai',
    })
  })

  it.each(Object.keys(CODES) as (keyof typeof CODES)[])('carries the code %s', async (code) => {
    const verdicts = [{ policy: 'llm-scope', decision: 'reject', code }] as const
    expect(await stage().run({}, { verdicts, status: CODES[code].status })).toMatchObject({ 'portcullis.code': code })
  })

  it('says that a fault of its own refused the request, and nothing of its own passing', async () => {
    const own = { policy: 'llm-audit-log', decision: 'reject', code: 'policy_unavailable' } as const
    const ended = { outcome: { ended: 'not_forwarded' }, status: 503 } as const
    expect(await stage().run({}, { ...ended, verdicts: [own] })).toMatchObject({
      'portcullis.decision': 'reject',
      'portcullis.policy': 'llm-audit-log',
      'portcullis.code': 'policy_unavailable',
    })
    const passed = [{ policy: 'llm-audit-log', decision: 'pass' }] as const
    expect(await stage().run({}, { ...ended, verdicts: passed })).toMatchObject({ 'portcullis.policy': 'other' })
  })

  it('names a token’s subject by a keyed hash only', async () => {
    const key = { hash_key: 'a-key-of-16-bytes-or-more' }
    const caller = ALICE
    const one = await stage(key).run({}, { caller })
    const other = await stage(key).run({}, { caller: { ...caller, claims: { ...caller.claims, sub: 'somebody' } } })
    expect(one?.['user.hash']).toMatch(/^[0-9a-f]{32}$/)
    expect(other?.['user.hash']).not.toBe(one?.['user.hash'])
    expect((await stage().run({}, { caller }))?.['user.hash']).toBeUndefined()
    expect(JSON.stringify(one)).not.toContain(EMAIL)
  })
})

describe('what a client chooses', () => {
  it.each([
    [SECRET],
    [EMAIL],
    ['canary-model-name'],
    ['gpt-4o and then my whole prompt'],
    ['gpt-AKIAIOSFODNN7EXAMPLE'],
    ['x'.repeat(150)],
  ])('is no model’s name: %j', async (model) => {
    const record = await stage().run({ body: () => encode(chat({ model })) })
    expect(record?.['gen_ai.request.model']).toBe('[MODEL]')
  })

  it.each([
    'gpt-4o-2024-08-06',
    'claude-sonnet-4-5-20250929',
    'openai/gpt-oss-120b',
    'meta-llama/Llama-3.3-70B-Instruct',
    'o3',
    'gemini-2.5-flash',
  ])('may be %s', async (model) => {
    expect((await stage().run({ body: () => encode(chat({ model })) }))?.['gen_ai.request.model']).toBe(model)
  })

  it('may be a name that the operator vouches for', async () => {
    const body = () => encode(chat({ model: 'house-model-7' }))
    expect((await stage({ models: ['house-*'] }).run({ body }))?.['gen_ai.request.model']).toBe('house-model-7')
  })

  it('may be neither a request id nor a method that tells a secret', async () => {
    const record = await stage().run({ requestId: SECRET, method: `X-${SECRET}` }, {})
    expect(record).toMatchObject({ 'portcullis.request.id': '[ID]', 'http.request.method': '_OTHER' })
  })
})

describe('content', () => {
  it('is not kept by default, neither of the request nor of the reply', async () => {
    const record = await stage().run({}, {}, ['data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'])
    expect(JSON.stringify(record)).not.toMatch(/content\.re|Hello|My key/)
  })

  it('is redacted, with what was found', async () => {
    const reply = `{"choices":[{"message":{"content":"Ask ${EMAIL}"}}]}`
    const record = await stage({ content: 'redacted' }).run({}, {}, [reply.slice(0, 40), reply.slice(40)])
    const text = JSON.stringify(record)
    expect(text).not.toContain(SECRET)
    expect(text).not.toContain(EMAIL)
    expect(record?.['portcullis.content.request']).toContain('[EMAIL]')
    expect(JSON.parse(record?.['portcullis.content.request'] ?? '')).toMatchObject({ model: 'gpt-4o-mini' })
    expect(record?.['portcullis.content.request.findings']).toMatchObject({ EMAIL: 1 })
    expect(record?.['portcullis.content.response']).toBe('{"choices":[{"message":{"content":"Ask [EMAIL]"}}]}')
    expect(record?.['portcullis.content.response.findings']).toEqual({ EMAIL: 1 })
  })

  it('is a keyed hash', async () => {
    const config = { content: 'hash', hash_key: 'a-key-of-16-bytes-or-more' }
    const one = await stage(config).run({}, {}, ['a', 'b'])
    const same = await stage(config).run({}, {}, ['ab'])
    const other = await stage({ ...config, hash_key: 'another-key-of-16-bytes' }).run({}, {}, ['ab'])
    for (const name of ['portcullis.content.request.hash', 'portcullis.content.response.hash'] as const) {
      expect(one?.[name]).toMatch(/^[0-9a-f]{64}$/)
      expect(one?.[name]).toBe(same?.[name])
      expect(one?.[name]).not.toBe(other?.[name])
    }
  })

  it('is cut after redaction, and says so', async () => {
    const content = `${'word '.repeat(200)}${EMAIL}`
    const record = await stage({ content: 'redacted', max_content_bytes: 256 }).run({
      body: () => encode(chat({ messages: [{ role: 'user', content }] })),
    })
    expect(record?.['portcullis.content.request']?.length).toBeLessThanOrEqual(256)
    expect(record).toMatchObject({ 'portcullis.content.request.truncated': true })
  })

  it.each<[string, Partial<Exchange>, string]>([
    [
      'is too large',
      {
        body() {
          throw new RefusedRead('request_too_large', 'x')
        },
      },
      'too_large',
    ],
    ['is no text', { body: () => Uint8Array.of(0xff, 0xfe, 0x00) }, 'unreadable'],
    ['is compressed', { header: (name) => (name === 'content-encoding' ? 'gzip' : undefined) }, 'unreadable'],
  ])('is not there when the body %s, and the record says why', async (_name, exchange, dropped) => {
    const record = await stage({ content: 'redacted' }).run(exchange)
    expect(record?.['portcullis.content.request.dropped']).toBe(dropped)
    expect(record?.['portcullis.content.request']).toBeUndefined()
  })

  it.each(['redacted', 'hash'])(
    'of the kind %s says so when the gateway let the request pass unasked',
    async (content) => {
      const config = content === 'hash' ? { content, hash_key: 'a-key-of-16-bytes-or-more' } : { content }
      const passed = await stage(config).runUnseen()
      expect(passed).toMatchObject({ 'portcullis.decision': 'pass', 'portcullis.content.request.dropped': 'unseen' })
      const refused = await stage(config).runUnseen({ status: 401, outcome: { ended: 'not_forwarded' }, verdicts: [] })
      expect(refused?.['portcullis.decision']).toBe('reject')
      expect(refused).not.toHaveProperty(['portcullis.content.request.dropped'])
    },
  )

  it('has no reason to be away where none was asked for', async () => {
    expect(await stage().runUnseen()).not.toHaveProperty(['portcullis.content.request.dropped'])
  })

  it('has tags that match within a tenant and not beyond', async () => {
    const config = { content: 'redacted', redaction: { tag_key: 'a-key-of-16-bytes-or-more', tag_length: 16 } }
    const tagOf = async (caller: Caller) =>
      /\[EMAIL:([0-9a-f]{16})\]/.exec(
        (await stage(config).run({ caller: () => caller }))?.['portcullis.content.request'] ?? '',
      )?.[1]
    const alice = await tagOf(ALICE)
    expect(alice).toBe(await tagOf(ALICE))
    expect(alice).not.toBe(await tagOf({ ...ALICE, consumer: { id: 'c-2', tags: [], groups: [] } }))
  })
})

describe('what is recorded', () => {
  it('is a sample, decided once for a request, and it says of what size', async () => {
    const { run } = stage({ sample: 0.25 }, [0.1, 0.9, 0.24, 0.25])
    const kept = [await run({}), await run({}), await run({}), await run({})].map((record) => record !== undefined)
    expect(kept).toEqual([true, false, true, false])
    expect(await stage({ sample: 0.25 }, [0.1]).run({})).toMatchObject({ 'portcullis.audit.sample': 0.25 })
    expect(await stage({ sample: 0 }, [0]).run({})).toBeUndefined()
  })

  it.each<[string, Partial<Ending>]>([
    ['refused', { verdicts: [{ policy: 'llm-scope', decision: 'reject', code: 'insufficient_scope' }] }],
    ['would_reject', { verdicts: [{ policy: 'llm-scope', decision: 'pass', wouldReject: ['insufficient_scope'] }] }],
    ['errors', { status: 500 }],
    ['cut_short', { outcome: { ended: 'client_gone' } }],
    ['unobserved', { outcome: { ended: 'complete', status: 200 } }],
  ])('is only what is %s, when that is asked for', async (condition, ending) => {
    const { run } = stage({ only_on: [condition] })
    expect(await run({})).toBeUndefined()
    expect(await run({}, ending)).toBeDefined()
  })

  it('is nothing of a route that is left out, by name or id', async () => {
    const route = { id: 'r-1', name: 'chat' }
    expect(await stage({ skip_routes: ['chat'] }).run({}, { route })).toBeUndefined()
    expect(await stage({ skip_routes: ['r-1'] }).run({}, { route })).toBeUndefined()
    expect(await stage({ skip_routes: ['other'] }).run({}, { route })).toBeDefined()
  })
})

describe('a config', () => {
  const refused = (config: object) => () =>
    parsePolicyConfig(auditLog, { sinks: [{ type: 'stdout' }], redaction: {}, ...config })

  it.each<[string, object, RegExp]>([
    ['without sinks', { sinks: [] }, /sinks/],
    ['with a file without a path', { sinks: [{ type: 'file' }] }, /sinks\[0\]\.path/],
    ['with a relative path', { sinks: [{ type: 'file', path: 'audit.log' }] }, /sinks\[0\]\.path/],
    [
      'with two sinks of one file',
      {
        sinks: [
          { type: 'file', path: '/a' },
          { type: 'file', path: '/a' },
        ],
      },
      /sinks\[1\]\.path/,
    ],
    [
      'with a URL that holds a password',
      { sinks: [{ type: 'http', url: 'http://u:config-secret@h/' }] },
      /sinks\[0\]\.url/,
    ],
    [
      'with a header that breaks HTTP',
      { sinks: [{ type: 'http', url: 'http://h/', headers: { a: 'config-secret\r\nx' } }] },
      /headers/,
    ],
    ['with a hash and no key', { content: 'hash' }, /hash_key/],
    ['with a chain and no file', { chain: { key: 'a-key-of-16-bytes-or-more' } }, /chain/],
    [
      'with a pattern that is none',
      { redaction: { custom: [{ type: 'X', pattern: '(config-secret' }] } },
      /redaction\.custom\[0\]/,
    ],
    ['with a short key', { hash_key: 'config-secret' }, /hash_key/],
  ])('%s is refused, and never quoted', (_name, config, message) => {
    expect(refused(config)).toThrow(message)
    expect(refused(config)).not.toThrow(/config-secret/)
  })

  it('is refused where there is nothing to write to', () => {
    const deps = { runtime: createRuntime() } as unknown as Deps
    expect(() =>
      auditLog.create(parsePolicyConfig(auditLog, { sinks: [{ type: 'stdout' }], redaction: {} }), deps),
    ).toThrow(/sinks/)
  })
})
