/** Keeps requests from waiting for a Redis node that does not answer. */

import type { Clock } from '../../policy.ts'

const FAILURES = 5
const WITHIN_MS = 1000
/** Milliseconds from opening to the probe, and from one probe to the next. */
export const PROBE_AFTER_MS = 1000

export interface Breaker {
  readonly open: boolean
  /** Counts a failure; true when it opened the breaker. */
  failed(): boolean
  /** Opens it whatever was counted; false when it was open. */
  trip(): boolean
  close(): void
}

export function createBreaker(clock: Pick<Clock, 'monotonic'>): Breaker {
  let open = false
  let failures: number[] = []
  return {
    get open() {
      return open
    },
    failed() {
      if (open) return false
      const now = clock.monotonic()
      failures = [...failures.filter((at) => now - at < WITHIN_MS), now]
      open = failures.length >= FAILURES
      return open
    },
    trip() {
      const opened = !open
      open = true
      return opened
    },
    close() {
      open = false
      failures = []
    },
  }
}
