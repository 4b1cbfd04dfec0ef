/** From a request understood to claims on counters, and back to what the adapter is told. */

import type { Reject } from '../policy.ts'
import type { Claim, ClaimResult, CounterSpec } from '../stores/ports.ts'
import { budgetFor } from './budget.ts'
import type { Estimate } from './estimate.ts'
import type { Standing } from './headers.ts'
import type { HeldEntry } from './held.ts'
import { counterName, type Facts } from './keys.ts'
import type { AppliedRule } from './match.ts'
import type { Asked } from './request.ts'
import { counterOf, type Rule } from './rules.ts'

/** A claim and the rule it comes from. */
export interface Asker {
  readonly rule: Rule
  readonly claim: Claim
}

export interface Claims {
  readonly askers: readonly Asker[]
  /** Why an enforced rule, or a shadow one, cannot even be asked. */
  readonly refused?: Reject
  readonly wouldRefuse?: Reject
}

export function claimsFor(
  applied: readonly AppliedRule<Rule>[],
  facts: Facts,
  asked: Asked,
  estimate: Estimate,
): Claims {
  const askers = new Map<string, Asker>()
  let wouldRefuse: Reject | undefined
  for (const { rule, model } of applied) {
    if (asked.kind === 'counted' && rule.unit !== 'requests') continue
    const counter = counterOf(rule, facts)
    if ('type' in counter) {
      const refusal = { ...counter, rule: rule.config.name }
      if (!rule.shadow) return { askers: [], refused: refusal }
      wouldRefuse ??= refusal
      continue
    }
    const claim = claimOn(rule, counter, facts, model, asked, estimate)
    // Several models that may answer can share a counter: the request is still one.
    if (!askers.has(claim.key)) askers.set(claim.key, { rule, claim })
  }
  return { askers: [...askers.values()], ...(wouldRefuse === undefined ? {} : { wouldRefuse }) }
}

function claimOn(
  rule: Rule,
  counter: CounterSpec,
  facts: Facts,
  model: string,
  asked: Asked,
  estimate: Estimate,
): Claim {
  const budget =
    asked.kind === 'metered'
      ? budgetFor(rule, counter, asked.call, estimate.output)
      : { want: 0, clip: false, floor: 0 }
  return {
    rule: rule.config.name,
    ...counterName(rule.plan, facts, model),
    counter,
    unit: rule.unit,
    input: inputCost(rule, estimate.input),
    ...budget,
    shadow: rule.shadow,
  }
}

function inputCost(rule: Rule, input: number): number {
  if (rule.unit === 'requests') return 1
  return rule.unit === 'output_tokens' ? 0 : input
}

/** What the reservation remembers of one claim; undefined when it took nothing. */
export function heldEntry({ rule, claim }: Asker, result: ClaimResult, clippedTo: number): HeldEntry | undefined {
  if (result.retryAfterMs !== undefined) return undefined
  const full = claim.input + Math.min(claim.want, clippedTo)
  return {
    key: result.key,
    ...(claim.caller === undefined ? {} : { caller: claim.caller }),
    counter: claim.counter,
    at: result.at,
    epoch: result.epoch,
    reserved: result.reserved,
    output: result.reserved - claim.input,
    unit: claim.unit,
    weight: rule.config.cached_input_weight,
    ...(claim.shadow && result.reserved < full ? { capped: true } : {}),
  }
}

export function standingOf({ claim }: Asker, result: ClaimResult): Standing {
  return { rule: claim.rule, unit: claim.unit, counter: claim.counter, result }
}
