/** Measures the time that Kong waits for us, and only that: a slow upload is not our delay. */

import { PortcullisError } from '../../../policies/errors.ts'
import type { Clock } from '../../../policies/policy.ts'

export interface Turn {
  /** Makes a PDK call; the clock stands still until Kong comes back. Rejects once the turn is over. */
  call<T>(make: () => Promise<T>): Promise<T>
  /**
   * What comes of the work, which never rejects; undefined when our time is up before it is done. Either way the clock
   * stops for good, and no further PDK call gets through.
   */
  within<T>(work: Promise<T>): Promise<T | undefined>
}

export function createTurn(clock: Clock, budgetMs: number): Turn {
  let left = budgetMs
  let over = false
  let calls = 0
  let stop: (() => void) | undefined
  let since = 0
  let expire: (() => void) | undefined

  function run(): void {
    since = clock.monotonic()
    stop = clock.after(left, () => {
      end()
      expire?.()
    })
  }

  function pause(): void {
    stop?.()
    stop = undefined
    left = Math.max(0, left - (clock.monotonic() - since))
  }

  function end(): void {
    over = true
    stop?.()
    stop = undefined
  }

  run()
  return {
    within: (work) =>
      new Promise((resolve) => {
        expire = () => resolve(undefined)
        if (over) expire()
        void work.then((done) => {
          end()
          resolve(done)
        })
      }),
    async call(make) {
      if (over) throw new PortcullisError('turn_over', 'the adapter no longer speaks for this request')
      if (calls === 0) pause()
      calls += 1
      try {
        return await make()
      } finally {
        calls -= 1
        if (calls === 0 && !over) run()
      }
    },
  }
}
