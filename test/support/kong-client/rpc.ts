/** Kong's end of the RPC: `Rpc:call` of mp_rpc.lua over a pool as OpenResty keeps one. */

import { connect, type Socket } from 'node:net'
import { decode, Encoder } from '@msgpack/msgpack'

/** The call did not come back, as `nil, err` in Lua. Kong logs it and lets the request pass. */
export class NoAnswer extends Error {
  override name = 'NoAnswer'
}

/** What Lua would raise, and Kong answers with a 500. */
export class LuaError extends Error {
  override name = 'LuaError'
}

/** An argument that lua-MessagePack cannot pack. */
export const UNPACKABLE = Symbol('unpackable')

export interface RpcOptions {
  readonly socket: string
  /** `lua_socket_read_timeout`, milliseconds. */
  readonly readTimeoutMs?: number
  /** `lua_socket_pool_size`: idle connections kept. */
  readonly poolSize?: number
}

export interface Rpc {
  /** @throws {NoAnswer} with the server's error, or because none came. @throws {LuaError} */
  call(method: string, argument: unknown): Promise<unknown>
  /** The id of the last message; the next one has one more. */
  messageId: number
  readonly idle: number
  close(): void
}

interface Connection {
  readonly socket: Socket
  received: Buffer
  onData: (() => void) | undefined
  closed: boolean
}

export function createRpc(options: RpcOptions): Rpc {
  const readTimeoutMs = options.readTimeoutMs ?? 2_000
  const poolSize = options.poolSize ?? 256
  const idle: Connection[] = []
  const open = new Set<Connection>()
  const encoder = new Encoder()
  const rpc = { messageId: 0 }

  async function take(): Promise<Connection> {
    // The one used last: OpenResty's pool is a stack.
    const pooled = idle.pop()
    if (pooled !== undefined) return pooled
    const socket = connect(options.socket)
    const connection: Connection = { socket, received: Buffer.alloc(0), onData: undefined, closed: false }
    open.add(connection)
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', (error: NodeJS.ErrnoException) => reject(new NoAnswer(error.code ?? 'error')))
    })
    socket.on('error', () => undefined)
    socket.on('close', () => {
      connection.closed = true
      open.delete(connection)
      remove(connection)
      connection.onData?.()
    })
    socket.on('data', (chunk: Buffer) => {
      connection.received = Buffer.concat([connection.received, chunk])
      // On an idle connection OpenResty takes any byte for its end.
      if (connection.onData === undefined) socket.destroy()
      else connection.onData()
    })
    return connection
  }

  function remove(connection: Connection): void {
    const at = idle.indexOf(connection)
    if (at >= 0) idle.splice(at, 1)
  }

  function setKeepalive(connection: Connection): void {
    connection.onData = undefined
    if (connection.closed || idle.length >= poolSize) connection.socket.destroy()
    else idle.push(connection)
  }

  /** Undefined when the connection ended or nothing came in time. */
  function read(connection: Connection): Promise<readonly unknown[] | undefined> {
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined
      const finish = (value: readonly unknown[] | undefined) => {
        clearTimeout(timer)
        connection.onData = undefined
        resolve(value)
      }
      const look = () => {
        const value = decodeWhole(connection.received)
        if (value !== undefined) {
          connection.received = Buffer.alloc(0)
          finish(value)
        } else if (connection.closed) finish(undefined)
        else {
          // The timeout is for one read.
          clearTimeout(timer)
          timer = setTimeout(finish, readTimeoutMs, undefined)
        }
      }
      connection.onData = look
      look()
    })
  }

  return {
    get messageId() {
      return rpc.messageId
    },
    set messageId(id) {
      rpc.messageId = id
    },
    get idle() {
      return idle.length
    },
    async call(method, argument) {
      rpc.messageId += 1
      const id = rpc.messageId
      const connection = await take()
      if (argument === UNPACKABLE) {
        // Raised with the connection in hand, which is therefore never used again.
        connection.socket.destroy()
        throw new LuaError("bad argument to 'pack'")
      }
      connection.socket.write(encoder.encode([0, id, method, [argument]]))
      const answer = await read(connection)
      if (answer === undefined) {
        setKeepalive(connection)
        throw new NoAnswer('no data')
      }
      if (answer[0] !== 1 || answer[1] !== id) throw new LuaError('unexpected RPC response ID from Go plugin server')
      setKeepalive(connection)
      if (answer[2] !== null && answer[2] !== undefined) throw new NoAnswer(String(answer[2]))
      return answer[3]
    },
    close() {
      for (const connection of open) connection.socket.destroy()
      idle.length = 0
    },
  }
}

function decodeWhole(bytes: Buffer): readonly unknown[] | undefined {
  if (bytes.length === 0) return undefined
  try {
    return decode(bytes) as readonly unknown[]
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}
