/** A plugin server in this process, with plugins made up by the test, on its own socket. */

import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decode, encode } from '@msgpack/msgpack'
import { Module } from 'kong-pdk/lib/mod.js'
import { expect } from 'vitest'
import { systemClock } from '../../../../plugins/deps.ts'
import type { KongPdk } from '../../../../plugins/kong/adapter/pdk.ts'
import { adopt } from '../../../../plugins/kong/server/adopt.ts'
import type { EventEnd } from '../../../../plugins/kong/server/event.ts'
import { handOver } from '../../../../plugins/kong/server/hand-over.ts'
import { createListener } from '../../../../plugins/kong/server/listener.ts'
import { createPluginServer, type PluginServer } from '../../../../plugins/kong/server/server.ts'
import { FACTS_KEY } from '../../../../plugins/kong/shared-context.ts'
import { createHeldContent, type HeldContent } from '../../../../policies/audit/held-content.ts'
import { accessMessage, type DirectReply, readReply, withHead } from '../../../support/kong-client/direct-message.ts'
import { createWorker, type PluginConfig, type Worker } from '../../../support/kong-client/worker.ts'

export type Handler = (kong: KongPdk, config: unknown) => Promise<void> | void

export interface TestServerOptions {
  readonly access?: Handler
  readonly log?: Handler
  readonly answerMs?: number
  readonly idleMs?: number
  readonly maxOpen?: number
  readonly maxFrameBytes?: number
  readonly frameMs?: number
}

export interface TestServer {
  readonly socket: string
  readonly server: PluginServer
  readonly held: HeldContent
  readonly connections: () => number
  readonly ended: ReadonlyArray<{ readonly how: EventEnd; readonly roundTrips: number }>
  readonly violations: readonly string[]
  /** Everything that was logged, as one text. */
  readonly logged: () => string
  worker(options?: { readonly poolSize?: number; readonly readTimeoutMs?: number }): Worker
  /** Stops listening, and closes connections with the answers that end events. */
  retire(): void
  handOver(passedOn?: () => boolean): void
  close(): void
}

export const PLUGIN: PluginConfig = { plugin: 'probe', id: 'plugin-1', seq: 1, config: '{"note":"one"}' }

export async function startTestServer(options: TestServerOptions): Promise<TestServer> {
  const directory = mkdtempSync(join(tmpdir(), 'kong-server-'))
  const socket = join(directory, 's')
  const ended: Array<{ how: EventEnd; roundTrips: number }> = []
  const violations: string[] = []
  const lines: string[] = []
  const workers: Worker[] = []
  const line = (message: string, fields?: unknown) => void lines.push(`${message} ${JSON.stringify(fields)}`)
  const logger = { info: line, warn: line, error: line }
  const now = () => performance.now()
  const held = createHeldContent({ clock: systemClock, mostBytes: 4 * 1_048_576, patienceMs: 60_000 })
  const server = createPluginServer({
    plugins: [probe(options)],
    logger,
    now,
    answerMs: options.answerMs ?? 5_000,
    idleMs: options.idleMs ?? 60_000,
    settle: async () => ({ unknown: [] }),
    adopt: (argument) => adopt(argument, held),
    maxOpen: options.maxOpen ?? 10_000,
    observer: { eventEnded: (_plugin, _phase, how, roundTrips) => void ended.push({ how, roundTrips }) },
  })
  const listener = createListener({
    server,
    logger,
    now,
    maxFrameBytes: options.maxFrameBytes ?? 4 * 1_048_576,
    frameMs: options.frameMs ?? 10_000,
    observer: { violated: (reason) => void violations.push(reason) },
  })
  await new Promise<void>((resolve) => listener.net.listen({ path: socket, backlog: 4_096 }, resolve))
  const sweep = setInterval(() => {
    server.sweep()
    listener.sweep()
  }, 10)
  return {
    socket,
    server,
    held,
    connections: () => listener.connections,
    ended,
    violations,
    logged: () => lines.join('\n'),
    worker(workerOptions = {}) {
      const worker = createWorker({ socket, ...workerOptions })
      workers.push(worker)
      return worker
    },
    retire() {
      listener.stop()
      listener.closeWithAnswers()
    },
    handOver: (passedOn) => void handOver(listener, server, now, passedOn),
    close() {
      clearInterval(sweep)
      for (const worker of workers) worker.close()
      listener.stop()
      listener.destroy()
      server.close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

function probe({ access, log }: TestServerOptions): Module {
  class Plugin {
    readonly config: unknown
    constructor(config: unknown) {
      this.config = config
    }
    async access(kong: unknown): Promise<void> {
      await access?.(kong as KongPdk, this.config)
    }
    async log(kong: unknown): Promise<void> {
      await log?.(kong as KongPdk, this.config)
    }
  }
  return new Module('probe', undefined, { Name: 'probe', Plugin, Schema: [], Version: '1', Priority: 1 })
}

/** A bare connection, for frames that no Kong would send. */
export interface RawConnection {
  readonly socket: Socket
  send(bytes: Uint8Array): void
  request(id: number, method: string, argument: unknown): Promise<readonly unknown[]>
  /** The next answer. */
  receive(): Promise<readonly unknown[]>
  /** Resolves when the other side has closed. */
  readonly closed: Promise<void>
}

export function frame(id: number, method: string, argument: unknown): Uint8Array {
  return encode([0, id, method, [argument]])
}

async function connected(path: string) {
  const socket = connect(path)
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  socket.on('error', () => undefined)
  return { socket, closed: new Promise<void>((resolve) => socket.once('close', () => resolve())) }
}

export async function rawConnection(path: string): Promise<RawConnection> {
  const { socket, closed } = await connected(path)
  const answers: Array<readonly unknown[]> = []
  const waiting: Array<(answer: readonly unknown[]) => void> = []
  socket.on('data', (chunk: Buffer) => {
    const answer = decode(chunk) as readonly unknown[]
    const next = waiting.shift()
    if (next === undefined) answers.push(answer)
    else next(answer)
  })
  const receive = (): Promise<readonly unknown[]> => {
    const answer = answers.shift()
    return answer === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(answer)
  }
  return {
    socket,
    send: (bytes) => void socket.write(bytes),
    receive,
    request(id, method, argument) {
      socket.write(frame(id, method, argument))
      return receive()
    },
    closed,
  }
}

/** Polls until it holds; the test's own timeout is the limit. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5))
}

/** A connection as llm-edge's requests share it, for messages in any order. */
export interface SharedConnection {
  readonly socket: Socket
  send(bytes: Uint8Array): void
  /** The answer with this id. */
  reply(id: number): Promise<DirectReply>
  /** Every answer so far, as it came. */
  readonly replies: readonly DirectReply[]
  /** All bytes that came. */
  received(): Buffer
  readonly closed: Promise<void>
}

export async function sharedConnection(path: string): Promise<SharedConnection> {
  const { socket, closed } = await connected(path)
  const replies: DirectReply[] = []
  const chunks: Buffer[] = []
  let bytes = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    bytes = Buffer.concat([bytes, chunk])
    for (let next = readReply(bytes); next !== undefined; next = readReply(bytes)) {
      bytes = Buffer.from(next.rest)
      replies.push(next.reply)
    }
  })
  const withId = (id: number) => replies.find((reply) => reply.id === id)
  return {
    socket,
    send: (message) => void socket.write(message),
    async reply(id) {
      await until(() => withId(id) !== undefined || socket.destroyed)
      return withId(id) ?? expect.unreachable(`no answer to ${id}`)
    },
    replies,
    received: () => Buffer.concat(chunks),
    closed,
  }
}

/** An access event of llm-edge. */
export function accessFrame(id: number, instance: number, facts: object = { request_id: 'r' }): Buffer {
  return withHead(id, accessMessage(instance, new Map([[FACTS_KEY, facts]]), undefined))
}
