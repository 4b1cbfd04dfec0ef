/**
 * `portcullis.Access`: an access phase in one message (`direct.lua` of llm-edge). What the plugin would read comes with it,
 * and what it wants done goes back in one answer. Whatever else it asks of Kong goes back with what it wanted done so
 * far, and Kong's result comes as a step of Kong's own.
 */

import Pdk from 'kong-pdk/pdk.js'
import { PortcullisError } from '../../../policies/errors.ts'
import type { KongPdk } from '../adapter/pdk.ts'
import { FACTS_KEY, isObject, varied } from '../shared-context.ts'
import { endsEvent, type KongEvent, type ToKong } from './event.ts'
import { RpcError } from './instances.ts'
import type { Reply } from './server.ts'

/** What `llm-edge` sends. */
export interface DirectRequest {
  readonly instanceId: number
  /** `kong.ctx.shared`, of which all is here that the pack reads there. */
  readonly shared: Readonly<Record<string, unknown>>
  /** Ids of the taps whose text Kong's worker knows, with a space between them. */
  readonly taps: string
}

/** Text for Lua, and what goes behind it: bytes that would not survive in it, or cost more there. */
export interface DirectAnswer {
  readonly text: string
  readonly bytes: readonly Uint8Array[]
}

type Call = Exclude<ToKong, 'ret'>

/** @throws {RpcError} when it is no such message, or its facts are not here any more. */
export function readDirectRequest(argument: unknown, recent: RecentFacts): DirectRequest {
  if (!Array.isArray(argument) || argument.length !== 3) throw notOne()
  const [id, text, body] = argument as readonly unknown[]
  const instanceId = typeof id === 'string' ? Number(id) : Number.NaN
  if (!Number.isSafeInteger(instanceId) || typeof text !== 'string') throw notOne()
  if (body !== null && !Buffer.isBuffer(body)) throw notOne()
  return { instanceId, ...readMessage(text, body, recent) }
}

function readMessage(text: string, body: Buffer | null, recent: RecentFacts): Pick<DirectRequest, 'shared' | 'taps'> {
  let message: unknown
  try {
    message = JSON.parse(text)
  } catch {
    throw notOne()
  }
  if (!isObject(message) || !isObject(message.earlier) || typeof message.taps !== 'string') throw notOne()
  const facts = message.same === undefined ? joinFacts(message.facts, body, recent) : recent.find(message.same)
  return { shared: { ...message.earlier, [FACTS_KEY]: facts }, taps: message.taps }
}

function joinFacts(parts: unknown, body: Buffer | null, recent: RecentFacts): object {
  if (!Array.isArray(parts)) throw notOne()
  const facts: object = Object.assign({}, ...(parts as readonly unknown[]), body === null ? {} : { body })
  recent.keep(facts, body?.length ?? 0)
  return facts
}

/**
 * Facts that came with the first plugin of a request, for the plugins behind it. Only a short memory: who asks for facts
 * that are gone sends them again.
 */
export interface RecentFacts {
  keep(facts: object, bodyBytes: number): void
  /** @throws {RpcError} when they are not here. */
  find(requestId: unknown): object
}

const MOST_RECENT = 512
const MOST_RECENT_BYTES = 8 * 1_048_576
/** Requests that are kept after the last one that was asked for: a route with one plugin need not pay for it. */
const INTEREST = 10_000

export function createRecentFacts(): RecentFacts {
  /** Oldest first. */
  const known = new Map<string, { readonly facts: object | undefined; readonly bytes: number }>()
  let bytes = 0
  let interest = 0

  function forget(id: string): void {
    bytes -= known.get(id)?.bytes ?? 0
    known.delete(id)
  }

  return {
    keep(facts, bodyBytes) {
      const { request_id: id } = facts as { readonly request_id?: unknown }
      if (interest === 0 || typeof id !== 'string') return
      interest -= 1
      // Told twice under one id, it is not certain whose they are.
      const twice = known.has(id)
      forget(id)
      known.set(id, twice ? { facts: undefined, bytes: 0 } : { facts, bytes: bodyBytes })
      if (twice) return
      bytes += bodyBytes
      for (const oldest of known.keys()) {
        if (known.size <= MOST_RECENT && bytes <= MOST_RECENT_BYTES) break
        forget(oldest)
      }
    },
    find(requestId) {
      interest = INTEREST
      const facts = typeof requestId === 'string' ? known.get(requestId)?.facts : undefined
      if (facts === undefined) throw new RpcError('facts that are not here')
      return facts
    },
  }
}

function notOne(): RpcError {
  return new RpcError('not an access event')
}

/** What goes back in one answer. */
export class DirectCalls {
  private readonly calls: Call[] = []
  private readonly event: KongEvent

  constructor(event: KongEvent) {
    this.event = event
  }

  /** Puts off a call whose result nobody needs. @throws {PortcullisError} `event_over`, and then Kong never hears of it. */
  add(method: string, ...args: readonly unknown[]): Promise<undefined> {
    if (this.event.ended !== undefined) return Promise.reject(new PortcullisError('event_over', 'Kong waits no longer'))
    this.calls.push({ Method: method, Args: args })
    return DONE
  }

  /** All that was put off, and what ends the answer. */
  answer(last: ToKong): DirectAnswer {
    if (last !== 'ret') this.calls.push(last)
    const bytes: Uint8Array[] = []
    const calls = this.calls.splice(0).map((call) => withoutBytes(call, bytes))
    const text = JSON.stringify({ ...(endsEvent(last) ? {} : { event: this.event.id }), calls })
    return { text: varied(text), bytes }
  }
}

/** The call as a list. A new body and the reservations of an entry go behind the text, each told by its length there. */
function withoutBytes({ Method, Args }: Call, bytes: Uint8Array[]): readonly unknown[] {
  const [first, entry] = Args
  if (Method === SET_BODY && first instanceof Uint8Array) {
    bytes.push(first)
    return [Method, { bytes: first.length }]
  }
  if (Method !== SET_SHARED || !isObject(entry) || typeof entry.reservations !== 'string') return [Method, ...Args]
  const held = Buffer.from(entry.reservations)
  bytes.push(held)
  return [Method, first, { ...entry, reservations: { bytes: held.length } }]
}

const DONE = Promise.resolve(undefined)
const SET_BODY = 'kong.service.request.set_raw_body'
const SET_SHARED = 'kong.ctx.shared.set'

/** A reply to `llm-edge`: in its form, whatever is answered. */
export function directReply(reply: Reply): Reply {
  const error = (message: string): void =>
    reply.direct({ text: JSON.stringify({ error: message, calls: [] }), bytes: [] }, false)
  return {
    direct: reply.direct,
    error,
    result(value, last) {
      const data = isObject(value) ? value.Data : undefined
      if (isObject(data) && Array.isArray(data.Args)) {
        const calls = [[data.Method, ...(data.Args as readonly unknown[])]]
        reply.direct({ text: JSON.stringify({ calls }), bytes: [] }, last)
      } else error('no such method')
    },
  }
}

/** Kong's plugin API over what came with the event; what it cannot answer goes the long way through kong-pdk. */
export function directPdk(event: KongEvent, calls: DirectCalls, { shared, taps }: DirectRequest): KongPdk {
  let pdk: KongPdk | undefined
  const throughKong = (): KongPdk => {
    pdk ??= new Pdk(event.pipe).kong as unknown as KongPdk
    return pdk
  }
  const read = (key: string): unknown => (Object.hasOwn(shared, key) ? shared[key] : undefined)
  return {
    direct: { shared: read, knowsTap: (id) => taps.includes(id) },
    ctx: {
      shared: {
        get: (key) => Promise.resolve(read(key)),
        set: (key, value) => calls.add(SET_SHARED, key, value),
      },
    },
    service: {
      request: {
        setRawBody: (body) => calls.add(SET_BODY, body),
        setHeaders: (headers) => calls.add('kong.service.request.set_headers', headers),
        clearHeader: (name) => calls.add('kong.service.request.clear_header', name),
      },
    },
    response: {
      setHeaders: (headers) => calls.add('kong.response.set_headers', headers),
      async exit(status, body, headers) {
        event.pipe.put({ Method: 'kong.response.exit', Args: [status, body, headers] })
      },
    },
    log: {
      err: (message) => calls.add('kong.log.err', message),
      serialize: () => throughKong().log.serialize(),
    },
    get request() {
      return throughKong().request
    },
    get client() {
      return throughKong().client
    },
    get router() {
      return throughKong().router
    },
    get nginx() {
      return throughKong().nginx
    },
  }
}
