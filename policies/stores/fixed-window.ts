/** Fixed window: at most `limit` in every window that starts at a multiple of the window. Overshoot is carried over. */

import { type Arithmetic, windowMs } from './counter-state.ts'

export const fixedWindow: Arithmetic = {
  begin(state) {
    state.amount = 0
  },

  advance(state, counter, t) {
    const window = windowMs(counter)
    const moved = Math.floor(t / window) - Math.floor(state.at / window)
    if (moved > 0) state.amount = Math.max(0, state.amount - moved * counter.limit)
    state.at = t
  },

  restart(state, _counter, t) {
    state.at = t
  },

  room(state, counter) {
    return counter.limit - state.amount
  },

  take(state, _counter, amount) {
    state.amount += amount
  },

  refund(state, counter, amount, at) {
    const window = windowMs(counter)
    if (Math.floor(at / window) !== Math.floor(state.at / window)) return
    state.amount = Math.max(0, state.amount - amount)
  },

  charge(state, _counter, amount) {
    state.amount += amount
  },

  grant(state, _counter, amount) {
    state.amount = Math.max(0, state.amount - amount)
  },

  used(state) {
    return state.amount
  },

  resetMs(state, counter) {
    const window = windowMs(counter)
    const windows = Math.max(1, Math.ceil(state.amount / counter.limit))
    return (Math.floor(state.at / window) + windows) * window - state.at
  },

  retryAfterMs(state, counter, amount) {
    if (amount > counter.limit) return Number.POSITIVE_INFINITY
    const over = state.amount + amount - counter.limit
    if (over <= 0) return 0
    const window = windowMs(counter)
    const windows = Math.max(1, Math.ceil(over / counter.limit))
    return (Math.floor(state.at / window) + windows) * window - state.at
  },

  idle(state) {
    return state.amount === 0
  },
}
