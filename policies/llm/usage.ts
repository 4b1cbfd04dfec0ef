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

/** A token count as a provider must write it: a non-negative safe integer. Anything else was not reported. */
export function readTokens(object: unknown, key: string): number | undefined {
  if (typeof object !== 'object' || object === null) return undefined
  const value = (object as Readonly<Record<string, unknown>>)[key]
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined
}

/** Leaves out what was not reported, and parts that are larger than their whole; undefined when nothing is left. */
export function makeUsage(reported: { readonly [K in keyof Usage]: Usage[K] | undefined }): Usage | undefined {
  const { inputTokens, cachedInputTokens, cacheCreationTokens, outputTokens, reasoningTokens } = reported
  const input = inputTokens ?? Number.POSITIVE_INFINITY
  const cached = cachedInputTokens !== undefined && cachedInputTokens <= input ? cachedInputTokens : undefined
  const created =
    cacheCreationTokens !== undefined && cacheCreationTokens + (cached ?? 0) <= input ? cacheCreationTokens : undefined
  const reasoning =
    reasoningTokens !== undefined && reasoningTokens <= (outputTokens ?? Number.POSITIVE_INFINITY)
      ? reasoningTokens
      : undefined
  const usage: Usage = {
    ...(inputTokens === undefined ? {} : { inputTokens }),
    ...(cached === undefined ? {} : { cachedInputTokens: cached }),
    ...(created === undefined ? {} : { cacheCreationTokens: created }),
    ...(outputTokens === undefined ? {} : { outputTokens }),
    ...(reasoning === undefined ? {} : { reasoningTokens: reasoning }),
  }
  return Object.keys(usage).length === 0 ? undefined : usage
}

/** 504 of any proxy, 524 of Cloudflare's. */
const GAVE_UP_WAITING: ReadonlySet<number> = new Set([504, 524])

/** Whether a proxy on the way gave up on whoever had the request: what that one generated meanwhile, nobody knows. */
export function gaveUpWaiting(status: number): boolean {
  return GAVE_UP_WAITING.has(status)
}

/** Without what was generated: for a figure that still runs. */
export function inputOnly(usage: Usage | undefined): Usage | undefined {
  if (usage === undefined) return undefined
  const { outputTokens: _output, reasoningTokens: _reasoning, ...input } = usage
  return Object.keys(input).length === 0 ? undefined : input
}
