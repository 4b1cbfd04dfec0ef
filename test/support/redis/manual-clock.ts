/** A clock that a test moves: how long somebody waits is then not a matter of the machine. */

import type { Clock } from '../../../policies/policy.ts'

export interface ManualClock {
  readonly clock: Clock
  /** Runs what is due in between. */
  advance(ms: number): void
  /** Timers that wait. */
  readonly timers: number
}

export function manualClock(): ManualClock {
  let ms = 0
  const timers = new Set<{ readonly at: number; readonly task: () => void }>()
  const clock: Clock = {
    now: () => Date.now(),
    monotonic: () => ms,
    after(delay, task) {
      const timer = { at: ms + delay, task }
      timers.add(timer)
      return () => void timers.delete(timer)
    },
  }
  return {
    clock,
    advance(by) {
      const end = ms + by
      for (;;) {
        const due = [...timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
        if (due === undefined) break
        timers.delete(due)
        ms = Math.max(ms, due.at)
        due.task()
      }
      ms = end
    },
    get timers() {
      return timers.size
    },
  }
}
