/** One Redis node as requests see it: serving, or down and watched until it serves again. */

import type { Clock, Logger } from '../../policy.ts'
import { publish } from '../../telemetry.ts'
import type { Admitted, Lives, LocalShare } from '../fallback.ts'
import { createBreaker, PROBE_AFTER_MS } from './breaker.ts'
import { RedisFailure } from './failure.ts'

/** How often what was admitted meanwhile is handed over before the node is used again. */
const HAND_OVERS = 3
/** Probes in vain after which the connection is taken to be dead. */
const RECONNECT_AFTER = 2

export interface GuardedNode {
  readonly name: string
  /** Whether requests must do without it. */
  readonly down: boolean
  /** Counts a failure of a command on `hash`. */
  failed(failure: RedisFailure, hash: string): void
  /** Takes it for down at once. */
  trip(reason: string, hash: string): void
  /** What is counted here instead; begins with the first failure, and ends when it was handed over. */
  readonly share: LocalShare | undefined
  beginShare(): LocalShare
  close(): void
}

export interface GuardDeps {
  readonly clock: Clock
  readonly logger: Logger
  /** For the log: what happens to requests meanwhile. */
  readonly onStoreError: string
  /** @throws {RedisFailure} */
  probe(hash: string): Promise<void>
  reconnect(): void
  createShare(): LocalShare
  /** Charges Redis with what was admitted. False when it did not get there; it is kept then. */
  handOver(admitted: readonly Admitted[], lives: Lives | undefined): Promise<boolean>
}

export function guardNode(name: string, deps: GuardDeps): GuardedNode {
  const { clock, logger } = deps
  const breaker = createBreaker(clock)
  let share: LocalShare | undefined
  let lastHash = ''
  let downSince = 0
  let vain = 0
  let cancel: (() => void) | undefined
  let closed = false

  function schedule(): void {
    if (closed) return
    cancel?.()
    cancel = clock.after(PROBE_AFTER_MS, () => {
      cancel = undefined
      void recover()
    })
  }

  function wentDown(reason: string): void {
    downSince = clock.monotonic()
    vain = 0
    logger.warn('limit store down', { store: 'redis', node: name, reason, on_store_error: deps.onStoreError })
    publish('store', () => ({ store: 'redis', node: name, state: 'down', reason }))
    schedule()
  }

  function cameUp(): void {
    breaker.close()
    const downMs = Math.round(clock.monotonic() - downSince)
    logger.info('limit store up', { store: 'redis', node: name, down_ms: downMs })
    publish('store', () => ({ store: 'redis', node: name, state: 'up' }))
  }

  /** Probes, hands over what was admitted meanwhile, and only then lets requests through again. Never rejects. */
  async function recover(): Promise<void> {
    try {
      if (breaker.open) await deps.probe(lastHash)
      for (let times = 0; times < HAND_OVERS; times++) {
        const admitted = share?.drain() ?? []
        if (times > 0 && admitted.length === 0) break
        if (!(await deps.handOver(admitted, share?.lives))) throw new RedisFailure('charges_not_taken', false)
      }
    } catch (error) {
      unreachable(error)
      return
    }
    if (closed) return
    const left = share?.drain() ?? []
    const lives = share?.lives
    share = undefined
    if (breaker.open) cameUp()
    if (left.length > 0 && !(await deps.handOver(left, lives))) schedule()
  }

  function unreachable(error: unknown): void {
    if (!(error instanceof RedisFailure))
      publish('fault', () => ({ where: 'store.redis.recover', code: codeOf(error) }))
    vain++
    if (vain >= RECONNECT_AFTER && breaker.open) deps.reconnect()
    schedule()
  }

  return {
    name,
    get down() {
      return breaker.open
    },
    failed(failure, hash) {
      lastHash = hash
      if (breaker.failed()) wentDown(failure.reason)
    },
    trip(reason, hash) {
      lastHash = hash
      if (breaker.trip()) wentDown(reason)
    },
    get share() {
      return share
    },
    beginShare() {
      if (share === undefined) {
        share = deps.createShare()
        // A single failure never opens the breaker, but what it let through must get there too.
        if (!breaker.open) schedule()
      }
      return share
    },
    close() {
      closed = true
      cancel?.()
    },
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'internal_error'
}
