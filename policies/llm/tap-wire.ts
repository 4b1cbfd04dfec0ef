/** A tap plan with everything that a tap in another language needs. */

import { estimateDelivered } from './estimate.ts'
import { requireProtocol } from './protocols/index.ts'
import type { TapPlan, TapWire } from './tap.ts'

/** Weights are measured on this many characters, so that rounding up is lost in them. */
const SAMPLE = 1_000_000

/** @throws {PortcullisError} `unknown_protocol`. */
export function tapWire(plan: TapPlan): TapWire {
  const protocol = requireProtocol(plan.protocol)
  return {
    protocol: plan.protocol,
    stream: plan.stream,
    withhold_usage: plan.withholdUsage,
    usage_mark: protocol.usageMark,
    usage_paths: protocol.usagePaths,
    usage_member: protocol.usageMember,
    text_keys: protocol.textKeys,
    skip_keys: protocol.skipKeys,
    ...(protocol.finalTypes.length === 0 ? {} : { final_types: protocol.finalTypes }),
    ...(plan.maxOutputTokens === undefined ? {} : { max_output_tokens: plan.maxOutputTokens }),
    token_weights: [
      weight([SAMPLE, 0, 0, 0]),
      weight([0, SAMPLE, 0, 0]),
      weight([0, 0, SAMPLE, 0]),
      weight([0, 0, 0, SAMPLE]),
    ],
    final_template: protocol.finalTemplate(plan.candidates ?? 1),
  }
}

function weight(characters: readonly [number, number, number, number]): number {
  return estimateDelivered({ characters }) / SAMPLE
}
