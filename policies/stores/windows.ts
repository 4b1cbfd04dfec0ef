/**
 * The arithmetic of limits: what a counter's algorithm does, and how its clock moves. Every function switches by itself,
 * so that each call has one known target: these run several times for every rule of every request.
 */

import { type CounterState, windowMs } from './counter-state.ts'
import { fixedWindow } from './fixed-window.ts'
import type { CounterSpec } from './ports.ts'
import { LIVE_SLOTS, SLOTS_PER_WINDOW, slidingWindow } from './sliding-window.ts'
import { tokenBucket } from './token-bucket.ts'

// Imported bindings are looked up at every use; constants of this module are folded into the code that is compiled.
const sliding = slidingWindow
const fixed = fixedWindow
const bucket = tokenBucket

/** Makes `state` a counter nobody has used. */
export function begin(state: CounterState, counter: CounterSpec, t: number, epoch: number): void {
  state.at = t
  state.epoch = epoch
  switch (counter.algorithm) {
    case 'sliding_window':
      sliding.begin(state, counter)
      break
    case 'fixed_window':
      fixed.begin(state, counter)
      break
    case 'token_bucket':
      bucket.begin(state, counter)
      break
  }
}

/**
 * Brings a counter up to `t`, whole epoch milliseconds. Its clock never goes back, unless it is more than a window
 * ahead: then it starts anew from `t` with everything it counted, as life `epoch`. A counter that counts nothing has no
 * clock to keep, and starts anew as well.
 */
export function touch(state: CounterState, counter: CounterSpec, t: number, epoch: number): void {
  if (state.at > t) {
    touchAhead(state, counter, t, epoch)
    return
  }
  switch (counter.algorithm) {
    case 'sliding_window':
      sliding.advance(state, counter, t)
      break
    case 'fixed_window':
      fixed.advance(state, counter, t)
      break
    case 'token_bucket':
      bucket.advance(state, counter, t)
      break
  }
}

/** For a counter whose clock is ahead. */
function touchAhead(state: CounterState, counter: CounterSpec, t: number, epoch: number): void {
  if (state.at > t + windowMs(counter)) {
    state.epoch = epoch
    arithmeticOf(counter).restart(state, counter, t)
    return
  }
  if (idle(state, counter)) {
    state.epoch = epoch
    state.at = t
  }
  arithmeticOf(counter).advance(state, counter, state.at)
}

/** The most that can be taken now, as a whole number; 0 or less when nothing can. */
export function roomOf(state: CounterState, counter: CounterSpec): number {
  switch (counter.algorithm) {
    case 'sliding_window':
      return sliding.room(state, counter)
    case 'fixed_window':
      return fixed.room(state, counter)
    case 'token_bucket':
      return bucket.room(state, counter)
  }
}

export function take(state: CounterState, counter: CounterSpec, amount: number): void {
  switch (counter.algorithm) {
    case 'sliding_window':
      sliding.take(state, counter, amount)
      break
    case 'fixed_window':
      fixed.take(state, counter, amount)
      break
    case 'token_bucket':
      bucket.take(state, counter, amount)
      break
  }
}

/** Milliseconds until the counter is whole again, when nobody takes more. */
export function resetMs(state: CounterState, counter: CounterSpec): number {
  switch (counter.algorithm) {
    case 'sliding_window':
      return sliding.resetMs(state, counter)
    case 'fixed_window':
      return fixed.resetMs(state, counter)
    case 'token_bucket':
      return bucket.resetMs(state, counter)
  }
}

/** Settles one reservation of a touched counter: refunds what was not used, charges what was used beyond. */
export function settleCounter(
  state: CounterState,
  counter: CounterSpec,
  entry: { readonly reserved: number; readonly actual: number; readonly at: number; readonly epoch: number },
): void {
  const unused = entry.reserved - entry.actual
  if (unused < 0) arithmeticOf(counter).charge(state, counter, -unused)
  // A counter that was forgotten since does not hold the reservation, so there is nothing to give back.
  if (unused <= 0 || entry.epoch !== state.epoch) return
  switch (counter.algorithm) {
    case 'sliding_window':
      sliding.refund(state, counter, unused, entry.at)
      break
    case 'fixed_window':
      fixed.refund(state, counter, unused, entry.at)
      break
    case 'token_bucket':
      bucket.refund(state, counter, unused, entry.at)
      break
  }
}

/** Milliseconds until `amount` can be taken, when nobody takes more; Infinity when it is more than ever fits. */
export function retryAfterMs(state: CounterState, counter: CounterSpec, amount: number): number {
  return arithmeticOf(counter).retryAfterMs(state, counter, amount)
}

/** What is used, overshoot that waits to be paid included. */
export function used(state: CounterState, counter: CounterSpec): number {
  return arithmeticOf(counter).used(state, counter)
}

/** An operator's gift, at most up to the whole limit. */
export function grant(state: CounterState, counter: CounterSpec, amount: number): void {
  arithmeticOf(counter).grant(state, counter, amount)
}

/** True when forgetting the counter would change no decision. */
export function idle(state: CounterState, counter: CounterSpec): boolean {
  return arithmeticOf(counter).idle(state, counter)
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

function arithmeticOf(counter: CounterSpec) {
  switch (counter.algorithm) {
    case 'sliding_window':
      return sliding
    case 'fixed_window':
      return fixed
    case 'token_bucket':
      return bucket
  }
}
