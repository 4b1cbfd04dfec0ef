/** One request as a Kong worker holds it. */

export interface RequestSpec {
  readonly method?: string
  /** Path and query as the client sent them. */
  readonly uri?: string
  /** In order; a name may repeat. */
  readonly headers?: ReadonlyArray<readonly [name: string, value: string]>
  readonly body?: Uint8Array
  readonly requestId?: string
  readonly clientIp?: string
  readonly scheme?: string
  readonly host?: string
  readonly consumer?: Readonly<Record<string, unknown>>
  readonly credential?: Readonly<Record<string, unknown>>
  readonly route?: Readonly<Record<string, unknown>>
  readonly service?: Readonly<Record<string, unknown>>
  readonly nodeId?: string
}

export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export interface KongRequest {
  readonly spec: RequestSpec
  /** By lower-case name, as `ngx.req.get_headers()` gives them: a list where a name repeats. */
  readonly headers: Record<string, string | readonly string[]>
  /** `kong.ctx.shared` */
  readonly shared: Map<string, unknown>
  upstreamBody: Uint8Array
  readonly upstreamHeaders: Map<string, string>
  readonly replyHeaders: Map<string, string>
  /** Set once Kong or a plugin answered by itself. */
  reply: Reply | undefined
  /** `kong.response.get_source()` */
  source: 'service' | 'exit' | 'error'
  /** What `kong.log.serialize()` gives in the log phase, as JSON text. */
  serialized: string
  responseStatus: number
  responseHeaders: Record<string, string | readonly string[]>
}

export function createRequest(spec: RequestSpec): KongRequest {
  const headers: Record<string, string | readonly string[]> = {}
  for (const [name, value] of spec.headers ?? []) {
    const key = name.toLowerCase()
    const before = headers[key]
    headers[key] = before === undefined ? value : [...(typeof before === 'string' ? [before] : before), value]
  }
  return {
    spec,
    headers,
    shared: new Map(),
    upstreamBody: spec.body ?? new Uint8Array(),
    upstreamHeaders: new Map(Object.entries(headers).map(([name, value]) => [name, String(value)])),
    replyHeaders: new Map(),
    reply: undefined,
    source: 'service',
    serialized: '{}',
    responseStatus: 200,
    responseHeaders: {},
  }
}
