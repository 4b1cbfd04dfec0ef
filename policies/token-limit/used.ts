/** What a request really used, and how anybody knows. */

import { type Delivered, gaveUpWaiting } from '../llm/usage.ts'
import type { Outcome } from '../policy.ts'
import type { HeldCall, HeldEntry } from './held.ts'

export interface Used {
  /** How the tokens are known; `unobserved` when nobody saw them and the reservation stays. */
  readonly known: 'reported' | 'delivered' | 'refunded' | 'unobserved'
  /** Absent: that half of the reservation stays. */
  readonly input?: number
  readonly cachedInput?: number
  readonly output?: number
  /** Output that was seen where all of it is not known: the least to charge. */
  readonly seenOutput?: number
}

const NOTHING: Used = { known: 'refunded', input: 0, output: 0 }

/** @param estimateDelivered tokens of text that passed to the caller */
export function usedBy(call: HeldCall, outcome: Outcome, estimateDelivered: (delivered: Delivered) => number): Used {
  if (outcome.ended === 'not_forwarded') return NOTHING
  const input = outcome.usage?.inputTokens
  const reported = call.generates ? outcome.usage?.outputTokens : 0
  if (input === undefined && (!call.generates || reported === undefined) && failedBeforeAnyToken(call, outcome))
    return NOTHING
  const seen = call.generates ? seenOutput(outcome, estimateDelivered) : undefined
  const output = reported ?? (isAllOutput(call, outcome) ? seen : undefined)
  const rest = output !== undefined ? { output } : seen === undefined ? {} : { seenOutput: seen }
  if (input !== undefined) {
    return {
      known: 'reported',
      input,
      cachedInput: Math.min(outcome.usage?.cachedInputTokens ?? 0, input),
      ...rest,
    }
  }
  if (call.generates && reported !== undefined) return { known: 'reported', ...rest }
  if (call.generates && output !== undefined) return { known: 'delivered', input: call.estimated.input, output }
  return { known: 'unobserved', ...(call.generates ? rest : {}) }
}

/** What one counter is charged, in its own unit. */
export function actualFor(entry: HeldEntry, used: Used, outcome: Outcome): number {
  if (entry.unit === 'requests') return outcome.ended === 'not_forwarded' ? 0 : entry.reserved
  let input = entry.reserved - entry.output
  if (used.input !== undefined) {
    const cached = used.cachedInput ?? 0
    input = used.input - cached + Math.ceil(cached * entry.weight)
  }
  const output = used.output ?? Math.max(entry.output, used.seenOutput ?? 0)
  if (entry.unit === 'input_tokens') return input
  const actual = entry.unit === 'output_tokens' ? output : input + output
  return entry.capped === true ? Math.min(actual, entry.reserved) : actual
}

/** A success that breaks off has made tokens, unless it is a stream in which every one would have been seen. */
function failedBeforeAnyToken(call: HeldCall, { ended, status, delivered }: Outcome): boolean {
  if (deliveredAny(delivered)) return false
  if (status !== undefined && (status < 200 || status > 299)) return !gaveUpWaiting(status)
  return ended === 'upstream_failed' && (status === undefined || (call.stream && !call.reasoning))
}

/** Output as far as the caller got it. */
function seenOutput({ delivered }: Outcome, estimateDelivered: (delivered: Delivered) => number): number | undefined {
  return deliveredAny(delivered) ? Math.ceil(estimateDelivered(delivered)) : undefined
}

/** Whether what was seen of a text stream is all there was: it was cut, and can have produced nothing else. */
function isAllOutput(call: HeldCall, { ended }: Outcome): boolean {
  return call.stream && !call.reasoning && ['client_gone', 'upstream_failed', 'ended_early'].includes(ended)
}

function deliveredAny(delivered: Delivered | undefined): delivered is Delivered {
  return delivered?.characters.some((count) => count > 0) ?? false
}
