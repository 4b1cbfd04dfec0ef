/** A plugin server in this process, with plugins made up by the test, on its own socket. */

import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decode, encode } from '@msgpack/msgpack'
import { Module } from 'kong-pdk/lib/mod.js'
import type { KongPdk } from '../../../../plugins/kong/adapter/pdk.ts'
import type { EventEnd } from '../../../../plugins/kong/server/event.ts'
import { handOver } from '../../../../plugins/kong/server/hand-over.ts'
import { createListener } from '../../../../plugins/kong/server/listener.ts'
import { createPluginServer, type PluginServer } from '../../../../plugins/kong/server/server.ts'
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
  readonly connections: () => number
  readonly ended: ReadonlyArray<{ readonly how: EventEnd; readonly roundTrips: number }>
  readonly violations: readonly string[]
  /** Everything that was logged, as one text. */
  readonly logged: () => string
  worker(options?: { readonly poolSize?: number; readonly readTimeoutMs?: number }): Worker
  /** Stops listening, and closes connections with the answers that end events. */
  retire(): void
  handOver(): void
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
  const server = createPluginServer({
    plugins: [probe(options)],
    logger,
    now,
    answerMs: options.answerMs ?? 5_000,
    idleMs: options.idleMs ?? 60_000,
    settle: async () => ({ unknown: [] }),
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
    handOver: () => void handOver(listener, server, now),
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

export async function rawConnection(path: string): Promise<RawConnection> {
  const socket = connect(path)
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  socket.on('error', () => undefined)
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
    closed: new Promise((resolve) => socket.once('close', () => resolve())),
  }
}

/** Polls until it holds; the test's own timeout is the limit. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5))
}
