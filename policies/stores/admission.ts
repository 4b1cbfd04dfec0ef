/** Admission: the whole atomic step over all counters of one request. Everything is taken, or nothing is. */

import type { CounterState } from './counter-state.ts'
import type { Claim, ClaimResult, ReserveResult } from './ports.ts'
import { arithmeticOf, touch } from './windows.ts'

/** One claim beside the counter it is judged against. */
export interface Seat {
  claim: Claim
  /** The claim's own key or its overflow key. */
  key: string
  readonly state: CounterState
}

/**
 * Judges all seats at `t`, in whole epoch milliseconds, and takes from their states when every enforced claim agrees.
 * `epoch` becomes the life of a counter whose clock has to start anew.
 *
 * Each enforced claim judges its own want against its own room. When some of them clip, the request may produce only
 * the least of their rooms, and every other claim takes no more output than that.
 */
export function admit(seats: readonly Seat[], t: number, epoch: number): ReserveResult {
  let clippedTo = Number.POSITIVE_INFINITY
  let floor = 0
  let short = false
  for (const { claim, state } of seats) {
    touch(state, claim.counter, t, epoch)
    if (claim.shadow) continue
    const room = arithmeticOf(claim.counter).room(state, claim.counter) - claim.input
    if (room >= claim.want) continue
    if (claim.clip && room >= claim.floor) {
      clippedTo = Math.min(clippedTo, room)
      floor = Math.max(floor, claim.floor)
    } else {
      short = true
    }
  }
  // One claim's room may be less than another one's floor.
  const admitted = !short && clippedTo >= floor
  const claims: ClaimResult[] = []
  for (const seat of seats) claims.push(takeShare(seat, admitted, clippedTo, floor))
  return admitted && clippedTo < Number.POSITIVE_INFINITY ? { admitted, clippedTo, claims } : { admitted, claims }
}

function takeShare(seat: Seat, admitted: boolean, clippedTo: number, clipFloor: number): ClaimResult {
  const { claim, key, state } = seat
  const arithmetic = arithmeticOf(claim.counter)
  const room = arithmetic.room(state, claim.counter) - claim.input
  const want = admitted ? Math.min(claim.want, clippedTo) : claim.want
  const floor = claim.shadow ? claim.floor : Math.max(claim.floor, clipFloor)
  const least = claim.clip ? Math.min(want, floor) : want
  const fits = room >= least
  const reserved = admitted && fits ? claim.input + Math.min(want, room) : 0
  if (reserved > 0) arithmetic.take(state, claim.counter, reserved)
  const { at, epoch } = state
  const remaining = arithmetic.remaining(state, claim.counter)
  const resetMs = arithmetic.resetMs(state, claim.counter)
  if (fits) return { key, at, epoch, reserved, remaining, resetMs }
  const retryAfterMs = arithmetic.retryAfterMs(state, claim.counter, claim.input + least)
  return { key, at, epoch, reserved, remaining, resetMs, retryAfterMs }
}
