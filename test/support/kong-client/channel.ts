/** A worker's connection to the plugin server that its requests share: `kong/plugins/llm-edge/channel.lua`. */

import { connect, type Socket } from 'node:net'
import { type DirectReply, readReply, withHead } from './direct-message.ts'
import { NoAnswer, type RpcOptions } from './rpc.ts'

export interface Channels {
  /** @throws {NoAnswer} */
  exchange(message: Uint8Array): Promise<DirectReply>
  /** How many connections there were. */
  readonly opened: number
  close(): void
}

interface Channel {
  readonly socket: Socket
  readonly waiting: Map<number, { done(reply: DirectReply): void; fail(why: string): void }>
  queue: Buffer[]
  received: Buffer
}

/** To nobody: the server wants this connection to end. */
const GO_AWAY = 0
const MAX_ID = 0xffff_ffff

export function createChannels(options: RpcOptions): Channels {
  const timeoutMs = options.readTimeoutMs ?? 2_000
  const open = new Set<Channel>()
  let current: Channel | undefined
  let lastId = 0
  let opened = 0

  function openChannel(): Channel {
    const socket = connect(options.socket)
    const channel: Channel = { socket, waiting: new Map(), queue: [], received: Buffer.alloc(0) }
    opened += 1
    open.add(channel)
    socket.on('error', (error: NodeJS.ErrnoException) => fail(channel, error.code ?? 'error'))
    socket.on('close', () => fail(channel, 'closed'))
    socket.on('data', (chunk: Buffer) => receive(channel, chunk))
    return channel
  }

  function receive(channel: Channel, chunk: Buffer): void {
    channel.received = Buffer.concat([channel.received, chunk])
    try {
      for (let next = readReply(channel.received); next !== undefined; next = readReply(channel.received)) {
        channel.received = next.rest
        take(channel, next.reply)
      }
    } catch {
      fail(channel, 'not an answer')
    }
  }

  function take(channel: Channel, reply: DirectReply): void {
    const waiter = channel.waiting.get(reply.id)
    channel.waiting.delete(reply.id)
    if (reply.id === GO_AWAY && current === channel) current = undefined
    waiter?.done(reply)
    if (current !== channel && channel.waiting.size === 0) channel.socket.destroy()
  }

  function fail(channel: Channel, why: string): void {
    if (current === channel) current = undefined
    open.delete(channel)
    const waiters = [...channel.waiting.values()]
    channel.waiting.clear()
    for (const waiter of waiters) waiter.fail(why)
    channel.socket.destroy()
  }

  function post(channel: Channel, request: Buffer): void {
    channel.queue.push(request)
    if (channel.queue.length > 1) return
    setImmediate(() => channel.socket.write(Buffer.concat(channel.queue.splice(0))))
  }

  return {
    get opened() {
      return opened
    },
    exchange(message) {
      current ??= openChannel()
      const channel = current
      lastId = (lastId % MAX_ID) + 1
      const id = lastId
      return new Promise((resolve, reject) => {
        // A server that is late with one answer is late with all.
        const timer = setTimeout(() => fail(channel, 'no answer in time'), timeoutMs)
        channel.waiting.set(id, {
          done(reply) {
            clearTimeout(timer)
            resolve(reply)
          },
          fail(why) {
            clearTimeout(timer)
            reject(new NoAnswer(why))
          },
        })
        post(channel, withHead(id, message))
      })
    },
    close() {
      for (const channel of [...open]) fail(channel, 'the worker ends')
    },
  }
}
