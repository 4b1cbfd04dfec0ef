import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { outcomeOf, outcomeOfSerialized, readSerialized } from '../../../../plugins/kong/adapter/outcome.ts'
import { entryKey, type Report } from '../../../../plugins/kong/shared-context.ts'
import { FACTS, PLUGIN, RESERVATION, type Stage, stage } from './harness.ts'

const REPORT: Report = {
  version: 1,
  status: 200,
  source: 'service',
  contacted: true,
  upstream_status: 200,
  completed: true,
}

/** A request that was let through, and then ended as `report` says. */
async function passed(report: unknown, serialized = '{}'): Promise<Stage> {
  const kong = stage({
    facts: FACTS,
    decide: () => ({
      type: 'pass',
      reservation: RESERVATION,
      tap: { protocol: 'openai-chat', stream: true, withholdUsage: false },
    }),
  })
  await kong.access()
  const entry = kong.request.shared.get(entryKey(PLUGIN)) as Record<string, unknown>
  kong.request.shared.set(entryKey(PLUGIN), report === undefined ? entry : { ...entry, report })
  kong.request.serialized = serialized
  kong.calls.length = 0
  return kong
}

const outcomeIn = (kong: Stage) => kong.settled[0]?.outcome

describe('the log phase', () => {
  test('settles what the tap saw, in one read', async () => {
    const events = ['{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}}']
    const kong = await passed({ ...REPORT, tap: { events, ended: 'final' } })
    await kong.log()
    expect(kong.calls).toEqual(['kong.ctx.shared.get'])
    expect(kong.settled).toEqual([
      {
        reservation: RESERVATION,
        outcome: { ended: 'complete', status: 200, usage: { inputTokens: 7, outputTokens: 5 } },
      },
    ])
  })

  test('says so when usage was not observed', async () => {
    const kong = await passed({ ...REPORT, tap: { ended: 'open' } })
    await kong.log()
    expect(outcomeIn(kong)).toEqual({ ended: 'complete', status: 200 })
    expect(outcomeIn(kong)?.usage).toBeUndefined()
  })

  test.each([
    [
      'refused',
      stage({
        facts: FACTS,
        decide: () => ({ type: 'reject', status: 429, code: 'rate_limit_exceeded', message: '' }),
      }),
    ],
    ['nothing reserved', stage({ facts: FACTS })],
  ])('has nothing to do when %s', async (_name, kong) => {
    await kong.access()
    await kong.log()
    expect(kong.settled).toEqual([])
    expect(kong.calls.at(-1)).toBe('kong.ctx.shared.get')
  })

  test('that runs twice settles twice, for the policy to tell by its id', async () => {
    const kong = await passed(REPORT)
    await kong.log()
    await kong.log()
    expect(kong.settled.map(({ reservation }) => reservation.id)).toEqual(['r1', 'r1'])
  })

  test.each([
    ['an entry that is text', 'x'],
    ['reservations that are no JSON', { version: 1, reservations: '[{' }],
    ['reservations that are none', { version: 1, reservations: '[{"id":1}]' }],
    ['another version', { version: 9 }],
    ['a report that is text', { version: 1, reservations: JSON.stringify([RESERVATION]), report: 'x' }],
    [
      'a report of a time that is text',
      { version: 1, reservations: JSON.stringify([RESERVATION]), report: { ...REPORT, timed_out: 'x' } },
    ],
    ['a report without a status', { version: 1, reservations: JSON.stringify([RESERVATION]), report: { version: 1 } }],
  ])('settles nothing by %s, and says so', async (_name, entry) => {
    const kong = stage({})
    kong.request.shared.set(entryKey(PLUGIN), entry)
    await kong.log()
    expect(kong.settled).toEqual([])
    expect(kong.logged()).toContain('kong_context_malformed')
  })

  test('never throws, whatever the policy does', async () => {
    const kong = stage({
      facts: FACTS,
      decide: () => ({ type: 'pass', reservation: RESERVATION }),
      settle: () => Promise.reject(new Error('sk-secret')),
    })
    await kong.access()
    await kong.log()
    expect(kong.logged()).not.toContain('sk-secret')
  })
})

describe('with ai-proxy', () => {
  const log = (usage: unknown) =>
    JSON.stringify({
      response: { status: 200 },
      upstream_status: '200',
      source: 'upstream',
      tries: [{}],
      ai: { proxy: { meta: { provider_name: 'anthropic' }, usage } },
    })

  test('its usage counts where the tap saw none', async () => {
    const kong = await passed({ ...REPORT, tap: { ended: 'final' } }, log({ prompt_tokens: 11, completion_tokens: 4 }))
    await kong.log()
    expect(outcomeIn(kong)?.usage).toEqual({ inputTokens: 11, outputTokens: 4 })
  })

  test('what the provider was seen to say comes first', async () => {
    const tap = { usage_json: '{"prompt_tokens":7,"completion_tokens":5}', ended: 'final' }
    const kong = await passed({ ...REPORT, tap }, log({ prompt_tokens: 1, completion_tokens: 1 }))
    await kong.log()
    expect(outcomeIn(kong)?.usage).toEqual({ inputTokens: 7, outputTokens: 5 })
    expect(kong.calls).not.toContain('kong.log.serialize')
  })

  test('without llm-edge it is all there is', async () => {
    const kong = await passed(undefined, log({ prompt_tokens: 11, completion_tokens: 4 }))
    await kong.log()
    expect(outcomeIn(kong)).toEqual({ ended: 'complete', status: 200, usage: { inputTokens: 11, outputTokens: 4 } })
    expect(kong.calls).toEqual(['kong.ctx.shared.get', 'kong.log.serialize'])
  })

  test.each([
    ['nothing but its own count of characters', { prompt_tokens: 0, completion_tokens: 9 }],
    ['zeros', { prompt_tokens: 0, completion_tokens: 0 }],
    ['text', { prompt_tokens: '11', completion_tokens: '4' }],
    ['negative numbers', { prompt_tokens: -11, completion_tokens: 4 }],
    ['nothing', undefined],
  ])('%s is no usage', (_name, usage) => {
    expect(readSerialized(log(usage)).usage).toBeUndefined()
  })

  test('a zero for output means not reported', () => {
    expect(readSerialized(log({ prompt_tokens: 5, completion_tokens: 0 })).usage).toEqual({ inputTokens: 5 })
  })
})

describe('how a request ended', () => {
  test.each<[string, Partial<Report>, string, number | undefined]>([
    ['whole', {}, 'complete', 200],
    ['cut by the tap', { tap: { ended: 'cut' } }, 'ended_early', 200],
    ['final event seen, then the client left', { completed: false, tap: { ended: 'final' } }, 'complete', 200],
    ['client left before the head', { status: 499, completed: false }, 'client_gone', 200],
    ['client left', { completed: false, broken_by: 'client' }, 'client_gone', 200],
    ['upstream broke', { completed: false, broken_by: 'upstream' }, 'upstream_failed', 200],
    ['nobody knows why', { completed: false }, 'unknown', 200],
    ['upstream unreachable', { status: 502, source: 'error', upstream_status: 502 }, 'upstream_failed', undefined],
    [
      'upstream had it and did not answer in time',
      { status: 504, source: 'error', upstream_status: 504, timed_out: true },
      'unknown',
      undefined,
    ],
    [
      'upstream did not let connect in time',
      { status: 504, source: 'error', upstream_status: 504 },
      'upstream_failed',
      undefined,
    ],
    ['upstream itself says 504', { status: 504, upstream_status: 504 }, 'complete', 504],
    [
      'client left an upstream that was late',
      { status: 499, source: 'error', completed: false, upstream_status: 504, timed_out: true },
      'client_gone',
      undefined,
    ],
    ['upstream said no', { status: 401, upstream_status: 401 }, 'complete', 401],
    ['a later plugin refused', { status: 503, source: 'exit', contacted: false }, 'not_forwarded', 200],
    ['no upstream to pick', { status: 503, source: 'error', contacted: false }, 'not_forwarded', undefined],
    ['a plugin answered by itself', { status: 200, source: 'exit', contacted: false }, 'unknown', 200],
  ])('%s', (_name, change, ended, status) => {
    const outcome = outcomeOf({ ...REPORT, ...change }, {})
    expect([outcome.ended, outcome.status]).toEqual([ended, status])
  })

  test.each([
    [502, 'upstream_failed'],
    // A late upstream, or one that could not be reached: it may have billed.
    [504, 'unknown'],
  ])("by Kong's own log data, with a %i of Kong's own", (status, ended) => {
    const log = { response: { status }, upstream_status: String(status), source: 'kong', tries: [{}] }
    expect(outcomeOfSerialized(readSerialized(JSON.stringify(log)))).toEqual({ ended })
  })

  test.each([
    ['facts-keyed', 'unknown', 200],
    ['exit', 'not_forwarded', undefined],
    ['unauth', 'not_forwarded', undefined],
    ['body-over-cap', 'not_forwarded', undefined],
  ])("by Kong's own log data, as recorded: %s", (recording, ended, status) => {
    const path = new URL(`../../../fixtures/kong-wire/${recording}.jsonl`, import.meta.url)
    const lines = readFileSync(path, 'utf8').trim().split('\n')
    const asked = lines.findIndex((line) => line.includes('"kong.log.serialize"'))
    const frame = JSON.parse(lines[asked + 1] ?? '') as {
      readonly msg: readonly [0, 0, 0, [{ readonly Data: string }]]
    }
    const outcome = outcomeOfSerialized(readSerialized(frame.msg[3][0].Data))
    expect([outcome.ended, outcome.status]).toEqual([ended, status])
  })
})
