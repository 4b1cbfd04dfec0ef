/** How much a caller's requests to a model usually produce: mean and deviation as in RFC 6298, section 2. */

export interface OutputEstimate {
  readonly mean: number
  readonly deviation: number
  readonly samples: number
}

const ENOUGH_SAMPLES = 5

export function observeOutput(earlier: OutputEstimate | undefined, tokens: number): OutputEstimate {
  if (earlier === undefined) return { mean: tokens, deviation: tokens / 2, samples: 1 }
  return {
    deviation: earlier.deviation + (Math.abs(tokens - earlier.mean) - earlier.deviation) / 4,
    mean: earlier.mean + (tokens - earlier.mean) / 8,
    samples: Math.min(earlier.samples + 1, ENOUGH_SAMPLES),
  }
}

/** Whole tokens, at least 1. Before five samples `fallback`. */
export function expectedOutput(estimate: OutputEstimate | undefined, fallback: number): number {
  if (estimate === undefined || estimate.samples < ENOUGH_SAMPLES) return fallback
  return Math.max(1, Math.ceil(estimate.mean + 4 * estimate.deviation))
}
