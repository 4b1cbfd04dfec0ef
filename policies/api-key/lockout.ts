/** Keeps addresses that sent too many wrong keys out for a while. */

import type { Clock } from '../policy.ts'
import { addressGroup } from '../token-limit/address.ts'
import { createBoundedMap } from './bounded-map.ts'

/** IPv6 counts by /64. Further ones push out those that were quiet longest. */
const ADDRESSES = 20_000

export interface LockoutRules {
  readonly failures: number
  readonly within_seconds: number
  readonly lock_seconds: number
}

export interface Lockout {
  /** Milliseconds for which the address stays out; 0 when it is not. */
  lockedFor(address: string): number
  /** Counts a wrong key. */
  failed(address: string): void
}

interface Entry {
  readonly since: number
  readonly failures: number
  readonly lockedUntil: number
}

export function createLockout(rules: LockoutRules, clock: Pick<Clock, 'monotonic'>): Lockout {
  const entries = createBoundedMap<Entry>(ADDRESSES)
  return {
    lockedFor(address) {
      const until = entries.get(addressGroup(address))?.lockedUntil ?? 0
      return Math.max(0, until - clock.monotonic())
    },
    failed(address) {
      const group = addressGroup(address)
      const now = clock.monotonic()
      const known = entries.get(group)
      const counts = known !== undefined && now - known.since < rules.within_seconds * 1_000
      const failures = (counts ? known.failures : 0) + 1
      const locked = failures >= rules.failures
      entries.set(group, {
        since: counts ? known.since : now,
        failures: locked ? 0 : failures,
        lockedUntil: locked ? now + rules.lock_seconds * 1_000 : (known?.lockedUntil ?? 0),
      })
    },
  }
}
