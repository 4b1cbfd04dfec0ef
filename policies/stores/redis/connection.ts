/** The connection to Redis: scripts by their hash, one answer or one failure each, and no secret in an error. */

import { nextTick } from 'node:process'
import type { Cluster, Redis } from 'ioredis'
import { PortcullisError } from '../../errors.ts'
import type { Clock, Random } from '../../policy.ts'
import type { RedisConfig } from './config.ts'
import { failureOf, RedisFailure, refusalOf } from './failure.ts'
import { slotOf } from './keys.ts'
import { clusterNodes, clusterOptions, describeRedis, redisOptions } from './options.ts'
import type { Script } from './scripts.ts'

export type Argument = string | number

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
  /** Removes a field of a hash. */
  removeFields(hash: string, ...fields: string[]): Promise<void>
  /** Writes beside `key`, to see whether its node serves. */
  probe(key: string): Promise<void>
  removeMember(key: string, member: string): Promise<void>
  /** Which Redis node a key lies on, as far as known. */
  nodeOf(key: string): string
  /** `INFO memory` of every master. */
  memoryInfo(): Promise<readonly { readonly node: string; readonly info: string }[]>
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

/** Milliseconds between attempts to connect. */
const FIRST_RETRY_MS = 50
const LAST_RETRY_MS = 1_000
/** Milliseconds after which a refused connection is tried again: passwords and certificates get repaired. */
const REFUSED_RETRY_MS = 5_000

export function connectRedis(config: RedisConfig, deps: ConnectionDeps): RedisConnection {
  const { clock } = deps
  const clustered = config.cluster_nodes !== undefined
  const name = describeRedis(config)
  let client: Redis | Cluster | undefined
  let refusal: PortcullisError | undefined
  let everReady = false
  let attempted = false
  let closed = false
  let corked = false
  let lastError = 'not_connected'

  async function start(): Promise<void> {
    try {
      const ioredis = await import('ioredis')
      if (closed) return
      const made = clustered
        ? new ioredis.Cluster(clusterNodes(config), clusterOptions(config, retryDelay))
        : new ioredis.Redis(redisOptions(config, retryDelay))
      client = made
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

  function live(): Redis | Cluster {
    if (refusal !== undefined) throw refusal
    if (client === undefined || closed) throw new RedisFailure('not_connected', false)
    if (clustered && client.status !== 'ready') throw new RedisFailure(lastError, false)
    return client
  }

  async function send<T>(command: (to: Redis | Cluster) => Promise<T>): Promise<T> {
    const to = live()
    try {
      return await command(to)
    } catch (error) {
      throw explained(failureOf(error))
    }
  }

  function explained(failure: RedisFailure | PortcullisError): Error {
    if (failure instanceof RedisFailure && failure.reason === 'not_connected') return new RedisFailure(lastError, false)
    return failure
  }

  /** Commands of one turn of the event loop leave in one packet: the system call costs more than the command. */
  function cork(to: Redis | Cluster): void {
    if (corked || clustered) return
    const { stream } = to as Redis
    if (stream === undefined || stream === null) return
    corked = true
    stream.cork()
    nextTick(() => {
      corked = false
      stream.uncork()
    })
  }

  async function run(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
    const to = live()
    try {
      cork(to)
      return await to.evalsha(script.sha, keys.length, ...keys, ...args)
    } catch (error) {
      if (!isUnknownScript(error)) throw explained(failureOf(error))
    }
    return send((again) => again.eval(script.text, keys.length, ...keys, ...args))
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
        if (!closed) client?.disconnect(true)
      })
    },
    run,
    async removeFields(hash, ...fields) {
      await send((to) => to.hdel(hash, ...fields))
    },
    async probe(key) {
      await send((to) => to.set(key, '1', 'PX', 1000))
    },
    async removeMember(key, member) {
      await send((to) => to.zrem(key, member))
    },
    nodeOf(key) {
      return clustered ? ((client as Cluster | undefined)?.slots[slotOf(key)]?.[0] ?? name) : name
    },
    memoryInfo: () =>
      send(async (to) => {
        const nodes = clustered ? (to as Cluster).nodes('master') : [to as Redis]
        return Promise.all(
          nodes.map(async (node) => ({
            node: clustered ? `${node.options.host}:${node.options.port}` : name,
            info: await node.info('memory'),
          })),
        )
      }),
    reconnect(node) {
      if (client === undefined || closed) return
      if (!clustered) {
        client.disconnect(true)
        return
      }
      const cluster = client as Cluster
      for (const each of cluster.nodes('all'))
        if (`${each.options.host}:${each.options.port}` === node) each.disconnect()
      cluster.refreshSlotsCache()
    },
    async close() {
      closed = true
      await started
      client?.disconnect()
      client = undefined
    },
  }
}

/** Ahead of the first command, which would have to wait for it. A node that cannot be reached is noticed by commands. */
function connectNodes(cluster: Cluster): void {
  for (const node of cluster.nodes('master')) if (node.status === 'wait') node.connect().catch(() => undefined)
}

function isUnknownScript(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('NOSCRIPT')
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
