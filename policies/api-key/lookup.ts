/** Looks keys up in the registry: one read for each at a time, remembered for a moment, whether there is such a key or not. */

import { PortcullisError } from '../errors.ts'
import type { Clock, Logger, MaybePromise } from '../policy.ts'
import { createBreaker, PROBE_AFTER_MS } from '../stores/redis/breaker.ts'
import { RedisFailure } from '../stores/redis/failure.ts'
import { publish } from '../telemetry.ts'
import { createBoundedMap } from './bounded-map.ts'
import type { KeyRecord } from './record.ts'
import type { KeyRegistry } from './registry.ts'

/** So many known and so many unknown ids are remembered, at most twice that. A flood of unknown ones pushes no key out. */
const REMEMBERED = 20_000

export type Lookup =
  | { readonly type: 'found'; readonly record: KeyRecord }
  | { readonly type: 'absent' }
  /** The registry does not answer. `record`: as it last was, and how long ago that is in milliseconds. */
  | { readonly type: 'unknown'; readonly record?: KeyRecord; readonly ageMs?: number }

export interface KeyLookup {
  /** @throws {PortcullisError} `store_fault` when the registry holds something else under this id */
  find(id: string): MaybePromise<Lookup>
  /** What was last known, however long ago. */
  peek(id: string): KeyRecord | undefined
  /** How many ids are remembered or being read. */
  readonly size: number
}

export interface LookupOptions {
  readonly registry: Pick<KeyRegistry, 'find'>
  readonly clock: Pick<Clock, 'monotonic'>
  readonly logger: Logger
  /** How long an answer counts, in milliseconds: the longest that a revocation takes. */
  readonly cacheMs: number
}

interface Seen {
  readonly record: KeyRecord
  readonly askedAt: number
}

const ABSENT: Lookup = { type: 'absent' }

export function createKeyLookup({ registry, clock, logger, cacheMs }: LookupOptions): KeyLookup {
  const known = createBoundedMap<Seen>(REMEMBERED)
  const missed = createBoundedMap<number>(REMEMBERED)
  const reading = new Map<string, Promise<Lookup>>()
  const breaker = createBreaker(clock)
  let failing = false
  let probeAt = 0

  async function read(id: string): Promise<Lookup> {
    // From when it was asked: what changes while the answer is on its way must not count as seen.
    const askedAt = clock.monotonic()
    try {
      const record = await registry.find(id)
      breaker.close()
      report(true)
      if (record === undefined) {
        known.delete(id)
        missed.set(id, askedAt)
        return ABSENT
      }
      known.set(id, { record, askedAt })
      return { type: 'found', record }
    } catch (error) {
      // One key that cannot be read must not make all others look unreachable.
      if (error instanceof PortcullisError && error.code === 'store_fault') throw error
      breaker.failed()
      probeAt = clock.monotonic() + PROBE_AFTER_MS
      report(false, reasonOf(error))
      return asLastSeen(id)
    } finally {
      reading.delete(id)
    }
  }

  /** Undefined while the registry is left alone. */
  function ask(id: string, now: number): Promise<Lookup> | undefined {
    let running = reading.get(id)
    if (running === undefined) {
      if (breaker.open && now < probeAt) return undefined
      // One probe at a time.
      if (breaker.open) probeAt = now + PROBE_AFTER_MS
      running = read(id)
      reading.set(id, running)
    }
    return running
  }

  function asLastSeen(id: string): Lookup {
    const seen = known.get(id)
    return seen === undefined
      ? { type: 'unknown' }
      : { type: 'unknown', record: seen.record, ageMs: clock.monotonic() - seen.askedAt }
  }

  /** Once for every change. */
  function report(up: boolean, reason?: string): void {
    if (up !== failing) return
    failing = !up
    if (!up) logger.error('the key registry does not answer', { reason })
    else logger.info('the key registry answers again')
    publish('store', () => ({
      store: 'api-key',
      state: up ? 'up' : 'down',
      ...(reason === undefined ? {} : { reason }),
    }))
  }

  return {
    find(id) {
      const now = clock.monotonic()
      const seen = known.get(id)
      if (seen !== undefined && now - seen.askedAt < cacheMs) {
        // Asked for again in good time, so that whoever calls often never waits for the store.
        // Of a failure hears whoever asks once this answer no longer counts.
        if (now - seen.askedAt >= cacheMs / 2) ask(id, now)?.catch(() => undefined)
        return { type: 'found', record: seen.record }
      }
      const missedAt = missed.get(id)
      if (missedAt !== undefined && now - missedAt < cacheMs) return ABSENT
      return ask(id, now) ?? asLastSeen(id)
    },
    peek: (id) => known.get(id)?.record,
    get size() {
      return known.size + missed.size + reading.size
    },
  }
}

/** In a word, and nothing of what was asked. */
function reasonOf(error: unknown): string {
  if (error instanceof RedisFailure) return error.reason
  if (error instanceof PortcullisError) return error.code
  return error instanceof Error ? error.name : 'unknown'
}
