/** Admission: the whole atomic step over all counters of one request. Everything is taken, or nothing is. */

import type { CounterState } from './counter-state.ts'
import type { Claim, ClaimResult, ReserveResult } from './ports.ts'
import { resetMs, retryAfterMs, roomOf, take, touch } from './windows.ts'

// What a module imports is looked up at every use; what it keeps to itself is compiled in.
const touchCounter = touch
const roomIn = roomOf
const takeFrom = take
const resetOf = resetMs

/** One claim beside the counter it is judged against. */
export interface Seat {
  claim: Claim
  /** The claim's own key or its overflow key. */
  key: string
  readonly state: CounterState
  /** What the counter had left before this request; set by {@link admit}. */
  room: number
}

/** A result that the store may still add to. */
export type Admission = { -readonly [K in keyof ReserveResult]: ReserveResult[K] }

/**
 * Judges all seats at `t`, in whole epoch milliseconds, and takes from their states when every enforced claim agrees.
 * `epoch` becomes the life of a counter whose clock has to start anew.
 *
 * Each enforced claim judges its own want against its own room. When some of them clip, the request may produce only
 * the least of their rooms, and every other claim takes no more output than that.
 */
export function admit(seats: readonly Seat[], t: number, epoch: number): Admission {
  let clippedTo = Number.POSITIVE_INFINITY
  let floor = 0
  let short = false
  for (const seat of seats) {
    const { claim, state } = seat
    touchCounter(state, claim.counter, t, epoch)
    seat.room = roomIn(state, claim.counter)
    const outputRoom = seat.room - claim.input
    if (claim.shadow || outputRoom >= claim.want) continue
    if (claim.clip && outputRoom >= claim.floor) {
      clippedTo = Math.min(clippedTo, outputRoom)
      floor = Math.max(floor, claim.floor)
    } else {
      short = true
    }
  }
  // One claim's room may be less than another one's floor.
  const admitted = !short && clippedTo >= floor
  const claims = seats.map((seat) => takeShare(seat, admitted, clippedTo, floor))
  const result: Admission = { admitted, claims }
  if (admitted && clippedTo < Number.POSITIVE_INFINITY) result.clippedTo = clippedTo
  return result
}

function takeShare(seat: Seat, admitted: boolean, clippedTo: number, clipFloor: number): ClaimResult {
  const { claim, key, state, room } = seat
  const { counter, input } = claim
  const want = admitted ? Math.min(claim.want, clippedTo) : claim.want
  const floor = claim.shadow ? claim.floor : Math.max(claim.floor, clipFloor)
  const least = claim.clip ? Math.min(want, floor) : want
  const fits = room - input >= least
  const reserved = admitted && fits ? Math.min(input + want, room) : 0
  if (reserved > 0) takeFrom(state, counter, reserved)
  const { at, epoch } = state
  const remaining = Math.max(0, room - reserved)
  const result = { key, at, epoch, reserved, remaining, resetMs: resetOf(state, counter) }
  return fits ? result : { ...result, retryAfterMs: retryAfterMs(state, counter, input + least) }
}
