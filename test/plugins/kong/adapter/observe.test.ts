import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { readLogged } from '../../../../plugins/kong/adapter/observe.ts'
import { settle } from '../../../../plugins/kong/adapter/settle.ts'
import { ENDING_KEY, type Ending as GatheredEnding, REFUSAL_KEY, readEnding } from '../../../../plugins/kong/ending.ts'
import { entryKey, type Report } from '../../../../plugins/kong/shared-context.ts'
import { createPipeline } from '../../../../policies/pipeline.ts'
import type { Ending, Outcome, Reservation } from '../../../../policies/policy.ts'

const PLUGIN = 'llm-audit-log'
const DRAFT: Reservation = { id: 'd', policy: PLUGIN, estimated: { input: 0, output: 0 }, data: { version: 1 } }
const LIMIT: Reservation = { id: 'l', policy: 'llm-token-limit', estimated: { input: 7, output: 64 }, data: null }

const REPORT: Report = {
  version: 1,
  status: 200,
  source: 'service',
  contacted: true,
  upstream_status: 200,
  completed: true,
  tap: { usage_json: '{"prompt_tokens":7,"completion_tokens":5}', ended: 'final' },
}

/** Kong's log data as it is, secrets included. */
const SERIALIZED = JSON.stringify({
  request: {
    id: 'req-1',
    method: 'POST',
    uri: '/v1/chat/completions?key=canary',
    url: 'http://x/?key=canary',
    querystring: { key: 'canary' },
    headers: { authorization: 'Bearer canary' },
  },
  upstream_uri: '/v1/chat/completions?key=canary',
  response: { status: 200, headers: { 'set-cookie': 'canary' } },
  latencies: { request: 812, kong: 3, proxy: 300 },
  started_at: 1_795_428_000_000,
  client_ip: '192.0.2.7',
  route: { id: 'r-1', name: 'chat', paths: ['/canary'] },
  service: { id: 's-1', name: 'openai', host: 'canary' },
  consumer: { id: 'c-1', username: 'alice', custom_id: 'canary' },
  authenticated_entity: { id: 'k-1', consumer_id: 'c-1' },
  tries: [{}],
})

interface Logged {
  readonly endings: readonly Ending[]
  readonly settled: readonly { readonly id: string; readonly outcome: Outcome }[]
  readonly calls: readonly string[]
  readonly lines: string
}

async function log(
  shared: Readonly<Record<string, unknown>>,
  serialized = SERIALIZED,
  plugin = PLUGIN,
): Promise<Logged> {
  const endings: Ending[] = []
  const settled: { id: string; outcome: Outcome }[] = []
  const calls: string[] = []
  const lines: string[] = []
  const line = (message: string, fields?: unknown) => void lines.push(`${message} ${JSON.stringify(fields)}`)
  const logger = { info: line, warn: line, error: line }
  const pipeline = createPipeline(
    [
      {
        name: PLUGIN,
        instance: {
          decide: () => ({ type: 'pass' }),
          settle: async ({ id }, outcome) => void settled.push({ id, outcome }),
          observe: (ending) => void endings.push(ending),
        },
      },
    ],
    logger,
  )
  const kong = {
    ctx: {
      shared: {
        get: async (key: string) => {
          calls.push(key)
          return shared[key]
        },
      },
    },
    log: {
      serialize: async () => {
        calls.push('serialize')
        return serialized
      },
    },
  }
  await settle(kong as never, { plugin, pipeline, logger })
  return { endings, settled, calls, lines: lines.join('\n') }
}

const gathered = (more: Partial<GatheredEnding> = {}): Readonly<Record<string, unknown>> => ({
  [ENDING_KEY]: {
    version: 1,
    report: REPORT,
    entries: [
      {
        plugin: 'llm-token-limit',
        reservations: JSON.stringify([LIMIT]),
        would_reject: ['rate_limit_exceeded'],
        rule: 'hourly',
      },
      { plugin: PLUGIN, protocol: 'openai-chat', reservations: JSON.stringify([DRAFT]) },
      { plugin: 'llm-scope', claims: '{"sub":"a"}' },
    ],
    ...more,
  },
})

describe('the log phase of a plugin that watches', () => {
  test('takes one read and the log data, and tells how the request ended', async () => {
    const { endings, calls } = await log(gathered())
    expect(calls).toEqual([ENDING_KEY, 'serialize'])
    expect(endings).toEqual([
      {
        requestId: 'req-1',
        method: 'POST',
        path: '/v1/chat/completions',
        route: { id: 'r-1', name: 'chat', serviceId: 's-1', serviceName: 'openai' },
        caller: {
          address: '192.0.2.7',
          consumer: { id: 'c-1', username: 'alice', tags: [], groups: [] },
          credential: { id: 'k-1', tags: [] },
          claims: { sub: 'a' },
        },
        startedAt: 1_795_428_000_000,
        durationMs: 812,
        upstreamMs: 300,
        status: 200,
        outcome: { ended: 'complete', status: 200, usage: { inputTokens: 7, outputTokens: 5 } },
        verdicts: [
          { policy: 'llm-scope', decision: 'pass' },
          {
            policy: 'llm-token-limit',
            decision: 'pass',
            wouldReject: ['rate_limit_exceeded'],
            rule: 'hourly',
            estimated: { input: 7, output: 64 },
          },
          { policy: PLUGIN, decision: 'pass', estimated: { input: 0, output: 0 } },
        ].toSorted((one, other) => ORDER.indexOf(one.policy) - ORDER.indexOf(other.policy)),
        reservations: [DRAFT],
      },
    ])
    expect(JSON.stringify(endings)).not.toContain('canary')
  })

  test('knows who refused, and why', async () => {
    const report: Report = { version: 1, status: 429, source: 'exit', contacted: false, completed: true }
    const refusal = { version: 1, plugin: 'llm-token-limit', code: 'rate_limit_exceeded' } as const
    const { endings } = await log(gathered({ report, refusal, entries: [] }))
    expect(endings[0]).toMatchObject({
      outcome: { ended: 'not_forwarded' },
      verdicts: [{ policy: 'llm-token-limit', decision: 'reject', code: 'rate_limit_exceeded' }],
      reservations: [],
    })
  })

  test('is told of a request that Kong refused before any plugin of the pack ran', async () => {
    const report: Report = { version: 1, status: 401, source: 'exit', contacted: false, completed: true }
    const { endings } = await log({ [ENDING_KEY]: { version: 1, report } })
    expect(endings[0]).toMatchObject({ verdicts: [], reservations: [], outcome: { ended: 'not_forwarded' } })
  })

  test('gets back what was given back when its own plugin refused', async () => {
    const refusal = {
      version: 1,
      plugin: 'llm-gateway',
      policy: 'llm-scope',
      code: 'insufficient_scope',
      rule: 'llm:chat',
    } as const
    const held = JSON.stringify([DRAFT])
    const { endings } = await log(gathered({ refusal: { ...refusal, held }, entries: [] }), SERIALIZED, 'llm-gateway')
    expect(endings[0]).toMatchObject({
      reservations: [DRAFT],
      verdicts: [{ policy: 'llm-scope', code: 'insufficient_scope', rule: 'llm:chat' }],
    })
  })

  test('settles before it tells, once', async () => {
    const { settled, endings } = await log(gathered())
    expect(settled).toEqual([{ id: 'd', outcome: endings[0]?.outcome }])
  })

  test('without llm-edge asks for every part', async () => {
    const { endings, calls } = await log({
      [entryKey(PLUGIN)]: { version: 1, reservations: JSON.stringify([DRAFT]) },
      [entryKey('llm-token-limit')]: { version: 1, reservations: JSON.stringify([LIMIT]) },
      [REFUSAL_KEY]: { version: 1, plugin: 'llm-guard', code: 'policy_unavailable' },
    })
    expect(calls).toContain('serialize')
    expect(endings[0]).toMatchObject({
      reservations: [DRAFT],
      verdicts: expect.arrayContaining([{ policy: 'llm-guard', decision: 'reject', code: 'policy_unavailable' }]),
    })
  })

  test.each([
    ['text', 'x'],
    ['another version', { version: 2 }],
    ['a report that is none', { version: 1, report: 'x' }],
    ['entries that are none', { version: 1, report: REPORT, entries: 'x' }],
    ['a rule that is none', { version: 1, report: REPORT, entries: [{ plugin: 'llm-scope', rule: 1 }] }],
    [
      'a refusal’s rule that is none',
      { version: 1, report: REPORT, refusal: { version: 1, plugin: 'x', code: 'y', rule: 1 } },
    ],
    ['an entry without a plugin', { version: 1, report: REPORT, entries: [{}] }],
    ['codes that are none', { version: 1, report: REPORT, entries: [{ plugin: 'llm-scope', would_reject: [1] }] }],
    ['claims that are none', { version: 1, report: REPORT, entries: [{ plugin: 'llm-scope', claims: '[' }] }],
    ['a refusal that is none', { version: 1, report: REPORT, refusal: { version: 1, plugin: 1 } }],
  ])('says so when the ending is %s, and tells nothing', async (_name, ending) => {
    const { endings, lines } = await log({ [ENDING_KEY]: ending })
    expect(endings).toEqual([])
    expect(lines).toContain('kong_context_malformed')
    expect(() => readEnding(ending)).toThrow(/as the contract says/)
  })

  test('believes no code that the pack does not know', async () => {
    const refusal = { version: 1, plugin: 'x', code: 'canary', rule: 'canary' } as const
    const entries = [{ plugin: 'y', would_reject: ['canary'], rule: 'canary' }]
    const { endings } = await log(gathered({ refusal, entries }))
    expect(JSON.stringify(endings)).not.toContain('canary')
  })
})

const ORDER = [PLUGIN, 'llm-api-key', 'llm-gateway', 'llm-scope', 'llm-token-limit']

describe('Kong’s log data', () => {
  test.each(['facts-keyed', 'exit', 'unauth', 'body-over-cap'])('as recorded: %s', (recording) => {
    const path = new URL(`../../../fixtures/kong-wire/${recording}.jsonl`, import.meta.url)
    const lines = readFileSync(path, 'utf8').trim().split('\n')
    const asked = lines.findIndex((line) => line.includes('"kong.log.serialize"'))
    const frame = JSON.parse(lines[asked + 1] ?? '') as {
      readonly msg: readonly [0, 0, 0, [{ readonly Data: string }]]
    }
    const logged = readLogged(frame.msg[3][0].Data)
    expect(logged.status).toBeGreaterThanOrEqual(200)
    expect(logged.startedAt).toBeGreaterThan(1_600_000_000_000)
    expect(logged.durationMs).toBeGreaterThanOrEqual(0)
    expect(logged.method).toMatch(/^[A-Z]+$/)
    expect(logged.route.id).toBeDefined()
    expect(logged.caller.address).toBe('127.0.0.1')
  })

  test('of nothing, and of what is no log data, says nothing', () => {
    expect(readLogged('{}')).toEqual({ route: {}, caller: { address: '' } })
    expect(readLogged('{"response":{"status":499},"latencies":{"proxy":-1},"request":[],"client_ip":7}')).toEqual({
      route: {},
      caller: { address: '' },
    })
  })
})
