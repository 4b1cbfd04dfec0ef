/**
 * How an adapter reads a reply as it passes, as plain data: Kong's tap is Lua, in another process.
 *
 * {@link TapPlan} is what a policy asks for, {@link TapWire} the same with everything a tap needs that knows no
 * protocol, {@link TapReport} what such a tap hands back once the reply is over.
 */

export interface TapPlan {
  /** Id of the protocol whose shapes the reply has. */
  readonly protocol: string
  /** Whether the caller asked for a stream. */
  readonly stream: boolean
  /** The request was edited to make the provider report usage: withhold that event from the caller. */
  readonly withholdUsage: boolean
  /** `enforce_stream`: end the stream properly after this many output tokens. */
  readonly maxOutputTokens?: number
  /** How many candidates the stream interleaves; 1 when absent. Each needs its own end when the stream is cut. */
  readonly candidates?: number
}

/** Of two plans the stricter one: a usage event that either switched on is withheld, the lower limit cuts. */
export function mergeTaps(one: TapPlan | undefined, other: TapPlan | undefined): TapPlan | undefined {
  if (one === undefined || other === undefined) return other ?? one
  const limits = [one.maxOutputTokens, other.maxOutputTokens].filter((limit) => limit !== undefined)
  return {
    ...one,
    ...other,
    withholdUsage: one.withholdUsage || other.withholdUsage,
    ...(limits.length === 0 ? {} : { maxOutputTokens: Math.min(...limits) }),
  }
}

/**
 * A plan for a tap that knows no protocol. Made by `tapWire(plan)` when the request is let through; snake_case,
 * because it lives in a Lua table. Absent is absent: no member is ever null.
 */
export interface TapWire {
  readonly protocol: string
  readonly stream: boolean
  /**
   * Withhold an event from the caller when it parses as JSON, has an object at `usage` and an array without elements
   * at `choices`. Only then may a partial event be held back, and only until it is complete.
   */
  readonly withhold_usage: boolean
  /** Byte sequence without which no stream event carries usage, such as `"usage"`: parse no event that lacks it. */
  readonly usage_mark: string
  /** Where a parsed stream event holds usage, as dotted paths from its top: `usage`, `message.usage`. */
  readonly usage_paths: readonly string[]
  /** The top-level member of a whole JSON reply that holds usage. */
  readonly usage_member: string
  /** Keys whose string values, anywhere in a stream event, are generated text: count their characters. */
  readonly text_keys: readonly string[]
  /** Keys whose whole values are not looked into when counting text, because they repeat it. */
  readonly skip_keys: readonly string[]
  /**
   * An event whose top-level `type` is one of these ends the stream, and so does the data `[DONE]`. Absent when the
   * protocol marks no end: then the end of the connection is it.
   */
  readonly final_types?: readonly string[]
  /** Cut the stream once the estimate passes this. */
  readonly max_output_tokens?: number
  /** Tokens per character of one, two, three and four UTF-8 bytes: the estimate is the sum of count x weight. */
  readonly token_weights: readonly [one: number, two: number, three: number, four: number]
  /**
   * What to send instead of the rest when the stream is cut, after the event that crossed the limit. `{{first.a.b}}`
   * and `{{last.a}}` stand for the JSON text of that member of the first event and of the last one forwarded (`null`
   * when it has none), `{{tokens}}` for the estimate of what was delivered, rounded up.
   */
  readonly final_template: string
}

/**
 * What a tap saw. Leave out what is empty: an empty Lua table is neither list nor object. Read by `readReport`, which
 * takes nothing on trust.
 */
export interface TapReport {
  /**
   * Data of the stream events that may carry usage (those with `usage_mark`; data lines joined by a line feed), oldest
   * first: the first one and the last three are enough, and one where `null` follows the mark may be left out. Where
   * text follows such an event, one more that holds nothing but some text under the first of `text_keys`. An
   * event over 64 KiB is parsed by the tap and re-encoded with only its `type` and the members at `usage_paths`.
   */
  readonly events?: readonly string[]
  /** Of a whole JSON reply: the raw JSON text of its top-level `usage_member`. */
  readonly usage_json?: string
  /** Characters of generated text delivered in a stream, by UTF-8 length. */
  readonly characters?: readonly [one: number, two: number, three: number, four: number]
  /** `final`: the protocol's last event, or the whole JSON reply, passed. `cut`: `max_output_tokens` ended it. */
  readonly ended: 'final' | 'cut' | 'open'
}
