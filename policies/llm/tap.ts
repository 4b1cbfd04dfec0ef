/** What the adapter needs to read a reply as it passes. Plain data: Kong's tap is Lua, in another process. */

export interface TapPlan {
  /** Id of the protocol whose shapes the reply has. */
  readonly protocol: string
  /** Whether the caller asked for a stream. */
  readonly stream: boolean
  /** The request was edited to make the provider report usage: withhold that event from the caller. */
  readonly withholdUsage: boolean
  /** `enforce_stream`: end the stream properly after this many output tokens. */
  readonly maxOutputTokens?: number
}
