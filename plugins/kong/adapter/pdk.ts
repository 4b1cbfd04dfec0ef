/**
 * The PDK calls that the adapter makes, typed by what was seen to come back; kong-pdk's own types differ. Every call is
 * a round trip to Kong and rejects when the event is over. Never `getHeaders` or `getQuery`: a client's `_method` in
 * them becomes an RPC name.
 */

export interface KongEntity {
  readonly id: string
  readonly name?: string
}

export interface KongConsumer {
  readonly id: string
  readonly username?: string
  readonly custom_id?: string
  readonly tags?: readonly string[]
}

/** Holds the raw key as well, which must not leave the function that reads this. */
export interface KongCredential {
  readonly id?: string
  readonly created_at?: number
  readonly tags?: readonly string[]
}

export interface KongPdk {
  /** Set where what is read came with the event, and what it is told goes to Kong as JSON, not call by call. */
  readonly direct?: {
    /** A member of `kong.ctx.shared`, of which all is here that the pack reads there. */
    shared(key: string): unknown
    /** Whether Kong's worker has seen the text of a tap with this id. */
    knowsTap(id: string): boolean
  }
  readonly ctx: {
    readonly shared: {
      get(key: string): Promise<unknown>
      set(key: string, value: unknown): Promise<unknown>
    }
  }
  readonly request: {
    getMethod(): Promise<string>
    /** The first one of that name. */
    getHeader(name: string): Promise<string | undefined>
    /** A body over `max` is a 500 for the client, and the call never comes back. */
    getRawBody(max: number): Promise<Uint8Array | undefined>
  }
  readonly client: {
    getForwardedIp(): Promise<string>
    getConsumer(): Promise<KongConsumer | undefined>
    getCredential(): Promise<KongCredential | undefined>
  }
  readonly router: {
    getRoute(): Promise<KongEntity | undefined>
    getService(): Promise<KongEntity | undefined>
  }
  readonly nginx: { getVar(name: string): Promise<string | undefined> }
  readonly service: {
    readonly request: {
      setRawBody(body: Uint8Array): Promise<unknown>
      setHeaders(headers: Readonly<Record<string, string>>): Promise<unknown>
      clearHeader(name: string): Promise<unknown>
    }
  }
  readonly response: {
    /** Ends the request: make no PDK call after it. */
    exit(status: number, body: string, headers: Readonly<Record<string, string>>): Promise<void>
    setHeaders(headers: Readonly<Record<string, string>>): Promise<unknown>
  }
  readonly log: {
    /** To Kong's own log at level error. What a plugin server writes to stderr gets there at level info only. */
    err(message: string): Promise<unknown>
    /** JSON text of what Kong's loggers get. Log phase only; holds the query string and provider keys. */
    serialize(): Promise<string | undefined>
  }
}
