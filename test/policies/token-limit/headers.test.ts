import { describe, expect, it } from 'vitest'
import type { ClaimResult, CounterSpec, Unit } from '../../../policies/stores/ports.ts'
import { duration, limitHeaders, refusalHeaders, type Standing } from '../../../policies/token-limit/headers.ts'

const NOW = Date.UTC(2026, 0, 2, 3, 4, 5, 500)

function standing(
  rule: string,
  parts: { unit?: Unit; limit?: number; counter?: Partial<CounterSpec> } & Partial<ClaimResult> = {},
): Standing {
  const { unit = 'total_tokens', limit = 1000, counter, ...result } = parts
  return {
    rule,
    unit,
    counter: { algorithm: 'sliding_window', limit, windowSeconds: 60, ...counter },
    result: { key: 'k', at: NOW, epoch: 1, reserved: 1, remaining: 500, resetMs: 30_000, ...result },
  }
}

describe('a debt that nobody lives to see paid', () => {
  const far = standing('tokens', { remaining: 0, resetMs: 1e30, retryAfterMs: 1e30 })
  const before = standing('tokens', { remaining: 0, resetMs: -1e30 })

  it.each(['openai', 'anthropic', 'none'] as const)('still has headers that can be read: %s', (dialect) => {
    for (const one of [far, before])
      for (const value of Object.values(refusalHeaders([one], dialect, NOW)))
        expect(value).not.toMatch(/e\+|NaN|-\d{9}/)
    expect(refusalHeaders([far], dialect, NOW)).toMatchObject({
      'retry-after': '3155760000',
      'retry-after-ms': '3155760000000',
      'x-should-retry': 'false',
    })
  })
})

describe('headers of a pass', () => {
  it('are none without an enforced rule', () => {
    expect(limitHeaders([], 'openai', NOW)).toEqual({})
  })

  it('speak of the rule with the least left of its limit, tokens and requests apart', () => {
    const standings = [
      standing('day', { limit: 100_000, remaining: 30_000, counter: { windowSeconds: 86_400 } }),
      standing('minute', { limit: 1000, remaining: 900, resetMs: 1 }),
      standing('calls', { unit: 'requests', limit: 10, remaining: 9, resetMs: 61_500 }),
    ]
    expect(limitHeaders(standings, 'openai', NOW)).toEqual({
      'x-ratelimit-limit-tokens': '100000',
      'x-ratelimit-remaining-tokens': '30000',
      'x-ratelimit-reset-tokens': '30s',
      'x-ratelimit-limit-requests': '10',
      'x-ratelimit-remaining-requests': '9',
      'x-ratelimit-reset-requests': '1m1.5s',
      'ratelimit-policy': '"day";q=100000;qu="tokens";w=86400, "minute";q=1000;qu="tokens";w=60, "calls";q=10;w=60',
      ratelimit: '"day";r=30000;t=30, "minute";r=900;t=1, "calls";r=9;t=62',
    })
  })

  it("say it in Anthropic's words as well on its routes", () => {
    const standings = [
      standing('in', { unit: 'input_tokens', limit: 100, remaining: 50 }),
      standing('out', { unit: 'output_tokens', limit: 100, remaining: 10, resetMs: 400 }),
      standing('calls', { unit: 'requests', limit: 5, remaining: 4 }),
    ]
    expect(limitHeaders(standings, 'anthropic', NOW)).toMatchObject({
      'anthropic-ratelimit-requests-limit': '5',
      'anthropic-ratelimit-requests-remaining': '4',
      'anthropic-ratelimit-requests-reset': '2026-01-02T03:04:36Z',
      'anthropic-ratelimit-tokens-limit': '100',
      'anthropic-ratelimit-tokens-remaining': '10',
      'anthropic-ratelimit-tokens-reset': '2026-01-02T03:04:06Z',
      'anthropic-ratelimit-input-tokens-remaining': '50',
      'anthropic-ratelimit-output-tokens-remaining': '10',
      'x-ratelimit-remaining-tokens': '10',
    })
    expect(Object.keys(limitHeaders(standings, 'openai', NOW)).filter((name) => name.startsWith('anthropic'))).toEqual(
      [],
    )
  })

  it('name a rule once, where several models may answer', () => {
    const headers = limitHeaders([standing('r', { remaining: 5 }), standing('r', { remaining: 2 })], 'none', NOW)
    expect(headers.ratelimit).toBe('"r";r=2;t=30')
  })
})

describe('headers of a refusal', () => {
  it('speak of the refusing rule with the longest wait', () => {
    const standings = [
      standing('tight', { remaining: 0 }),
      standing('short', { remaining: 400, retryAfterMs: 1500 }),
      standing('long', { remaining: 500, retryAfterMs: 12_001 }),
    ]
    expect(refusalHeaders(standings, 'openai', NOW)).toMatchObject({
      'x-ratelimit-remaining-tokens': '500',
      'retry-after': '13',
      'retry-after-ms': '12001',
      ratelimit: '"tight";r=0;t=30, "short";r=400;t=2, "long";r=500;t=13',
    })
  })

  it('tell SDKs not to retry past a minute', () => {
    expect(refusalHeaders([standing('r', { retryAfterMs: 60_000 })], 'openai', NOW)).not.toHaveProperty(
      'x-should-retry',
    )
    expect(refusalHeaders([standing('r', { retryAfterMs: 60_001 })], 'openai', NOW)).toMatchObject({
      'x-should-retry': 'false',
      'retry-after': '61',
    })
  })

  it('name no time for what never fits', () => {
    const headers = refusalHeaders([standing('r', { retryAfterMs: Number.POSITIVE_INFINITY })], 'anthropic', NOW)
    expect(headers).toMatchObject({ 'x-should-retry': 'false', ratelimit: '"r";r=500' })
    expect(headers).not.toHaveProperty('retry-after')
    expect(JSON.stringify(headers)).not.toContain('Infinity')
  })

  it('never ask for an instant retry', () => {
    expect(refusalHeaders([standing('r', { retryAfterMs: 0 })], 'openai', NOW)).toMatchObject({
      'retry-after': '1',
      'retry-after-ms': '1',
    })
  })
})

describe('durations', () => {
  for (const [ms, text] of [
    [0, '0ms'],
    [12, '12ms'],
    [999.2, '1s'],
    [8640, '8.64s'],
    [60_000, '1m0s'],
    [360_000, '6m0s'],
    [3_600_000, '1h0m0s'],
    [90_061_001, '25h1m1.001s'],
  ] as const)
    it(`of ${ms} ms are written ${text}`, () => {
      expect(duration(ms)).toBe(text)
    })
})
