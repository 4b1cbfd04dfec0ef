/** Another plugin server as this one reaches it: over its socket, as Kong does. */

import { connect, type Socket } from 'node:net'
import { ANSWER_HEADS, FrameReader } from './frame-reader.ts'
import { decode, FrameError } from './msgpack-decode.ts'
import { encode } from './msgpack-encode.ts'

/** A request of MessagePack-RPC up to its id, as Kong writes it. */
const REQUEST = Buffer.of(0x94, 0)

/** Undefined when none came. */
export type PeerAnswer = { readonly result: unknown } | { readonly declined: true } | undefined

export interface Peer {
  /** Asks one thing at a time. After a question without an answer in time the connection is gone. Never rejects. */
  ask(method: string, argument: unknown): Promise<PeerAnswer>
  readonly gone: boolean
  close(): void
}

export interface PeerOptions {
  /** For its connection, and for each answer, in milliseconds. */
  readonly patienceMs: number
  /** Of one answer at most. */
  readonly maxFrameBytes: number
}

/** Undefined when nobody listens there. */
export async function reachPeer(path: string, options: PeerOptions): Promise<Peer | undefined> {
  const socket = connect(path)
  // What went wrong shows in `close`, which always follows.
  socket.on('error', () => undefined)
  if (await connects(socket, options.patienceMs)) return createPeer(socket, options)
  socket.destroy()
  return undefined
}

function connects(socket: Socket, ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms, false)
    const finish = (connected: boolean) => {
      clearTimeout(timer)
      resolve(connected)
    }
    socket.once('connect', () => finish(true))
    socket.once('close', () => finish(false))
  })
}

function createPeer(socket: Socket, { patienceMs, maxFrameBytes }: PeerOptions): Peer {
  const reader = new FrameReader(maxFrameBytes, ANSWER_HEADS)
  let lastId = 0
  let answer: ((answer: PeerAnswer) => void) | undefined

  function finish(given: PeerAnswer): void {
    const waiting = answer
    answer = undefined
    waiting?.(given)
  }

  function receive(chunk: Buffer): void {
    try {
      for (const frame of reader.push(chunk)) finish(readAnswer(decode(frame), lastId))
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
      socket.destroy()
    }
  }

  socket.on('data', receive)
  socket.on('end', () => socket.destroy())
  socket.on('close', () => finish(undefined))
  return {
    ask(method, argument) {
      if (socket.destroyed) return Promise.resolve(undefined)
      lastId += 1
      return new Promise((resolve) => {
        const timer = setTimeout(() => socket.destroy(), patienceMs)
        answer = (given) => {
          clearTimeout(timer)
          resolve(given)
        }
        socket.write(Buffer.concat([REQUEST, encode(lastId), encode(method), encode([argument])]))
      })
    },
    get gone() {
      return socket.destroyed
    },
    close: () => void socket.destroy(),
  }
}

/** @throws {FrameError} */
function readAnswer(value: unknown, id: number): PeerAnswer {
  if (!Array.isArray(value) || value.length !== 4 || value[0] !== 1 || value[1] !== id)
    throw new FrameError('not the answer')
  const [, , error, result] = value as readonly unknown[]
  return error === null ? { result } : { declined: true }
}
