/** Kong's side of the socket: frames in, one answer to each out. */

import { createServer, type Server, type Socket } from 'node:net'
import type { Logger } from '../../../policies/policy.ts'
import { FrameReader } from './frame-reader.ts'
import { decode, FrameError } from './msgpack-decode.ts'
import { encode } from './msgpack-encode.ts'
import { type PluginServer, type Reply, shownMethod } from './server.ts'

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
  /** Destroys connections whose frame does not get on. Called by a timer. */
  sweep(): void
  /** Milliseconds since a frame came or was answered last; 0 while one is unanswered. */
  readonly quietMs: number
  /** Takes no new connections; the open ones go on. */
  stop(): void
  /** From now on closes a connection with the answer that ends an event: the best moment in unbroken traffic. */
  closeWithAnswers(): void
  /** Destroys every connection. */
  destroy(): void
}

interface Request {
  readonly id: number
  readonly method: string
  readonly argument: unknown
}

interface Connection {
  readonly socket: Socket
  readonly reader: FrameReader
  /** When the first byte of an incomplete frame came. */
  partialSince: number | undefined
  /** Set while Kong waits for an answer. Tells the event when Kong no longer does. */
  unanswered: { cancel: (() => void) | undefined } | undefined
}

export function createListener(options: ListenerOptions): Listener {
  const { server, logger, now, observer } = options
  const connections = new Set<Connection>()
  let closing = false
  let unanswered = 0
  let lastActive = now()

  function accept(socket: Socket): void {
    const connection: Connection = {
      socket,
      reader: new FrameReader(options.maxFrameBytes),
      partialSince: undefined,
      unanswered: undefined,
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
    if (connection.unanswered !== undefined) {
      violate(connection, 'a frame before the answer to the last one')
      return
    }
    let request: Request | undefined
    try {
      const frame = connection.reader.push(chunk)
      connection.partialSince = frame === undefined ? (connection.partialSince ?? now()) : undefined
      if (frame === undefined) return
      request = readRequest(decode(frame))
    } catch (error) {
      violate(connection, error instanceof FrameError ? error.message : 'an internal fault')
      return
    }
    dispatch(connection, request)
  }

  function dispatch(connection: Connection, request: Request): void {
    const since = now()
    const waiting: { cancel: (() => void) | undefined } = { cancel: undefined }
    connection.unanswered = waiting
    unanswered += 1

    function send(error: string | null, result: unknown, last: boolean): void {
      if (connection.unanswered !== waiting || connection.socket.destroyed) return
      const answer = encode([1, request.id, error, result])
      connection.unanswered = undefined
      unanswered -= 1
      lastActive = now()
      if (last && closing) connection.socket.end(answer)
      else connection.socket.write(answer)
      observer?.answered?.(shownMethod(request.method), now() - since)
    }
    const reply: Reply = {
      result: (value, last) => send(null, value, last),
      error: (message) => send(message, null, false),
    }
    try {
      const cancel = server.handle(request.method, request.argument, reply)
      waiting.cancel = cancel
    } catch (error) {
      logger.error('request not handled', { kind: error instanceof Error ? error.name : typeof error })
      violate(connection, 'an internal fault')
    }
  }

  function violate(connection: Connection, reason: string): void {
    logger.warn('connection destroyed', { reason })
    observer?.violated?.(reason)
    abort(connection)
    connection.socket.destroy()
  }

  function abort(connection: Connection): void {
    const waiting = connection.unanswered
    if (waiting === undefined) return
    connection.unanswered = undefined
    unanswered -= 1
    waiting.cancel?.()
  }

  const net = createServer(accept)
  return {
    net,
    get connections() {
      return connections.size
    },
    sweep() {
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
    },
    closeWithAnswers() {
      closing = true
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
