/** The arithmetic of limits: which algorithm a counter has, and how its clock moves. */

import { type Arithmetic, type CounterState, LIVE_SLOTS, SLOTS_PER_WINDOW, windowMs } from './counter-state.ts'
import { fixedWindow } from './fixed-window.ts'
import type { Algorithm, CounterSpec } from './ports.ts'
import { slidingWindow } from './sliding-window.ts'
import { tokenBucket } from './token-bucket.ts'

const ALGORITHMS: Readonly<Record<Algorithm, Arithmetic>> = {
  fixed_window: fixedWindow,
  sliding_window: slidingWindow,
  token_bucket: tokenBucket,
}

export function arithmeticOf(counter: CounterSpec): Arithmetic {
  return ALGORITHMS[counter.algorithm]
}

/** Makes `state` a counter nobody has used. */
export function begin(state: CounterState, counter: CounterSpec, t: number, epoch: number): void {
  state.at = t
  state.epoch = epoch
  arithmeticOf(counter).begin(state, counter)
}

/**
 * Brings a counter up to `t`, whole epoch milliseconds. Its clock never goes back, unless it is more than a window
 * ahead: then it starts anew from `t` with everything it counted, as life `epoch`. A counter that counts nothing has no
 * clock to keep, and starts anew as well.
 */
export function touch(state: CounterState, counter: CounterSpec, t: number, epoch: number): void {
  const arithmetic = arithmeticOf(counter)
  if (state.at > t + windowMs(counter)) {
    state.epoch = epoch
    arithmetic.restart(state, counter, t)
  } else if (state.at <= t) {
    arithmetic.advance(state, counter, t)
  } else if (arithmetic.idle(state, counter)) {
    state.epoch = epoch
    state.at = t
  }
}

/**
 * Milliseconds after its last touch until a counter that counts nothing can be forgotten: nothing of it can be refunded
 * any more, and no clock that steps back by up to a window could make it count again.
 */
export function keepMs(counter: CounterSpec): number {
  const window = windowMs(counter)
  if (counter.algorithm === 'sliding_window') return window + Math.ceil((window * LIVE_SLOTS) / SLOTS_PER_WINDOW)
  if (counter.algorithm === 'fixed_window') return 2 * window
  return window + Math.ceil(((counter.burst ?? counter.limit) * window) / counter.limit)
}

/** What is left of a touched counter, at least 0. */
export function remaining(state: CounterState, counter: CounterSpec): number {
  return Math.max(0, arithmeticOf(counter).room(state, counter))
}

/** Settles one reservation of a touched counter: refunds what was not used, charges what was used beyond. */
export function settleCounter(
  state: CounterState,
  counter: CounterSpec,
  entry: { readonly reserved: number; readonly actual: number; readonly at: number; readonly epoch: number },
): void {
  const arithmetic = arithmeticOf(counter)
  if (entry.actual > entry.reserved) arithmetic.charge(state, counter, entry.actual - entry.reserved)
  // A counter that was forgotten since does not hold the reservation, so there is nothing to give back.
  else if (entry.actual < entry.reserved && entry.epoch === state.epoch)
    arithmetic.refund(state, counter, entry.reserved - entry.actual, entry.at)
}
