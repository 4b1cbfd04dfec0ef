/**
 * Sliding window of 12 slots and the one being left: never more than `limit` booked in any interval of one window.
 * (A weighted pair of windows admits almost twice the limit in one real window.)
 */

import {
  type Arithmetic,
  type CounterState,
  clearSlots,
  LIVE_SLOTS,
  SEVERAL,
  SLOTS_PER_WINDOW,
  windowMs,
} from './counter-state.ts'
import type { CounterSpec } from './ports.ts'

/** The slot that `t` lies in. Whole numbers divided once, so that no border is missed by rounding. */
function slotOf(counter: CounterSpec, t: number): number {
  return Math.floor((t * SLOTS_PER_WINDOW) / windowMs(counter))
}

/** The first millisecond of a slot. */
function startOf(counter: CounterSpec, slot: number): number {
  return Math.ceil((slot * windowMs(counter)) / SLOTS_PER_WINDOW)
}

/** Adds to a slot, or takes away. */
function book(state: CounterState, slot: number, amount: number): void {
  const index = slot % LIVE_SLOTS
  if (index !== state.only) state.only = state.booked === 0 ? index : SEVERAL
  state.slots[index] = (state.slots[index] ?? 0) + amount
  state.booked += amount
}

/** Takes up to `amount` out of a slot; returns what it took. */
function unbook(state: CounterState, slot: number, amount: number): number {
  const index = slot % LIVE_SLOTS
  const held = state.slots[index] ?? 0
  const taken = Math.min(held, amount)
  state.slots[index] = held - taken
  state.booked -= taken
  return taken
}

/** Overshoot takes room as soon as there is any, before the next request does. */
function payDebt(state: CounterState, counter: CounterSpec): void {
  if (state.amount === 0) return
  const paid = Math.min(state.amount, Math.max(0, counter.limit - state.booked))
  state.amount -= paid
  book(state, slotOf(counter, state.at), paid)
}

export const slidingWindow: Arithmetic = {
  begin(state) {
    state.amount = 0
    clearSlots(state)
  },

  advance(state, counter, t) {
    const last = slotOf(counter, state.at)
    const slot = slotOf(counter, t)
    const moved = slot - last
    state.at = t
    if (moved >= LIVE_SLOTS) clearSlots(state)
    else for (let left = last + 1; left <= slot; left++) unbook(state, left, Number.POSITIVE_INFINITY)
    if (state.amount === 0) return
    state.amount = Math.max(0, state.amount - counter.limit * Math.floor(moved / LIVE_SLOTS))
    payDebt(state, counter)
  },

  restart(state, counter, t) {
    // Borders lie elsewhere now: whatever is live counts as booked this moment.
    const live = state.booked
    clearSlots(state)
    state.at = t
    book(state, slotOf(counter, t), live)
    payDebt(state, counter)
  },

  room(state, counter) {
    return state.amount > 0 ? 0 : counter.limit - state.booked
  },

  take(state, counter, amount) {
    book(state, slotOf(counter, state.at), amount)
  },

  refund(state, counter, amount, at) {
    const slot = slotOf(counter, at)
    const age = slotOf(counter, state.at) - slot
    if (age < 0 || age >= LIVE_SLOTS) return
    unbook(state, slot, amount)
    payDebt(state, counter)
  },

  charge(state, counter, amount) {
    state.amount += amount
    payDebt(state, counter)
  },

  grant(state, counter, amount) {
    const forgiven = Math.min(state.amount, amount)
    state.amount -= forgiven
    let left = amount - forgiven
    const slot = slotOf(counter, state.at)
    for (let age = 0; age < LIVE_SLOTS && left > 0; age++) left -= unbook(state, slot - age, left)
    payDebt(state, counter)
  },

  used(state) {
    return state.booked + state.amount
  },

  resetMs(state, counter) {
    const slot = slotOf(counter, state.at)
    const debtMs = Math.ceil(state.amount / counter.limit) * windowMs(counter)
    for (let age = 0; age < LIVE_SLOTS; age++) {
      if ((state.slots[(slot - age + LIVE_SLOTS) % LIVE_SLOTS] ?? 0) > 0)
        return startOf(counter, slot - age + LIVE_SLOTS) - state.at + debtMs
    }
    return debtMs
  },

  retryAfterMs(state, counter, amount) {
    if (amount > counter.limit) return Number.POSITIVE_INFINITY
    const debtMs = Math.ceil(state.amount / counter.limit) * windowMs(counter)
    const slot = slotOf(counter, state.at)
    let used = state.booked
    if (used <= counter.limit - amount) return debtMs
    for (let age = SLOTS_PER_WINDOW; age >= 0; age--) {
      used -= state.slots[(slot - age + LIVE_SLOTS) % LIVE_SLOTS] ?? 0
      if (used <= counter.limit - amount) return startOf(counter, slot - age + LIVE_SLOTS) - state.at + debtMs
    }
    return Number.POSITIVE_INFINITY
  },

  idle(state) {
    return state.amount === 0 && state.booked === 0
  },
}
