/** Real redis-server processes on loopback, which a test may kill, stop and restart. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis, type RedisOptions } from 'ioredis'

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
  freeze(): void
  thaw(): void
  close(): Promise<void>
}

export interface RedisServerOptions {
  readonly port?: number
  /** Further arguments of redis-server, such as `--requirepass x`. */
  readonly args?: readonly string[]
  readonly sentinel?: boolean
  /** How the test's own clients log in or encrypt. */
  readonly clientOptions?: ClientOptions
}

/** Undefined when there is none in the PATH. */
export function redisServerVersion(): string | undefined {
  const { status, stdout } = spawnSync('redis-server', ['--version'], { encoding: 'utf8' })
  return status === 0 ? /v=(\S+)/.exec(stdout)?.[1] : undefined
}

export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const directory = mkdtempSync(join(tmpdir(), 'portcullis-redis-'))
  const clients: Redis[] = []
  let port = options.port ?? (await freePort())
  let child = await launch()

  async function launch(): Promise<ChildProcess> {
    for (let attempt = 0; ; attempt++) {
      const started = await tryLaunch(port, directory, options)
      if (started !== undefined) return started
      if (options.port !== undefined || attempt === 5) throw new Error(`redis-server does not start on port ${port}`)
      port = await freePort()
    }
  }

  async function kill(): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGKILL')
    await gone
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
    kill,
    async restart() {
      await kill()
      const started = await tryLaunch(port, directory, options)
      if (started === undefined) throw new Error(`redis-server does not start again on port ${port}`)
      child = started
    },
    freeze() {
      child.kill('SIGSTOP')
    },
    thaw() {
      child.kill('SIGCONT')
    },
    async close() {
      for (const client of clients) client.disconnect()
      await kill()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

async function tryLaunch(
  port: number,
  directory: string,
  { args = [], sentinel = false }: RedisServerOptions,
): Promise<ChildProcess | undefined> {
  const tls = args.includes('--tls-port')
  const base = sentinel
    ? ['--port', String(port), '--bind', '127.0.0.1', '--dir', directory, '--sentinel']
    : [...(tls ? [] : ['--port', String(port)]), '--bind', '127.0.0.1', '--dir', directory, '--save', '']
  const config = sentinel ? [args[0] ?? ''] : []
  const child = spawn('redis-server', [...config, ...base, ...(sentinel ? args.slice(1) : args)], { stdio: 'ignore' })
  let over = false
  const ended = new Promise<void>((resolve) => {
    const end = () => {
      over = true
      resolve()
    }
    child.once('exit', end)
    child.once('error', end)
  })
  while (!over) {
    if (await accepts(port)) return child
    await Promise.race([ended, sleep(20)])
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
