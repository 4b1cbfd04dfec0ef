/** Tokens as the provider reported them, in one form for every protocol. */

/** A field that was not reported is absent: not reported is not zero. All are non-negative integers. */
export interface Usage {
  /** All input, cached and cache-creating tokens included. */
  readonly inputTokens?: number
  /** Part of `inputTokens` that was read from a cache. */
  readonly cachedInputTokens?: number
  /** Part of `inputTokens` that was written to a cache. */
  readonly cacheCreationTokens?: number
  /** All output, reasoning included. Only a final figure: a running one is left out. */
  readonly outputTokens?: number
  /** Part of `outputTokens` that was reasoning. */
  readonly reasoningTokens?: number
}

/** Later reports win field by field: Anthropic reports in two halves. */
export function mergeUsage(earlier: Usage | undefined, later: Usage | undefined): Usage | undefined {
  if (earlier === undefined || later === undefined) return later ?? earlier
  return { ...earlier, ...later }
}

/** Characters of generated text that passed to the caller, by length in UTF-8: what a byte-level tap can count. */
export interface Delivered {
  /** Characters of one, two, three and four bytes. */
  readonly characters: readonly [one: number, two: number, three: number, four: number]
}
