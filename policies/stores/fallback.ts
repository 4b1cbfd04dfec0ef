/** Counting in this process while the shared store is down: every gateway node admits its share of each limit. */

import { PortcullisError } from '../errors.ts'
import type { Clock, Random } from '../policy.ts'
import { createMemoryStore } from './memory.ts'
import type { Claim, ClaimResult, CounterSpec, ReserveResult, SettleEntry } from './ports.ts'

/** Most counters of one outage; a request that needs a further one is refused. */
const MAX_COUNTERS = 100_000
/** Looking for names to forget is dear. */
const FORGET_EVERY_MS = 1000
/** What a caller is told to wait whom only the outage keeps out. */
const RETRY_MS = 1000

/** What was admitted under a key, for the shared store to be charged with. */
export interface Admitted {
  readonly key: string
  readonly caller?: string
  readonly counter: CounterSpec
  readonly amount: number
}

/** The lives a local share has given out, the least and the greatest. */
export interface Lives {
  readonly first: number
  readonly last: number
}

/** Whether a reservation of this life was made by the share with those lives. */
export function isLifeOf(lives: Lives, epoch: number): boolean {
  return -epoch >= lives.first && -epoch <= lives.last
}

export interface LocalShare {
  readonly lives: Lives
  /**
   * One atomic step over all claims. The lives of its results are negative, which tells them from the shared store's.
   * @throws {PortcullisError} `store_full`
   */
  reserve(id: string, claims: readonly Claim[]): ReserveResult
  /** Settles reservations that were made here. */
  settle(id: string, entries: readonly SettleEntry[]): void
  /** What was admitted since the last call and counts still. */
  drain(): readonly Admitted[]
}

export interface LocalShareOptions {
  readonly clock: Pick<Clock, 'now'>
  readonly random: Pick<Random, 'fraction'>
  /** Among how many gateway nodes each limit is divided. */
  readonly nodes: number
  /** The usage of a counter that the shared store last reported; 0 when it never did. */
  usageOf(key: string): number
  /** Most counters, and most names of those that admitted something. */
  readonly maxCounters?: number
}

export function createLocalShare(options: LocalShareOptions): LocalShare {
  const { clock, random, nodes, usageOf, maxCounters = MAX_COUNTERS } = options
  const memory = createMemoryStore({ clock, random, maxCounters })
  const started = new Set<string>()
  let admitted = new Map<string, Admitted>()
  let lookedAt = 0
  const lives = { first: Number.POSITIVE_INFINITY, last: 0 }

  function shareOf({ limit, burst, ...rest }: CounterSpec): CounterSpec {
    const share = { ...rest, limit: Math.floor(limit / nodes) }
    return burst === undefined ? share : { ...share, burst: Math.floor(burst / nodes) }
  }

  /** A counter starts where the shared one stood. */
  function start(key: string, counter: CounterSpec): void {
    if (started.has(key)) return
    const used = Math.min(usageOf(key), counter.burst ?? counter.limit)
    // Not remembered: callers may make up names without end.
    if (used === 0) return
    started.add(key)
    memory.settle({ id: `start ${key}`, entries: [{ key, counter, at: 0, epoch: 0, reserved: 0, actual: used }] })
  }

  function localClaim(claim: Claim): Claim {
    const counter = shareOf(claim.counter)
    start(claim.key, counter)
    if (claim.spread !== undefined) start(claim.spread.overflowKey, counter)
    return { ...claim, counter }
  }

  function reserve(id: string, claims: readonly Claim[]): ReserveResult {
    const divisible = claims.filter(isDivisible)
    if (claims.some((claim) => !claim.shadow && !isDivisible(claim)))
      return { admitted: false, claims: claims.map((claim) => withoutShare(claim, !isDivisible(claim))) }
    assertSpace(divisible)
    const result = memory.reserve({ id, claims: divisible.map(localClaim) })
    let next = 0
    const noted = new Set<string>()
    const results = claims.map((claim) => {
      const taken = isDivisible(claim) ? result.claims[next++] : undefined
      if (taken === undefined) return withoutShare(claim, true)
      const again = noted.has(taken.key)
      noted.add(taken.key)
      return sharedResult(claim, taken, again)
    })
    return result.clippedTo === undefined
      ? { admitted: result.admitted, claims: results }
      : { admitted: result.admitted, clippedTo: result.clippedTo, claims: results }
  }

  /** What was admitted must be handed over, so no name is forgotten while something of it counts. */
  function assertSpace(claims: readonly Claim[]): void {
    if (admitted.size + claims.length <= maxCounters) return
    const added = claims.filter(({ key }) => !admitted.has(key)).length
    if (added > 0 && admitted.size + added > maxCounters) forgetIdle()
    if (added > 0 && admitted.size + added > maxCounters)
      throw new PortcullisError('store_full', 'The local share holds too many counters.')
  }

  function forgetIdle(): void {
    const now = clock.now()
    if (Math.abs(now - lookedAt) < FORGET_EVERY_MS) return
    lookedAt = now
    for (const key of admitted.keys()) if (memory.usedOf(key) === 0) admitted.delete(key)
  }

  /** A limit smaller than the number of nodes cannot be divided. */
  function isDivisible({ counter }: Claim): boolean {
    return Math.min(counter.limit, counter.burst ?? counter.limit) >= nodes
  }

  function withoutShare({ key }: Claim, short: boolean): ClaimResult {
    const result = { key, at: Math.floor(clock.now()), epoch: 0, reserved: 0, remaining: 0, resetMs: RETRY_MS }
    return short ? { ...result, retryAfterMs: RETRY_MS } : result
  }

  /** @param again another claim of the request is counted there as well */
  function sharedResult(claim: Claim, taken: ClaimResult, again: boolean): ClaimResult {
    lives.first = Math.min(lives.first, taken.epoch)
    lives.last = Math.max(lives.last, taken.epoch)
    if (taken.reserved > 0 && !again) note(taken.key, claim.caller, claim.counter, taken.reserved)
    const result = { ...taken, epoch: -taken.epoch }
    return taken.retryAfterMs === Number.POSITIVE_INFINITY && fitsWhole(claim)
      ? { ...result, retryAfterMs: RETRY_MS }
      : result
  }

  function note(key: string, caller: string | undefined, counter: CounterSpec, amount: number): void {
    // What was handed over already cannot be taken back here.
    const total = Math.max(0, (admitted.get(key)?.amount ?? 0) + amount)
    if (total === 0) admitted.delete(key)
    else admitted.set(key, { key, ...(caller === undefined ? {} : { caller }), counter, amount: total })
  }

  return {
    lives,
    reserve,
    settle(id, entries) {
      for (const { key, caller, counter, actual, reserved } of entries) note(key, caller, counter, actual - reserved)
      memory.settle({
        id,
        entries: entries.map((entry) => ({ ...entry, epoch: -entry.epoch, counter: shareOf(entry.counter) })),
      })
    },
    drain() {
      // A cost counts from its admission on: of a long outage the shared store learns what its window still holds.
      const drained = [...admitted.values()].map((one) => ({
        ...one,
        amount: Math.min(one.amount, memory.usedOf(one.key)),
      }))
      admitted = new Map()
      return drained.filter(({ amount }) => amount > 0)
    },
  }
}

function fitsWhole({ counter, input, want, clip, floor }: Claim): boolean {
  return input + (clip ? Math.min(want, floor) : want) <= (counter.burst ?? counter.limit)
}
