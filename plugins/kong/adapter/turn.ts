/** Measures the time that Kong waits for us, and only that: a slow upload is not our delay. */

import { PortcullisError } from '../../../policies/errors.ts'
import type { Clock } from '../../../policies/policy.ts'

export interface Turn {
  /** Makes a PDK call; the clock stands still until Kong comes back. Rejects once the turn is over. */
  call<T>(make: () => Promise<T>): Promise<T>
  /** Resolves when our time is up. */
  readonly expired: Promise<void>
  /** Stops the clock for good, and lets no further PDK call through. */
  end(): void
}

export function createTurn(clock: Clock, budgetMs: number): Turn {
  let left = budgetMs
  let over = false
  let calls = 0
  let stop: (() => void) | undefined
  let since = 0
  let expire = (): void => undefined
  const expired = new Promise<void>((resolve) => {
    expire = resolve
  })

  function run(): void {
    since = clock.monotonic()
    stop = clock.after(left, () => {
      end()
      expire()
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
    expired,
    end,
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
