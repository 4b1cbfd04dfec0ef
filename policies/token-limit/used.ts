/** What a request really used, and how anybody knows. */

import type { Delivered } from '../llm/usage.ts'
import type { Outcome } from '../policy.ts'
import type { HeldCall, HeldEntry } from './held.ts'

export interface Used {
  /** How the tokens are known; `unobserved` when nobody saw them and the reservation stays. */
  readonly known: 'reported' | 'delivered' | 'refunded' | 'unobserved'
  /** Absent: that half of the reservation stays. */
  readonly input?: number
  readonly cachedInput?: number
  readonly output?: number
}

const NOTHING: Used = { known: 'refunded', input: 0, output: 0 }

/** @param estimateDelivered tokens of text that passed to the caller */
export function usedBy(call: HeldCall, outcome: Outcome, estimateDelivered: (delivered: Delivered) => number): Used {
  if (outcome.ended === 'not_forwarded') return NOTHING
  const input = outcome.usage?.inputTokens
  const output = outcome.usage?.outputTokens
  if (input === undefined && (output === undefined || !call.generates) && failedBeforeAnyToken(outcome)) return NOTHING
  const streamed = output ?? streamedOutput(call, outcome, estimateDelivered)
  if (input !== undefined || (call.generates && output !== undefined)) {
    return {
      known: 'reported',
      ...(input === undefined ? {} : { input, cachedInput: Math.min(outcome.usage?.cachedInputTokens ?? 0, input) }),
      ...(call.generates ? (streamed === undefined ? {} : { output: streamed }) : { output: 0 }),
    }
  }
  if (streamed !== undefined && call.generates)
    return { known: 'delivered', input: call.estimated.input, output: streamed }
  return { known: 'unobserved' }
}

/** What one counter is charged, in its own unit. */
export function actualFor(entry: HeldEntry, used: Used, outcome: Outcome): number {
  if (entry.unit === 'requests') return outcome.ended === 'not_forwarded' ? 0 : entry.reserved
  let input = entry.reserved - entry.output
  if (used.input !== undefined) {
    const cached = used.cachedInput ?? 0
    input = used.input - cached + Math.ceil(cached * entry.weight)
  }
  const output = used.output ?? entry.output
  if (entry.unit === 'input_tokens') return input
  const actual = entry.unit === 'output_tokens' ? output : input + output
  return entry.capped === true ? Math.min(actual, entry.reserved) : actual
}

function failedBeforeAnyToken(outcome: Outcome): boolean {
  if (deliveredAny(outcome.delivered)) return false
  if (outcome.status !== undefined && (outcome.status < 200 || outcome.status > 299)) return true
  return outcome.ended === 'upstream_failed'
}

/** Output as far as the caller got it, of a text stream that was cut and can have produced nothing else. */
function streamedOutput(
  call: HeldCall,
  outcome: Outcome,
  estimateDelivered: (delivered: Delivered) => number,
): number | undefined {
  const cut = outcome.ended === 'client_gone' || outcome.ended === 'upstream_failed' || outcome.ended === 'ended_early'
  if (!cut || !call.stream || call.reasoning || !deliveredAny(outcome.delivered)) return undefined
  return Math.ceil(estimateDelivered(outcome.delivered))
}

function deliveredAny(delivered: Delivered | undefined): delivered is Delivered {
  return delivered?.characters.some((count) => count > 0) ?? false
}
