/** What is remembered of one counter, and what each algorithm does to it. Numbers only: a script mirrors it line by line. */

import type { CounterSpec } from './ports.ts'
import { LIVE_SLOTS } from './sliding-window.ts'

export interface CounterState {
  /** The counter's own clock: epoch milliseconds of the last touch. */
  at: number
  /** Which life of the counter this is. */
  epoch: number
  /** `fixed_window`: used. `sliding_window`: debt. `token_bucket`: tokens times the window in milliseconds. */
  amount: number
  /** `sliding_window` only: what was booked in slot s, at index `base` plus s modulo {@link LIVE_SLOTS}. */
  slots: Float64Array
  /** Slots that belong to no store; empty unless `slots` is the same. */
  readonly own: Float64Array
  /** Where the slots of this counter begin: a store may keep those of many counters in one array. */
  base: number
  /** The sum of the slots. */
  booked: number
  /** The slot of `at`. */
  slot: number
  /** The one index that holds anything, or {@link SEVERAL}. Spares most counters most of their memory. */
  only: number
}

/** One algorithm. Every function but `begin`, `advance` and `restart` expects a state that was just touched. */
export interface Arithmetic {
  /** Makes the state that of a counter nobody has used. */
  begin(state: CounterState, counter: CounterSpec): void
  /** Moves the counter's clock on to `t`, which is not before `state.at`. */
  advance(state: CounterState, counter: CounterSpec, t: number): void
  /** Sets the counter's clock back to `t`, forgiving nothing. */
  restart(state: CounterState, counter: CounterSpec, t: number): void
  /** The most that can be taken now, as a whole number; 0 or less when nothing can. */
  room(state: CounterState, counter: CounterSpec): number
  take(state: CounterState, counter: CounterSpec, amount: number): void
  /** Gives back what was taken at `at`; nothing when that is too long ago. */
  refund(state: CounterState, counter: CounterSpec, amount: number, at: number): void
  /** Books what was used beyond the reservation, whether there is room or not. */
  charge(state: CounterState, counter: CounterSpec, amount: number): void
  /** An operator's gift, at most up to the whole limit. */
  grant(state: CounterState, counter: CounterSpec, amount: number): void
  used(state: CounterState, counter: CounterSpec): number
  /** Milliseconds until the counter is whole again, when nobody takes more. */
  resetMs(state: CounterState, counter: CounterSpec): number
  /** Milliseconds until `amount` can be taken, when nobody takes more; Infinity when it is more than ever fits. */
  retryAfterMs(state: CounterState, counter: CounterSpec, amount: number): number
  /** True when forgetting the counter would change no decision. */
  idle(state: CounterState, counter: CounterSpec): boolean
}

export function createState(): CounterState {
  const own = new Float64Array(LIVE_SLOTS)
  return { at: 0, epoch: 0, amount: 0, own, slots: own, base: 0, booked: 0, slot: 0, only: 0 }
}

export function windowMs(counter: CounterSpec): number {
  return counter.windowSeconds * 1000
}
