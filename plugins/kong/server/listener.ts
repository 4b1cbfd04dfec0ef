/** Kong's side of the socket: frames in, one answer to each out. */

import { createServer, type Server, type Socket } from 'node:net'
import type { Logger } from '../../../policies/policy.ts'
import { directReply } from './direct-event.ts'
import { FrameReader } from './frame-reader.ts'
import { decode, FrameError } from './msgpack-decode.ts'
import { encode, encodeText } from './msgpack-encode.ts'
import { isOfEdge, type PluginServer, type Reply, shownMethod } from './server.ts'
import { createStallWatch } from './stall.ts'

/**
 * Requests of one connection that are begun, and answers that are written, in one turn of the event loop at most: Kong's
 * worker and Redis should not wait for many while they could go on with the first.
 */
const TOGETHER = 4
/** Between two sweeps, which are due every tenth of a second. */
const STALLED_MS = 500
/** To `llm-edge`: an answer to nobody. */
const GO_AWAY = encodeText(0, '{}', [])

export interface ListenerObserver {
  /** An answer was sent `ms` after its frame had come. */
  answered?(method: string, ms: number): void
  /** A connection was destroyed because of what came over it. */
  violated?(reason: string): void
}

export interface ListenerOptions {
  readonly server: PluginServer
  readonly logger: Logger
  /** Milliseconds on a clock that never steps back. */
  readonly now: () => number
  /** Bytes of one frame at most. */
  readonly maxFrameBytes: number
  /** Milliseconds for the rest of a frame once its head is there. */
  readonly frameMs: number
  readonly observer?: ListenerObserver
}

export interface Listener {
  readonly net: Server
  readonly connections: number
  /** Destroys connections whose frame does not get on, and sees whether this process runs. Called by a timer, often. */
  sweep(): void
  /** Milliseconds since a frame came or was answered last; 0 while one is unanswered. */
  readonly quietMs: number
  /** Takes no new connections. The open ones go on; shared ones are asked to end, which they do with their last answer. */
  stop(): void
  /** From now on closes a connection of Kong's with the answer that ends an event: the best moment in unbroken traffic. */
  closeWithAnswers(): void
  /** Destroys Kong's own connections; whoever shares one was asked to end it. */
  closeUnshared(): void
  /** Destroys every connection. */
  destroy(): void
}

interface Request {
  readonly id: number
  readonly method: string
  readonly argument: unknown
}

/** Tells the event when Kong no longer waits for its answer. */
interface Waiting {
  cancel: (() => void) | undefined
}

interface Connection {
  readonly socket: Socket
  readonly reader: FrameReader
  /** When the first byte of an incomplete frame came. */
  partialSince: number | undefined
  readonly unanswered: Set<Waiting>
  /**
   * Of `llm-edge`, whose requests share it: what they say comes in any order, and so do the answers. Its first frame tells,
   * for Kong takes a key `_method` of a table for a method.
   */
  shared: boolean | undefined
  /** Requests that wait for their turn, oldest first. */
  inbox: Request[]
  /** Answers of one turn of the event loop, which go out together. */
  outbox: Buffer[]
}

export function createListener(options: ListenerOptions): Listener {
  const { server, logger, now, observer } = options
  const connections = new Set<Connection>()
  let closing = false
  let unanswered = 0
  let lastActive = now()
  const stall = createStallWatch(now, STALLED_MS)

  function accept(socket: Socket): void {
    const connection: Connection = {
      socket,
      reader: new FrameReader(options.maxFrameBytes),
      partialSince: undefined,
      unanswered: new Set(),
      shared: undefined,
      inbox: [],
      outbox: [],
    }
    connections.add(connection)
    socket.on('data', (chunk: Buffer) => receive(connection, chunk))
    // What went wrong with a socket shows in `close`, which always follows.
    socket.on('error', () => undefined)
    socket.on('end', () => socket.destroy())
    socket.on('close', () => {
      connections.delete(connection)
      abort(connection)
    })
  }

  function receive(connection: Connection, chunk: Buffer): void {
    if (connection.socket.destroyed) return
    lastActive = now()
    let requests: readonly Request[]
    try {
      const frames = connection.reader.push(chunk)
      const partial = connection.reader.partial
      connection.partialSince = partial ? (connection.partialSince ?? now()) : undefined
      requests = frames.map((frame) => readRequest(decode(frame)))
      if (requests[0] !== undefined && connection.shared === undefined) recognise(connection, requests[0])
      // Kong says nothing before it has its answer.
      if (
        !connection.shared &&
        (connection.unanswered.size > 0 || requests.length > 1 || (partial && requests.length > 0))
      )
        throw new FrameError('a frame before the answer to the last one')
    } catch (error) {
      violate(connection, error instanceof FrameError ? error.message : 'an internal fault')
      return
    }
    // Of those who spoke before a stall many are gone, which shows when the sockets were looked at once more: what they
    // reserved would have nobody to settle it.
    if (connection.shared && stall.recent) setImmediate(() => setImmediate(enqueue, connection, requests))
    else enqueue(connection, requests)
  }

  function enqueue(connection: Connection, requests: readonly Request[]): void {
    const idle = connection.inbox.length === 0
    connection.inbox.push(...requests)
    if (idle) dispatchSome(connection)
  }

  function recognise(connection: Connection, { method }: Request): void {
    connection.shared = isOfEdge(method)
    if (connection.shared && !net.listening) connection.socket.write(GO_AWAY)
  }

  function dispatchSome(connection: Connection): void {
    const { inbox } = connection
    if (inbox.length > TOGETHER) setImmediate(dispatchSome, connection)
    for (const request of inbox.splice(0, TOGETHER)) dispatch(connection, request)
  }

  function dispatch(connection: Connection, request: Request): void {
    if (connection.socket.destroyed) return
    const since = now()
    const waiting: Waiting = { cancel: undefined }
    connection.unanswered.add(waiting)
    unanswered += 1

    function send(encodeAnswer: () => Buffer, last: boolean): void {
      if (!connection.unanswered.has(waiting) || connection.socket.destroyed) return
      const answer = encodeAnswer()
      connection.unanswered.delete(waiting)
      unanswered -= 1
      lastActive = now()
      if (connection.shared) post(connection, answer)
      else if (last && closing) connection.socket.end(answer)
      else connection.socket.write(answer)
      observer?.answered?.(shownMethod(request.method), now() - since)
    }
    const reply: Reply = {
      result: (value, last) => send(() => encode([1, request.id, null, value]), last),
      direct: ({ text, bytes }, last) => send(() => encodeText(request.id, text, bytes), last),
      error: (message) => send(() => encode([1, request.id, message, null]), false),
    }
    try {
      waiting.cancel = server.handle(request.method, request.argument, connection.shared ? directReply(reply) : reply)
    } catch (error) {
      logger.error('request not handled', { kind: error instanceof Error ? error.name : typeof error })
      violate(connection, 'an internal fault')
    }
  }

  /** Sends with what else is answered in this turn: a write costs as much as a decision. */
  function post(connection: Connection, answer: Buffer): void {
    connection.outbox.push(answer)
    if (connection.outbox.length >= TOGETHER) flush(connection)
    else if (connection.outbox.length === 1) process.nextTick(flush, connection)
  }

  function flush(connection: Connection): void {
    const answers = connection.outbox
    const [only] = answers
    if (only === undefined || connection.socket.destroyed) return
    connection.outbox = []
    connection.socket.write(answers.length === 1 ? only : Buffer.concat(answers))
  }

  function violate(connection: Connection, reason: string): void {
    logger.warn('connection destroyed', { reason })
    observer?.violated?.(reason)
    abort(connection)
    connection.socket.destroy()
  }

  function abort(connection: Connection): void {
    const waiting = [...connection.unanswered]
    connection.inbox = []
    connection.unanswered.clear()
    unanswered -= waiting.length
    for (const { cancel } of waiting) cancel?.()
  }

  const net = createServer(accept)
  return {
    net,
    get connections() {
      return connections.size
    },
    sweep() {
      stall.tick()
      const limit = now() - options.frameMs
      for (const connection of connections)
        if (connection.partialSince !== undefined && connection.partialSince < limit)
          violate(connection, 'a frame that does not get on')
    },
    get quietMs() {
      return unanswered > 0 ? 0 : now() - lastActive
    },
    stop() {
      net.close()
      for (const { shared, socket } of connections) if (shared && !socket.destroyed) socket.write(GO_AWAY)
    },
    closeWithAnswers() {
      closing = true
    },
    closeUnshared() {
      for (const { shared, socket } of connections) if (!shared) socket.destroy()
    },
    destroy() {
      for (const connection of connections) connection.socket.destroy()
    },
  }
}

/** A request of MessagePack-RPC with the one argument that Kong gives every method. */
function readRequest(value: unknown): Request {
  if (!Array.isArray(value) || value.length !== 4) throw new FrameError('not a request')
  const [type, id, method, args] = value as readonly unknown[]
  if (type !== 0 || typeof id !== 'number' || typeof method !== 'string') throw new FrameError('not a request')
  if (!Array.isArray(args) || args.length !== 1) throw new FrameError('not one argument')
  return { id, method, argument: args[0] as unknown }
}
