/** Ends commands that nobody answers in time: one timer for all of them, where one each costs as much as the command. */

import type { Clock } from '../../policy.ts'
import { RedisFailure } from './failure.ts'

/** A command of ioredis. */
export interface Watchable {
  readonly isSettled: boolean
  readonly reject: (failure: Error) => void
  readonly promise: Promise<unknown>
}

export interface Deadline {
  /** Rejects the command with `timeout` when it is not settled in time. */
  watch(command: Watchable): void
  /** The same for one that has a time of its own. */
  watchFor(command: Watchable, ms: number): void
}

/** Settled commands at the head of the list that are kept before it is made anew. */
const COMPACT_AT = 512

/** @param timeoutMs the same for every command, so that they end in the order in which they came */
export function createDeadline(clock: Pick<Clock, 'monotonic' | 'after'>, timeoutMs: number): Deadline {
  let waiting: { readonly until: number; readonly command: Watchable }[] = []
  let first = 0
  let armed = false

  function firstUnsettled() {
    while (waiting[first]?.command.isSettled === true) first++
    if (first >= COMPACT_AT) {
      waiting = waiting.slice(first)
      first = 0
    }
    return waiting[first]
  }

  function arm(ms: number): void {
    armed = true
    clock.after(ms, sweep)
  }

  function sweep(): void {
    armed = false
    const now = clock.monotonic()
    for (let next = firstUnsettled(); next !== undefined; next = firstUnsettled()) {
      if (next.until > now) {
        arm(Math.ceil(next.until - now))
        return
      }
      first++
      next.command.reject(new RedisFailure('timeout', true))
    }
  }

  return {
    watch(command) {
      firstUnsettled()
      waiting.push({ until: clock.monotonic() + timeoutMs, command })
      if (!armed) arm(timeoutMs)
    },
    watchFor(command, ms) {
      const cancel = clock.after(ms, () => command.reject(new RedisFailure('timeout', true)))
      command.promise.then(cancel, cancel)
    },
  }
}
