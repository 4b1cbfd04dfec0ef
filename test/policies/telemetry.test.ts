/** What policies tell whoever listens. */

import { afterEach, describe, expect, it } from 'vitest'
import { createSink } from '../../policies/audit/sinks/queue.ts'
import { createPipeline } from '../../policies/pipeline.ts'
import type { Logger, Outcome, Pass } from '../../policies/policy.ts'
import {
  type DecisionEvent,
  inquire,
  listen,
  onInquiry,
  type SettleEvent,
  type SinkStanding,
} from '../../policies/telemetry.ts'
import { START, setUp as setUpKeys } from './api-key/world.ts'
import { createLines, createTestClock, makeRecord } from './audit/support.ts'
import { chat, exchange, rule, setUp } from './token-limit/support.ts'

const DAY = 86_400_000
const stops: (() => void)[] = []
afterEach(() => {
  for (const stop of stops.splice(0)) stop()
})

function heard() {
  const decisions: DecisionEvent[] = []
  const settlements: SettleEvent[] = []
  stops.push(
    listen('decision', (event) => void decisions.push(event)),
    listen('settle', (event) => void settlements.push(event)),
  )
  return { decisions, settlements }
}

describe('token limits', () => {
  const limits = [rule(), rule({ name: 'everybody', per: ['global'], count: 'requests', limit: 10 })]

  it('tell the caller, what is reserved, and how every limit stands', async () => {
    const { decisions } = heard()
    const { passed } = setUp({ limits })
    const { reservation } = await passed({ body: chat({ max_tokens: 100 }) })
    const reserved = reservation?.estimated ?? { input: 0, output: 0 }
    expect(reserved.output).toBe(100)
    expect(decisions).toMatchObject([
      {
        caller: 'alice',
        reserved,
        limits: [
          { rule: 'tokens', unit: 'total_tokens', limit: 1_000, used: reserved.input + 100, shared: false },
          { rule: 'everybody', unit: 'requests', limit: 10, used: 1, shared: true },
        ],
      },
    ])
    for (const { resetMs } of decisions[0]?.limits ?? []) expect(resetMs).toBeGreaterThan(0)
  })

  it('tell it of a refusal, too, which reserves nothing', async () => {
    const { decisions } = heard()
    const { passed, refused } = setUp({ limits })
    await passed({ body: chat({ max_tokens: 900 }) })
    await refused({ body: chat({ max_tokens: 900 }) })
    expect(decisions[1]).toMatchObject({ decision: 'reject', caller: 'alice', rule: 'tokens' })
    expect(decisions[1]).not.toHaveProperty('reserved')
    expect(decisions[1]?.limits?.map(({ used }) => used)).toEqual(decisions[0]?.limits?.map(({ used }) => used))
  })

  it('name nobody who proved nothing', async () => {
    const { decisions, settlements } = heard()
    const { passed, settle } = setUp({ limits })
    const stranger = { consumer: { id: 'c', username: 'anonymous', tags: [], groups: [] }, address: '192.0.2.1' }
    const decision = await passed({ caller: stranger })
    await settle(decision, { ended: 'complete' })
    expect(decisions[0]).not.toHaveProperty('caller')
    expect(settlements[0]).not.toHaveProperty('caller')
  })

  const usage = { inputTokens: 7, outputTokens: 40 }
  const charges: readonly [string, Outcome, (held: Pass['reservation']) => unknown][] = [
    ['what was reported', { ended: 'complete', status: 200, usage }, () => ({ input: 7, output: 40 })],
    ['nothing for what was never sent', { ended: 'not_forwarded' }, () => ({ input: 0, output: 0 })],
    ['all that is reserved where nobody saw', { ended: 'complete', status: 200 }, (held) => held?.estimated],
    [
      'the text that a caller got before leaving',
      { ended: 'client_gone', status: 200, delivered: { characters: [400, 0, 0, 0] } },
      (held) => ({ input: held?.estimated.input, output: expect.toSatisfy((tokens) => tokens > 50 && tokens < 200) }),
    ],
  ]
  it.each(charges)('are charged with %s, in the caller’s name', async (_, outcome, expected) => {
    const { settlements } = heard()
    const { passed, settle } = setUp({ limits })
    const decision = await passed({ body: chat({ max_tokens: 300, stream: true }) })
    // The reservation may be settled by another process.
    await settle(JSON.parse(JSON.stringify(decision)) as Pass, outcome)
    expect(settlements).toMatchObject([{ caller: 'alice', charged: expected(decision.reservation) }])
  })
})

describe('keys', () => {
  const day = (at: number) => new Date(at).toISOString().slice(0, 10)

  it('are told by the days on which they are due and end, long before anybody is warned', async () => {
    const { decisions } = heard()
    const { passed } = setUpKeys({ rotation: { max_age_days: 60, grace_days: 7, warn_after_days: 50 } })
    const issued = Date.parse(day(START - 10 * DAY))
    const tags = [`pc-issued:${day(issued)}`]
    const consumer = { id: 'c-1', username: 'ada', tags: [], groups: [] }
    await passed({ caller: { consumer, credential: { id: 'k', tags }, address: '192.0.2.1' } })
    const expires = Date.parse(day(START + 5 * DAY))
    const credential = { id: 'k', tags: [...tags, `pc-expires:${day(expires)}`] }
    await passed({ caller: { consumer, credential, address: '192.0.2.1' } })
    expect(decisions).toMatchObject([
      { caller: 'ada', key: { dueAt: issued + 60 * DAY, endsAt: issued + 67 * DAY } },
      { caller: 'ada', key: { dueAt: expires, endsAt: expires } },
    ])
  })

  it('of an unknown age have no such day', async () => {
    const { decisions } = heard()
    const { passed } = setUpKeys({ rotation: { on_unknown_age: 'allow' } })
    await passed({ caller: { credential: { id: 'k', tags: [] }, address: '192.0.2.1' } })
    expect(decisions[0]?.key).toEqual({})
  })
})

it('a policy that cannot decide has refused, and says so once', async () => {
  const { decisions } = heard()
  const quiet: Logger = { info() {}, warn() {}, error() {} }
  const decide = () => Promise.reject(new Error('secret'))
  await createPipeline([{ name: 'broken', instance: { decide } }], quiet).decide(exchange())
  expect(decisions).toEqual([
    { policy: 'broken', requestId: 'request-1', route: {}, decision: 'reject', code: 'policy_unavailable' },
  ])
})

it('a sink says what waits, what was written and what was lost, until it is closed', async () => {
  const clock = createTestClock()
  let broken = true
  const sink = createSink({
    target: {
      name: 'audit.test',
      async deliver(batch) {
        if (broken) throw new TypeError('no disk')
        return batch.length
      },
    },
    batchRecords: 10,
    flushMs: 200,
    queueBytes: 4_000,
    clock,
    random: { id: () => 'id', fraction: () => 0.5 },
    logger: createLines().logger,
  })
  const standing = () => {
    const standings: SinkStanding[] = []
    inquire({ store: () => undefined, auditSink: (state) => void standings.push(state) })
    return standings.filter((state) => state.sink === 'audit.test')
  }
  for (let number = 0; number < 50; number += 1) sink.write(makeRecord(number))
  await clock.pass(1_000)
  const [waiting] = standing()
  expect(waiting).toMatchObject({ written: 0, capacityBytes: 4_000, up: false })
  expect(waiting?.failures).toBeGreaterThan(0)
  expect((waiting?.queued ?? 0) + (waiting?.dropped ?? 0)).toBe(50)
  broken = false
  await clock.pass(60_000)
  expect(standing()).toMatchObject([{ queued: 0, queuedBytes: 0, written: waiting?.queued, up: true }])
  await sink.close()
  expect(standing()).toEqual([])
})

it('an inquiry is answered at once, by everybody who answers', () => {
  const answers: string[] = []
  stops.push(onInquiry(() => void answers.push('a')))
  const stop = onInquiry(() => void answers.push('b'))
  const inquiry = { store: () => undefined, auditSink: () => undefined }
  inquire(inquiry)
  stop()
  inquire(inquiry)
  expect(answers).toEqual(['a', 'b', 'a'])
})
