/** How far the estimator is off, against the exact count of o200k_base. */

import { correctRatio, estimateTokens, loadTokenizer } from '../../../policies/llm/estimate.ts'

export interface EstimateErrors {
  /** Medians of |estimated / actual - 1|. */
  readonly before: number
  readonly corrected: number
}

const CALLS = 5

/**
 * One caller who sends these texts. `corrected`: each run of five neighbouring texts is settled, then all others are
 * estimated with what that taught.
 */
export async function estimateErrors(texts: readonly string[]): Promise<EstimateErrors> {
  const tokenizer = await loadTokenizer('o200k_base')
  const calls: { estimated: number; actual: number }[] = []
  for (const text of texts) calls.push({ estimated: estimateTokens([text]), actual: await tokenizer.count([text]) })

  const corrected: number[] = []
  for (let start = 0; start + CALLS <= calls.length; start += CALLS) {
    let ratio: number | undefined
    for (const { estimated, actual } of calls.slice(start, start + CALLS))
      ratio = correctRatio(ratio, estimated, actual)
    const others = [...calls.slice(0, start), ...calls.slice(start + CALLS)]
    corrected.push(...others.map(({ estimated, actual }) => Math.abs((estimated * (ratio ?? 1)) / actual - 1)))
  }
  return {
    before: median(calls.map(({ estimated, actual }) => Math.abs(estimated / actual - 1))),
    corrected: median(corrected),
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}
