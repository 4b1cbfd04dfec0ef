/** Tells whether this process did not run a moment ago: stopped, or kept from its core. */

export interface StallWatch {
  /** Called by a timer, often. */
  tick(): void
  readonly recent: boolean
}

/**
 * @param now milliseconds on a clock that never steps back
 * @param ms between two ticks that are a stall, and for which one counts as recent once it is over
 */
export function createStallWatch(now: () => number, ms: number): StallWatch {
  let ticked = now()
  let ended = Number.NEGATIVE_INFINITY
  return {
    tick() {
      if (now() - ticked > ms) ended = now()
      ticked = now()
    },
    get recent() {
      return now() - ticked > ms || now() - ended < ms
    },
  }
}
