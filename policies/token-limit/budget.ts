/** How much output a rule reserves for a request. */

import type { LlmCall } from '../llm/protocol.ts'
import type { Claim, CounterSpec } from '../stores/ports.ts'
import type { Rule } from './rules.ts'

/** Below this an answer is cut so short that it is of no use to most callers. */
const LEAST_USEFUL_OUTPUT = 256

export type Budget = Pick<Claim, 'want' | 'clip' | 'floor'>

/** @param expected output tokens this caller and model usually produce, all candidates together */
export function budgetFor(
  rule: Rule,
  counter: CounterSpec,
  call: Pick<LlmCall, 'candidates' | 'declaredOutput' | 'generates'>,
  expected: number,
): Budget {
  if (!rule.countsOutput || !call.generates) return { want: 0, clip: false, floor: 0 }
  const declared = call.declaredOutput
  const want =
    declared === undefined ? expected : rule.config.reserve === 'expected' ? Math.min(declared, expected) : declared
  const clip = declared === undefined || rule.config.on_short_budget === 'clamp'
  if (!clip) return { want, clip, floor: 0 }
  const usual = Math.min(LEAST_USEFUL_OUTPUT, Math.ceil(counter.limit / 10))
  const floor = rule.config.on_short_budget === 'clamp' ? (rule.config.clamp_floor ?? usual) : usual
  // Who wants less than the floor is content with less; but each candidate needs a token, since zero means no limit.
  return { want, clip, floor: Math.max(call.candidates, Math.min(floor, want)) }
}
