/**
 * Sliding window of 12 slots and the one being left: never more than `limit` booked in any interval of one window.
 * (A weighted pair of windows admits almost twice the limit in one real window.)
 */

import type { Arithmetic, CounterState } from './counter-state.ts'
import type { CounterSpec } from './ports.ts'

/** A window is cut into this many slots; one more is live, the one that is being left. */
export const SLOTS_PER_WINDOW = 12
export const LIVE_SLOTS = SLOTS_PER_WINDOW + 1
/** More than one slot may hold something. */
export const SEVERAL = -1

// What a module exports is looked up at every use; what it keeps to itself is compiled in.
const PER_WINDOW = SLOTS_PER_WINDOW
const LIVE = LIVE_SLOTS
const MANY = SEVERAL

/** Empties the counter's slots. */
function clearSlots(state: CounterState): void {
  const { slots, base, only } = state
  if (only === MANY) slots.fill(0, base, base + LIVE)
  else slots[base + only] = 0
  state.only = 0
  state.booked = 0
}

/** Turns to empty slots of the state's own, leaving those of the counter it held before. */
export function freshSlots(state: CounterState): void {
  if (state.slots === state.own) {
    clearSlots(state)
    return
  }
  state.slots = state.own
  state.base = 0
  state.only = 0
  state.booked = 0
}

function windowMs(counter: CounterSpec): number {
  return counter.windowSeconds * 1000
}

/** The slot that `t` lies in. Whole numbers divided once, so that no border is missed by rounding. */
function slotOf(counter: CounterSpec, t: number): number {
  return Math.floor((t * PER_WINDOW) / windowMs(counter))
}

/** The first millisecond of a slot. */
function startOf(counter: CounterSpec, slot: number): number {
  return Math.ceil((slot * windowMs(counter)) / PER_WINDOW)
}

/** What is booked in one of the live slots. */
function bookedIn(state: CounterState, slot: number): number {
  return state.slots[state.base + (slot % LIVE)] ?? 0
}

function book(state: CounterState, slot: number, amount: number): void {
  const index = slot % LIVE
  if (index !== state.only) state.only = state.booked === 0 ? index : MANY
  state.slots[state.base + index] = (state.slots[state.base + index] ?? 0) + amount
  state.booked += amount
}

/** Takes up to `amount` out of a slot; returns what it took. */
function unbook(state: CounterState, slot: number, amount: number): number {
  const held = bookedIn(state, slot)
  const taken = Math.min(held, amount)
  state.slots[state.base + (slot % LIVE)] = held - taken
  state.booked -= taken
  return taken
}

/** Forgets what a step from slot `last` to `slot` leaves behind. */
function expire(state: CounterState, last: number, slot: number): void {
  if (slot - last >= LIVE) clearSlots(state)
  else for (let left = last + 1; left <= slot; left++) unbook(state, left, Number.POSITIVE_INFINITY)
}

/** Overshoot takes room as soon as there is any, before the next request does. */
function payDebt(state: CounterState, counter: CounterSpec): void {
  if (state.amount === 0) return
  const paid = Math.min(state.amount, Math.max(0, counter.limit - state.booked))
  state.amount -= paid
  book(state, state.slot, paid)
}

export const slidingWindow: Arithmetic = {
  begin(state, counter) {
    state.amount = 0
    state.slot = slotOf(counter, state.at)
    freshSlots(state)
  },

  advance(state, counter, t) {
    const last = slotOf(counter, state.at)
    const slot = t === state.at ? last : slotOf(counter, t)
    state.at = t
    state.slot = slot
    if (slot > last) expire(state, last, slot)
    if (state.amount === 0) return
    state.amount = Math.max(0, state.amount - counter.limit * Math.floor((slot - last) / LIVE))
    payDebt(state, counter)
  },

  restart(state, counter, t) {
    // Borders lie elsewhere now: whatever is live counts as booked this moment.
    const live = state.booked
    clearSlots(state)
    state.at = t
    state.slot = slotOf(counter, t)
    book(state, state.slot, live)
    payDebt(state, counter)
  },

  room(state, counter) {
    return state.amount > 0 ? 0 : counter.limit - state.booked
  },

  take(state, _counter, amount) {
    book(state, state.slot, amount)
  },

  refund(state, counter, amount, at) {
    const slot = slotOf(counter, at)
    const age = state.slot - slot
    if (age < 0 || age >= LIVE) return
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
    for (let age = 0; age < LIVE && left > 0; age++) left -= unbook(state, state.slot - age, left)
    payDebt(state, counter)
  },

  used(state) {
    return state.booked + state.amount
  },

  resetMs(state, counter) {
    const debtMs = Math.ceil(state.amount / counter.limit) * windowMs(counter)
    for (let age = 0; age < LIVE; age++) {
      if (bookedIn(state, state.slot - age) > 0) return startOf(counter, state.slot - age + LIVE) - state.at + debtMs
    }
    return debtMs
  },

  retryAfterMs(state, counter, amount) {
    if (amount > counter.limit) return Number.POSITIVE_INFINITY
    const debtMs = Math.ceil(state.amount / counter.limit) * windowMs(counter)
    let used = state.booked
    if (used <= counter.limit - amount) return debtMs
    for (let age = PER_WINDOW; age >= 0; age--) {
      used -= bookedIn(state, state.slot - age)
      if (used <= counter.limit - amount) return startOf(counter, state.slot - age + LIVE) - state.at + debtMs
    }
    return Number.POSITIVE_INFINITY
  },

  idle(state) {
    return state.amount === 0 && state.booked === 0
  },
}
