/**
 * Token bucket of `burst` tokens that refills by `limit` a window. Tokens are kept times the window in milliseconds:
 * a millisecond then adds exactly `limit`, and no rounding creeps in.
 */

import { type Arithmetic, windowMs } from './counter-state.ts'
import type { CounterSpec } from './ports.ts'

function burst(counter: CounterSpec): number {
  return counter.burst ?? counter.limit
}

function full(counter: CounterSpec): number {
  return burst(counter) * windowMs(counter)
}

export const tokenBucket: Arithmetic = {
  begin(state, counter) {
    state.amount = full(counter)
  },

  advance(state, counter, t) {
    state.amount = Math.min(full(counter), state.amount + (t - state.at) * counter.limit)
    state.at = t
  },

  restart(state, counter, t) {
    state.amount = Math.min(full(counter), state.amount)
    state.at = t
  },

  room(state, counter) {
    return Math.floor(state.amount / windowMs(counter))
  },

  take(state, counter, amount) {
    state.amount -= amount * windowMs(counter)
  },

  refund(state, counter, amount, at) {
    // Older than a whole refill: the tokens have come back by themselves.
    if ((state.at - at) * counter.limit > full(counter)) return
    state.amount = Math.min(full(counter), state.amount + amount * windowMs(counter))
  },

  charge(state, counter, amount) {
    state.amount -= amount * windowMs(counter)
  },

  grant(state, counter, amount) {
    state.amount = Math.min(full(counter), state.amount + amount * windowMs(counter))
  },

  used(state, counter) {
    return burst(counter) - Math.floor(state.amount / windowMs(counter))
  },

  resetMs(state, counter) {
    return Math.ceil((full(counter) - state.amount) / counter.limit)
  },

  retryAfterMs(state, counter, amount) {
    if (amount > burst(counter)) return Number.POSITIVE_INFINITY
    return Math.max(0, Math.ceil((amount * windowMs(counter) - state.amount) / counter.limit))
  },

  idle(state, counter) {
    return state.amount >= full(counter)
  },
}
