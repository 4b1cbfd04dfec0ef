/** What a reply tells the caller about the limits. */

import type { HeaderMap } from '../policy.ts'
import type { ClaimResult, CounterSpec, Unit } from '../stores/ports.ts'

/** One enforced rule and its counter after this request. */
export interface Standing {
  readonly rule: string
  readonly unit: Unit
  readonly counter: CounterSpec
  readonly result: ClaimResult
}

export type Dialect = 'openai' | 'anthropic' | 'none'

/** Past this wait official SDKs use their own short backoff and hammer, so they are told not to retry. */
const LONGEST_RETRY_MS = 60_000

/** @param now epoch milliseconds, for headers that hold a date */
export function limitHeaders(standings: readonly Standing[], dialect: Dialect, now: number): HeaderMap {
  if (standings.length === 0) return {}
  const tokens = tightest(standings.filter(({ unit }) => unit !== 'requests'))
  const requests = tightest(standings.filter(({ unit }) => unit === 'requests'))
  return {
    ...openaiHeaders('tokens', tokens),
    ...openaiHeaders('requests', requests),
    ...(dialect === 'anthropic' ? anthropicHeaders(standings, tokens, requests, now) : {}),
    'ratelimit-policy': byRule(standings).map(policyItem).join(', '),
    ratelimit: byRule(standings).map(limitItem).join(', '),
  }
}

/** A hundred years: of a debt that is beyond all measure no header says more. */
const LONGEST_MS = 3_155_760_000_000

function sayable(ms: number): number {
  return Math.min(LONGEST_MS, Math.max(0, ms))
}

/** {@link limitHeaders} of a refusal, and how long to wait. */
export function refusalHeaders(standings: readonly Standing[], dialect: Dialect, now: number): HeaderMap {
  const wait = longestWait(standings)
  const headers = limitHeaders(standings, dialect, now)
  if (wait === Number.POSITIVE_INFINITY) return { ...headers, 'x-should-retry': 'false' }
  return {
    ...headers,
    'retry-after': String(Math.max(1, Math.ceil(sayable(wait) / 1000))),
    'retry-after-ms': String(Math.max(1, Math.ceil(sayable(wait)))),
    ...(wait > LONGEST_RETRY_MS ? { 'x-should-retry': 'false' } : {}),
  }
}

/** Milliseconds until every rule that refused has room; Infinity when one never has. */
export function longestWait(standings: readonly Standing[]): number {
  return Math.max(0, ...standings.map(({ result }) => result.retryAfterMs ?? 0))
}

/** The refusing rule with the longest wait, or else the rule with the least left of its limit. */
function tightest(standings: readonly Standing[]): Standing | undefined {
  let found: Standing | undefined
  for (const standing of standings) if (found === undefined || isTighter(standing, found)) found = standing
  return found
}

/** One standing a rule: with several models that may answer, the tightest. */
function byRule(standings: readonly Standing[]): readonly Standing[] {
  const names = [...new Set(standings.map(({ rule }) => rule))]
  return names.flatMap((name) => tightest(standings.filter(({ rule }) => rule === name)) ?? [])
}

function isTighter(a: Standing, b: Standing): boolean {
  const waitA = a.result.retryAfterMs ?? -1
  const waitB = b.result.retryAfterMs ?? -1
  if (waitA !== waitB) return waitA > waitB
  return a.result.remaining / a.counter.limit < b.result.remaining / b.counter.limit
}

function openaiHeaders(kind: 'tokens' | 'requests', standing: Standing | undefined): HeaderMap {
  if (standing === undefined) return {}
  return {
    [`x-ratelimit-limit-${kind}`]: String(standing.counter.limit),
    [`x-ratelimit-remaining-${kind}`]: String(standing.result.remaining),
    [`x-ratelimit-reset-${kind}`]: duration(sayable(standing.result.resetMs)),
  }
}

/** Anthropic tells input and output apart; `tokens` is the tightest of all. */
function anthropicHeaders(
  standings: readonly Standing[],
  tokens: Standing | undefined,
  requests: Standing | undefined,
  now: number,
): HeaderMap {
  const input = tightest(standings.filter(({ unit }) => unit === 'input_tokens'))
  const output = tightest(standings.filter(({ unit }) => unit === 'output_tokens'))
  const headers: Record<string, string> = {}
  const kinds = { requests, tokens, 'input-tokens': input, 'output-tokens': output }
  for (const [kind, standing] of Object.entries(kinds)) {
    if (standing === undefined) continue
    const reset = new Date(Math.ceil((now + sayable(standing.result.resetMs)) / 1000) * 1000)
    headers[`anthropic-ratelimit-${kind}-limit`] = String(standing.counter.limit)
    headers[`anthropic-ratelimit-${kind}-remaining`] = String(standing.result.remaining)
    headers[`anthropic-ratelimit-${kind}-reset`] = reset.toISOString().replace('.000Z', 'Z')
  }
  return headers
}

/** draft-ietf-httpapi-ratelimit-headers-11, section 3: rule names need no escaping. The default unit is requests. */
function policyItem({ rule, unit, counter }: Standing): string {
  const quotaUnit = unit === 'requests' ? '' : ';qu="tokens"'
  return `"${rule}";q=${counter.limit}${quotaUnit};w=${counter.windowSeconds}`
}

/** Section 4: of a rule that refused, the wait, since retry-after should not point before it. */
function limitItem({ rule, result }: Standing): string {
  const wait = result.retryAfterMs ?? result.resetMs
  const seconds = wait === Number.POSITIVE_INFINITY ? '' : `;t=${Math.ceil(sayable(wait) / 1000)}`
  return `"${rule}";r=${result.remaining}${seconds}`
}

/** As OpenAI writes it (Go's durations): `12ms`, `8.64s`, `6m0s`, `1h0m0s`. */
export function duration(ms: number): string {
  const whole = Math.ceil(ms)
  if (whole < 1000) return `${whole}ms`
  const hours = Math.floor(whole / 3_600_000)
  const minutes = Math.floor(whole / 60_000) % 60
  const seconds = (whole % 60_000) / 1000
  if (hours > 0) return `${hours}h${minutes}m${seconds}s`
  return minutes > 0 ? `${minutes}m${seconds}s` : `${seconds}s`
}
