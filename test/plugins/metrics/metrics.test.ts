/** From what policies tell to what Prometheus reads. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createPolicyMetrics, type PolicyMetrics } from '../../../plugins/metrics/index.ts'
import type { RouteRef } from '../../../policies/policy.ts'
import {
  callerName,
  type DecisionEvent,
  onInquiry,
  publish,
  type SettleEvent,
  type SinkStanding,
} from '../../../policies/telemetry.ts'

const route: RouteRef = {}
let metrics: PolicyMetrics
let time = 0
beforeEach(() => {
  time = 0
  metrics = createPolicyMetrics({ callers: 2, now: () => time })
})
afterEach(() => metrics.close())

function decided(more: Partial<DecisionEvent>): void {
  publish('decision', () => ({ policy: 'llm-token-limit', requestId: 'r', route, decision: 'pass', ...more }))
}

function settled(more: Partial<SettleEvent>): void {
  const tokens = { input: 0, output: 0 }
  publish('settle', () => ({
    policy: 'llm-token-limit',
    reservationId: 'i',
    ended: 'complete',
    usage: 'reported',
    estimated: tokens,
    charged: tokens,
    ...more,
  }))
}

async function lines(name: string): Promise<readonly string[]> {
  return (await metrics.render()).split('\n').filter((line) => line.startsWith(name))
}

describe('decisions', () => {
  it('are refusals by reason, mode and the limit that had no room', async () => {
    const limits = [{ rule: 'hourly', unit: 'total_tokens', limit: 9, used: 9, resetMs: 1, shared: false }] as const
    decided({ decision: 'reject', code: 'rate_limit_exceeded', rule: 'hourly', limits })
    decided({ wouldReject: 'rate_limit_exceeded', rule: 'hourly', limits })
    decided({ decision: 'reject', code: 'insufficient_scope', policy: 'llm-scope', rule: 'llm:chat:sk-secret' })
    decided({ decision: 'reject', code: 'policy_unavailable' })
    decided({})
    expect(await lines('portcullis_refusals_total')).toEqual([
      'portcullis_refusals_total{policy="llm-token-limit",code="rate_limit_exceeded",mode="enforce",rule="hourly"} 1',
      'portcullis_refusals_total{policy="llm-token-limit",code="rate_limit_exceeded",mode="shadow",rule="hourly"} 1',
      'portcullis_refusals_total{policy="llm-scope",code="insufficient_scope",mode="enforce",rule=""} 1',
      'portcullis_refusals_total{policy="llm-token-limit",code="policy_unavailable",mode="enforce",rule=""} 1',
    ])
    expect(await metrics.render()).not.toContain('sk-secret')
  })

  it('that ended in a fault took no time that anybody knows', async () => {
    decided({ decision: 'reject', code: 'policy_unavailable' })
    decided({ durationMs: 2 })
    expect(await lines('portcullis_decision_seconds_count')).toEqual([
      'portcullis_decision_seconds_count{policy="llm-token-limit"} 1',
    ])
  })
})

describe('tokens', () => {
  const tokensOf = async (name: string) =>
    (await lines(name)).map((line) => line.replace(/^.*kind="(\w+)"} /, '$1 ')).toSorted()

  it('are reserved, settled and refunded, in all and by caller', async () => {
    decided({ caller: 'ada', reserved: { input: 10, output: 90 } })
    settled({ caller: 'ada', estimated: { input: 10, output: 90 }, charged: { input: 12, output: 28 } })
    for (const name of ['portcullis_tokens_total', 'portcullis_caller_tokens_total'])
      expect(await tokensOf(name)).toEqual(['refunded 60', 'reserved 100', 'settled 40'])
  })

  it('that nobody saw stay reserved, and a refusal after the reservation gives all of them back', async () => {
    const reserved = { input: 10, output: 90 }
    decided({ reserved })
    decided({ reserved })
    settled({ usage: 'unobserved', ended: 'client_gone', estimated: reserved, charged: reserved })
    settled({ usage: 'refunded', ended: 'not_forwarded', estimated: reserved })
    expect(await tokensOf('portcullis_tokens_total')).toEqual(['refunded 100', 'reserved 200', 'settled 100'])
  })

  it('beyond the reservation are no negative refund', async () => {
    settled({ estimated: { input: 1, output: 1 }, charged: { input: 50, output: 50 } })
    expect(await tokensOf('portcullis_tokens_total')).toEqual(['refunded 0', 'settled 100'])
  })

  it('survive figures that are none', async () => {
    settled({
      estimated: { input: 1, output: Number.NaN },
      charged: { input: Number.NaN, output: 1 },
      actual: { inputTokens: Number.NaN, outputTokens: Number.POSITIVE_INFINITY },
    })
    decided({ reserved: { input: Number.NaN, output: 1 }, durationMs: 1 })
    expect(await tokensOf('portcullis_tokens_total')).toEqual(['refunded 0', 'reserved 0', 'settled 0'])
  })
})

describe('callers', () => {
  it('have limits and keys', async () => {
    decided({
      caller: 'ada',
      limits: [
        { rule: 'hourly', unit: 'total_tokens', limit: 1_000, used: 250, resetMs: 5_000, shared: false },
        { rule: 'all', unit: 'requests', limit: 10, used: 3, resetMs: 5_000, shared: true },
      ],
    })
    decided({ policy: 'llm-api-key', caller: 'ada', key: { dueAt: 1_700_000_000_000, endsAt: 1_700_600_000_000 } })
    expect(await lines('portcullis_limit{')).toEqual([
      'portcullis_limit{caller="ada",rule="hourly",unit="total_tokens"} 1000',
      'portcullis_limit{caller="(all)",rule="all",unit="requests"} 10',
    ])
    expect(await lines('portcullis_limit_used{caller="ada"')).toEqual([
      'portcullis_limit_used{caller="ada",rule="hourly",unit="total_tokens"} 250',
    ])
    expect(await lines('portcullis_key_')).toEqual([
      'portcullis_key_due_timestamp_seconds{caller="ada"} 1700000000',
      'portcullis_key_end_timestamp_seconds{caller="ada"} 1700600000',
    ])
    time = 5_000
    expect(await lines('portcullis_limit_used{caller="ada"')).toEqual([
      'portcullis_limit_used{caller="ada",rule="hourly",unit="total_tokens"} 0',
    ])
  })

  it('are so many at most, whoever comes', async () => {
    for (let number = 0; number < 500; number += 1) {
      decided({ caller: `caller-${number}`, reserved: { input: 1, output: 0 } })
      settled({ caller: `caller-${number}`, estimated: { input: 1, output: 0 }, charged: { input: 1, output: 0 } })
    }
    expect(await lines('portcullis_caller_tokens_total')).toHaveLength(3 * 3)
    expect(await lines('portcullis_caller_tokens_total{caller="(other)",kind="settled"}')).toEqual([
      'portcullis_caller_tokens_total{caller="(other)",kind="settled"} 498',
    ])
  })
})

describe('the name of a caller', () => {
  const consumer = { id: '0b3f1a52-6a0c-4f0e-8b9e-0c2d9a3d4e5f', tags: [], groups: [] }
  const credential = { id: 'k', tags: [] }

  it.each([
    ['ada', { username: 'ada', customId: 'x' }],
    ['ada@example.com', { username: 'ada@example.com' }],
    ['Team 7 / dev', { username: 'Team 7 / dev' }],
    ['cust-1', { username: 'caf\u00e9\n', customId: 'cust-1' }],
    [consumer.id, {}],
    [consumer.id, { username: '' }],
    [consumer.id, { username: `sk-${'aB3'.repeat(16)}`, customId: 'a"} 1\nportcullis_up 0' }],
    [consumer.id, { username: 'x'.repeat(65) }],
    [undefined, { id: 'aB3'.repeat(16) }],
  ])('%s', (name, more) => expect(callerName({ consumer: { ...consumer, ...more }, credential })).toBe(name))

  it('is none without a proof, as of an anonymous consumer', () => {
    expect(callerName({ consumer: { ...consumer, username: 'anonymous' } })).toBeUndefined()
    expect(callerName({ credential })).toBeUndefined()
  })
})

describe('stores', () => {
  const up = async () => (await lines('portcullis_store_up')).map((line) => line.split(' ').at(-1))

  it('are up, down, or degraded whatever becomes of the connection', async () => {
    const told = (state: 'up' | 'down' | 'degraded') => publish('store', () => ({ store: 'redis', node: 'a:1', state }))
    told('down')
    expect(await up()).toEqual(['0'])
    told('up')
    expect(await up()).toEqual(['1'])
    told('degraded')
    told('down')
    expect(await up()).toEqual(['0'])
    told('up')
    expect(await up()).toEqual(['0.5'])
    expect(await lines('portcullis_store_changes_total')).toContain(
      'portcullis_store_changes_total{store="redis",node="a:1",state="down"} 2',
    )
  })

  it('say how they stand when they are asked, and nothing once they are closed', async () => {
    const stop = onInquiry(({ store }) => store({ store: 'redis', node: 'a:1', up: true, pending: 7 }))
    expect(await up()).toEqual(['1'])
    expect(await lines('portcullis_store_pending')).toEqual([
      'portcullis_store_pending_settlements{store="redis",node="a:1"} 7',
    ])
    stop()
    expect(await lines('portcullis_store_pending')).toEqual([])
  })

  it('tell the time and failure of every command', async () => {
    const command = { store: 'redis', node: 'a:1', command: 'reserve', durationMs: 2 }
    publish('command', () => command)
    publish('command', () => ({ ...command, failure: 'timeout' }))
    expect(await lines('portcullis_store_command_seconds_count')).toEqual([
      'portcullis_store_command_seconds_count{store="redis",node="a:1",command="reserve"} 2',
    ])
    expect(await lines('portcullis_store_command_failures_total')).toEqual([
      'portcullis_store_command_failures_total{store="redis",node="a:1",command="reserve",reason="timeout"} 1',
    ])
  })
})

describe('audit sinks', () => {
  it('count together where they are of one kind, and are up only together', async () => {
    const sink: SinkStanding = {
      sink: 'audit.file',
      queued: 1,
      queuedBytes: 10,
      capacityBytes: 100,
      written: 5,
      dropped: 2,
      failures: 3,
      up: true,
    }
    const stops = [sink, { ...sink, up: false }, sink, { ...sink, sink: 'audit.http' }].map((standing) =>
      onInquiry(({ auditSink }) => auditSink(standing)),
    )
    const read = async () => (await lines('portcullis_audit_')).map((line) => line.replace('portcullis_audit_', ''))
    const expected = [
      'sink_up{sink="audit.file"} 0',
      'sink_up{sink="audit.http"} 1',
      'queue_records{sink="audit.file"} 3',
      'queue_records{sink="audit.http"} 1',
      'queue_bytes{sink="audit.file"} 30',
      'queue_bytes{sink="audit.http"} 10',
      'queue_capacity_bytes{sink="audit.file"} 300',
      'queue_capacity_bytes{sink="audit.http"} 100',
      'written_total{sink="audit.file"} 15',
      'written_total{sink="audit.http"} 5',
      'dropped_total{sink="audit.file"} 6',
      'dropped_total{sink="audit.http"} 2',
      'failures_total{sink="audit.file"} 9',
      'failures_total{sink="audit.http"} 3',
    ]
    expect(await read()).toEqual(expected)
    // Asking twice counts nothing twice.
    expect(await read()).toEqual(expected)
    for (const stop of stops) stop()
    expect(await read()).toEqual([])
  })
})

it('listens to nothing once it is closed', async () => {
  metrics.close()
  decided({})
  expect(await metrics.render()).toBe('\n')
})
