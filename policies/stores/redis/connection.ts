/** The connection to Redis: scripts by their hash, one answer or one failure each, and no secret in an error. */

import { nextTick } from 'node:process'
import type { Cluster, Command, Redis } from 'ioredis'
import { PortcullisError } from '../../errors.ts'
import type { Clock, Random } from '../../policy.ts'
import { watched } from '../../telemetry.ts'
import type { RedisConfig } from './config.ts'
import { createDeadline } from './deadline.ts'
import { failureOf, isUnknownScript, RedisFailure, refusalOf } from './failure.ts'
import { slotOf } from './keys.ts'
import { clusterNodes, clusterOptions, describeRedis, redisOptions } from './options.ts'
import type { Script } from './scripts.ts'
import { createTiming } from './timing.ts'

export type Argument = string | number

/** As `EVALSHA` has them: how many keys, the keys, and the arguments. */
export type KeysAndArgs = readonly [number, ...Argument[]]

/** One server, for what concerns it alone. */
export interface Master {
  /** As {@link RedisConnection.nodeOf} names it. */
  readonly node: string
  /** @throws {RedisFailure} */
  send(command: string, ...args: Argument[]): Promise<unknown>
}

export interface RedisConnection {
  readonly clustered: boolean
  /** Whether the first attempt to connect has ended, well or not. */
  readonly attempted: boolean
  /** Resolves once {@link attempted}; never rejects. */
  readonly started: Promise<void>
  /** Why Redis is not to be used at all: the config is wrong, or Redis is. Everything else then throws it. */
  readonly refusal: PortcullisError | undefined
  /** What last kept the connection from working, in a word. */
  readonly lastError: string
  /** Takes the failure of the first command for a {@link refusal}. */
  refuse(failure: RedisFailure): void
  /**
   * @throws {RedisFailure} when Redis does not answer or cannot serve now
   * @throws {PortcullisError} `store_fault`, `store_refused`, `store_untrusted`
   */
  run(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown>
  /**
   * {@link run} in one step with what becomes of it: every promise between Redis and a request costs.
   * @param read makes the result of the reply; it is a failure when it throws
   * @param recover makes it of the failure, or throws
   * @param withinMs instead of the config's own time limit
   */
  ask<T>(
    script: Script,
    keysAndArgs: KeysAndArgs,
    read: (reply: unknown) => T,
    recover: (failure: unknown) => T | Promise<T>,
    withinMs?: number,
  ): Promise<T>
  /** Removes a field of a hash. */
  removeFields(hash: string, ...fields: string[]): Promise<void>
  /** Writes beside `key`, to see whether its node serves. */
  probe(key: string): Promise<void>
  removeMember(key: string, member: string): Promise<void>
  /** Which Redis node a key lies on, as far as known. */
  nodeOf(key: string): string
  /** Every server that holds keys of its own. @throws {RedisFailure} when none can be reached */
  masters(): readonly Master[]
  /** Drops the connection to a node, for a fresh one. */
  reconnect(node: string): void
  close(): Promise<void>
}

export interface ConnectionDeps {
  readonly clock: Clock
  readonly random: Pick<Random, 'fraction'>
  /** Called on every established connection. */
  onReady(): void
  onRefused?(refusal: PortcullisError): void
}

/** What commands are made with and sent by. */
interface Live {
  readonly client: Redis | Cluster
  readonly Command: typeof Command
}

const UTF8 = { replyEncoding: 'utf8' } as const

/** What is in flight leaves in so many parts, each of so many commands at least. */
const BATCHES = 8
const LEAST_BATCH = 8
/** For so many turns after one with several commands, the next is taken for one, too. */
const CROWDED_TURNS = 4
/** Milliseconds between attempts to connect. */
const FIRST_RETRY_MS = 50
const LAST_RETRY_MS = 1_000
/** Milliseconds after which a refused connection is tried again: passwords and certificates get repaired. */
const REFUSED_RETRY_MS = 5_000

export function connectRedis(config: RedisConfig, deps: ConnectionDeps): RedisConnection {
  const { clock } = deps
  const clustered = config.cluster_nodes !== undefined
  const name = describeRedis(config)
  let connected: Live | undefined
  let refusal: PortcullisError | undefined
  let everReady = false
  let attempted = false
  let closed = false
  let corked = 0
  let crowded = 0
  let lastError = 'not_connected'
  const time = createTiming(clock, name)
  const deadline = createDeadline(clock, config.command_timeout_ms)

  async function start(): Promise<void> {
    try {
      const ioredis = await import('ioredis')
      if (closed) return
      const made = clustered
        ? new ioredis.Cluster(clusterNodes(config), clusterOptions(config, retryDelay))
        : new ioredis.Redis(redisOptions(config, retryDelay))
      connected = { client: made, Command: ioredis.Command }
      await firstOutcome(made)
    } catch (error) {
      refused(asRefusal(error))
    } finally {
      attempted = true
    }
  }

  function firstOutcome(made: Redis | Cluster): Promise<void> {
    return new Promise((resolve) => {
      const cancel = clock.after(config.connect_timeout_ms, resolve)
      const over = () => {
        cancel()
        resolve()
      }
      made.on('ready', () => {
        everReady = true
        refusal = undefined
        if (clustered) connectNodes(made as Cluster)
        over()
        deps.onReady()
      })
      made.on('error', (error: unknown) => {
        noteError(error)
        over()
      })
      made.on('end', over)
      // Of one node or sentinel: others may still answer.
      made.on('node error', noteError)
      made.on('sentinelError', noteError)
    })
  }

  function noteError(error: unknown): void {
    lastError = shortly(error)
    // A config that has worked is not wrong: then it is Redis that changed, and requests go on without it.
    if (everReady) return
    const nested = error instanceof Error && 'lastNodeError' in error ? error.lastNodeError : undefined
    const found = refusalOf(error, name) ?? refusalOf(nested, name)
    if (found !== undefined) refused(found)
  }

  function refused(why: PortcullisError): void {
    const news = refusal?.message !== why.message
    refusal = why
    if (news) deps.onRefused?.(why)
  }

  /** Doubles up to a second, spread so that the gateway's nodes do not all come back at once. */
  function retryDelay(times: number): number {
    const delay = refusal === undefined ? Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** (times - 1)) : REFUSED_RETRY_MS
    return Math.round(delay * (0.75 + deps.random.fraction() / 4))
  }

  /** The client that commands can be sent to, or why there is none. */
  function live(): Live | RedisFailure | PortcullisError {
    if (refusal !== undefined) return refusal
    if (connected === undefined || closed) return new RedisFailure('not_connected', false)
    return connected.client.status === 'ready' ? connected : new RedisFailure(lastError, false)
  }

  function send<T>(name: string, args: readonly Argument[], read: (reply: unknown) => T, label = name): Promise<T> {
    const to = live()
    if (to instanceof Error) return Promise.reject(to)
    return dispatch(to, name, args, undefined, label).then(read, (error) => Promise.reject(explained(error)))
  }

  /** @param label what telemetry calls it */
  function dispatch(
    to: Live,
    name: string,
    args: readonly Argument[],
    withinMs?: number,
    label = name,
  ): Promise<unknown> {
    const command = new to.Command(name, args as Argument[], UTF8)
    to.client.sendCommand(command)
    if (withinMs === undefined) deadline.watch(command)
    else deadline.watchFor(command, withinMs)
    if (watched('command')) time(command.promise, label)
    return command.promise
  }

  function explained(error: unknown): Error {
    // A time limit of our own.
    if (error instanceof RedisFailure) return error
    const failure = failureOf(error)
    if (failure instanceof RedisFailure && failure.reason === 'not_connected') return new RedisFailure(lastError, false)
    return failure
  }

  /**
   * Commands of one turn of the event loop leave together: the system call costs more than the command, and so does waking
   * up Redis. But not too many at once, so that Redis begins with the first while the last is made; and when they come one
   * by one, a command leaves at once.
   */
  function cork({ commandQueue, stream }: Redis): void {
    const inFlight = commandQueue.length
    if (corked === 0) {
      if (crowded === 0 && inFlight === 0) return
      stream.cork()
      nextTick(() => {
        crowded = Math.max(0, crowded - 1)
        corked = 0
        stream.uncork()
      })
    } else {
      crowded = CROWDED_TURNS
      if (corked >= LEAST_BATCH && corked > inFlight / BATCHES) {
        stream.uncork()
        stream.cork()
        corked = 0
      }
    }
    corked++
  }

  function ask<T>(
    script: Script,
    keysAndArgs: KeysAndArgs,
    read: (reply: unknown) => T,
    recover: (failure: unknown) => T | Promise<T>,
    withinMs?: number,
  ): Promise<T> {
    const to = live()
    if (to instanceof Error) return Promise.reject(to).catch(recover)
    if (!clustered) cork(to.client as Redis)
    return dispatch(to, 'evalsha', [script.sha, ...keysAndArgs], withinMs, script.name).then(read, (error) =>
      isUnknownScript(error)
        ? send('eval', [script.text, ...keysAndArgs], read, script.name).catch(recover)
        : recover(explained(error)),
    )
  }

  const started = start()

  return {
    clustered,
    get attempted() {
      return attempted
    },
    started,
    get refusal() {
      return refusal
    },
    get lastError() {
      return lastError
    },
    refuse(failure) {
      const why = refusalOf(failure, name)
      if (why === undefined) return
      everReady = false
      refused(why)
      clock.after(REFUSED_RETRY_MS, () => {
        if (!closed) connected?.client.disconnect(true)
      })
    },
    run: (script, keys, args) => ask(script, [keys.length, ...keys, ...args], same, raise),
    ask,
    removeFields: (hash, ...fields) => send('hdel', [hash, ...fields], nothing),
    probe: (key) => send('set', [key, '1', 'PX', 1000], nothing),
    removeMember: (key, member) => send('zrem', [key, member], nothing),
    nodeOf(key) {
      return clustered ? ((connected?.client as Cluster | undefined)?.slots[slotOf(key)]?.[0] ?? name) : name
    },
    masters() {
      const to = live()
      if (to instanceof Error) throw to
      const nodes = clustered ? (to.client as Cluster).nodes('master') : [to.client as Redis]
      return nodes.map((client) => ({
        node: clustered ? `${client.options.host}:${client.options.port}` : name,
        send: (command, ...args) =>
          dispatch({ ...to, client }, command, args).catch((error) => Promise.reject(explained(error))),
      }))
    },
    reconnect(node) {
      if (connected === undefined || closed) return
      if (!clustered) {
        connected.client.disconnect(true)
        return
      }
      const cluster = connected.client as Cluster
      for (const each of cluster.nodes('all'))
        if (`${each.options.host}:${each.options.port}` === node) each.disconnect()
      cluster.refreshSlotsCache()
    },
    async close() {
      closed = true
      await started
      connected?.client.disconnect()
      connected = undefined
    },
  }
}

/** Ahead of the first command, which would have to wait for it. A node that cannot be reached is noticed by commands. */
function connectNodes(cluster: Cluster): void {
  for (const node of cluster.nodes('master')) if (node.status === 'wait') node.connect().catch(() => undefined)
}

function same<T>(reply: T): T {
  return reply
}

function nothing(): void {}

function raise(failure: unknown): never {
  throw failure
}

/** The code of a system or Redis error; nothing that could hold an argument. */
function shortly(error: unknown): string {
  if (!(error instanceof Error)) return 'not_connected'
  if ('code' in error && typeof error.code === 'string') return error.code
  return /^[A-Z]{2,20}\b/.exec(error.message)?.[0] ?? 'not_connected'
}

function asRefusal(error: unknown): PortcullisError {
  const missing = error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND'
  if (missing) return new PortcullisError('store_refused', 'The Redis store needs the package `ioredis`: install it.')
  return new PortcullisError('store_refused', 'The Redis client does not take this config.')
}
