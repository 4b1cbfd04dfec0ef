/** What a gateway must offer so that the conformance scenarios can run against it. */

export interface ConsumerSetup {
  readonly name: string
  readonly tags: readonly string[]
}

export interface GatewaySetup {
  /** The config of `llm-token-limit`, as an operator writes it. */
  readonly tokenLimit: Readonly<Record<string, unknown>>
  /** Each gets one key, of the gateway's own form. */
  readonly consumers: readonly ConsumerSetup[]
  /** Requests go to this URL with the path and query that they came with. */
  readonly upstreamUrl: string
  /** Sent upstream as `Authorization: Bearer`; the caller's own key is not. */
  readonly upstreamKey: string
}

export interface RunningGateway {
  readonly baseUrl: string
  /** Keys by consumer name. */
  readonly keys: Readonly<Record<string, string>>
  stop(): Promise<void>
}

export interface GatewayUnderTest {
  readonly name: string
  /** Where the model stand-in listens, and by which host name the gateway reaches it. Default 127.0.0.1. */
  readonly modelHost?: { readonly listen: string; readonly reachedAs: string }
  start(setup: GatewaySetup): Promise<RunningGateway>
}
