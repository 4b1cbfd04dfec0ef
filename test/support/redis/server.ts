/** Real Redis servers on loopback, which a test may kill, stop and restart. */

import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis, type RedisOptions } from 'ioredis'
import { defaultBackend, type RedisBackend, type RedisProcess } from './backends.ts'

export { redisServerVersion } from './backends.ts'

const FIRST_PORT = 23_000
const PORTS = 1_000

export type ClientOptions = Omit<RedisOptions, 'replyMapping'>

export interface RedisServer {
  readonly host: string
  readonly port: number
  /** A client of the test's own, with ioredis's defaults. */
  client(options?: ClientOptions): Redis
  /** SIGKILL, and waits until it is gone. */
  kill(): Promise<void>
  /** Starts it again with the same arguments and an empty database. */
  restart(): Promise<void>
  /** SIGSTOP: connections stay open, nothing is answered. */
  freeze(): Promise<void>
  thaw(): Promise<void>
  close(): Promise<void>
}

export interface RedisServerOptions {
  readonly port?: number
  /** What runs it; the best there is when absent. */
  readonly backend?: RedisBackend
  /** Further arguments of redis-server, such as `--requirepass x`. */
  readonly args?: readonly string[]
  readonly sentinel?: boolean
  /** How the test's own clients log in or encrypt. */
  readonly clientOptions?: ClientOptions
}

export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const directory = mkdtempSync(join(tmpdir(), 'portcullis-redis-'))
  const clients: Redis[] = []
  let port = options.port ?? (await freePort())
  let running = await launch()

  async function launch(): Promise<RedisProcess> {
    for (let attempt = 0; ; attempt++) {
      const started = await tryLaunch(port, directory, options)
      if (started !== undefined) return started
      if (options.port !== undefined || attempt === 5) throw new Error(`redis-server does not start on port ${port}`)
      port = await freePort()
    }
  }

  return {
    host: '127.0.0.1',
    get port() {
      return port
    },
    client(more) {
      const client = new Redis({ host: '127.0.0.1', port, ...options.clientOptions, ...more })
      client.on('error', () => undefined)
      clients.push(client)
      return client
    },
    kill: () => running.kill(),
    async restart() {
      await running.kill()
      const started = await tryLaunch(port, directory, options)
      if (started === undefined) throw new Error(`redis-server does not start again on port ${port}`)
      running = started
    },
    freeze: () => running.freeze(),
    thaw: () => running.thaw(),
    async close() {
      for (const client of clients) client.disconnect()
      await running.kill()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

/** Undefined when it ended before it took connections. */
async function tryLaunch(
  port: number,
  directory: string,
  { args = [], sentinel = false, backend = defaultBackend() }: RedisServerOptions,
): Promise<RedisProcess | undefined> {
  const tls = args.includes('--tls-port')
  const base = sentinel
    ? ['--port', String(port), '--bind', '127.0.0.1', '--dir', directory, '--sentinel']
    : [...(tls ? [] : ['--port', String(port)]), '--bind', '127.0.0.1', '--dir', directory, '--save', '']
  const config = sentinel ? [args[0] ?? ''] : []
  const launched = await backend.launch([...config, ...base, ...(sentinel ? args.slice(1) : args)])
  while (!launched.ended) {
    if (await accepts(port)) return launched
    await sleep(20)
  }
  return undefined
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

/** In the range that this project's tests may use. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORTS)
    if (await isFree(port)) return port
  }
  throw new Error('no free port for redis-server')
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
