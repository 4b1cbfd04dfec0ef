/** Limit counters in this process's memory: exact, quick, and gone with the process. */

import { PortcullisError } from '../errors.ts'
import type { Clock, Random } from '../policy.ts'
import { admit, type Seat } from './admission.ts'
import { createState } from './counter-state.ts'
import { createCounterTable } from './counter-table.ts'
import type { Claim, CounterView, LimitStore, ReserveRequest, ReserveResult, Settlement } from './ports.ts'
import { createSettledIds } from './settled-ids.ts'
import { createSpread } from './spread.ts'
import { arithmeticOf, begin, keepMs, settleCounter, touch } from './windows.ts'

export interface MemoryStoreOptions {
  readonly clock: Pick<Clock, 'now'>
  readonly random: Pick<Random, 'fraction'>
  /** Most counters kept at once; a new one beyond is a fault, because forgetting another would forgive it. */
  readonly maxCounters?: number
}

export interface MemoryStore extends LimitStore {
  /** Counters kept now, idle ones that no sweep has met yet included. */
  readonly size: number
}

const DEFAULT_MAX_COUNTERS = 4_000_000
/** Counters looked at for idleness per claim of a request: more than one, so that the sweep outruns new ones. */
const SWEPT_PER_CLAIM = 2

export function createMemoryStore(options: MemoryStoreOptions): MemoryStore {
  const maxCounters = options.maxCounters ?? DEFAULT_MAX_COUNTERS
  const counters = createCounterTable()
  const spread = createSpread()
  const settled = createSettledIds()
  const seats: Seat[] = []
  const spare = createState()
  let cursor = counters.keys()
  // Starts anywhere, so that a reservation of an earlier process fits no counter of this one.
  let epoch = Math.floor(options.random.fraction() * 2 ** 52)

  const now = () => Math.floor(options.clock.now())

  function live(key: string): boolean {
    const counter = counters.specOf(key)
    if (counter === undefined || !counters.load(key, spare)) return false
    touch(spare, counter, now(), epoch)
    return !arithmeticOf(counter).idle(spare, counter)
  }

  function sweepOne(t: number): void {
    let next = cursor.next()
    if (next.done) {
      cursor = counters.keys()
      next = cursor.next()
    }
    if (next.done) return
    const key = next.value
    const counter = counters.specOf(key)
    const touchedAt = counters.touchedAt(key)
    if (counter === undefined || touchedAt === undefined) return
    if (Math.abs(t - touchedAt) < keepMs(counter)) return
    counters.load(key, spare)
    touch(spare, counter, t, ++epoch)
    if (arithmeticOf(counter).idle(spare, counter)) counters.remove(key)
    // A clock far ahead was set back: only from now on does the counter age.
    else if (touchedAt > t) counters.save(key, counter, spare)
  }

  function keyOf(claim: Claim): string {
    if (claim.spread === undefined) return claim.key
    return spread.admits(claim.spread.owner, claim.key, live) ? claim.key : claim.spread.overflowKey
  }

  function seatFor(index: number, claim: Claim, t: number): Seat {
    let seat = seats[index]
    if (seat === undefined) {
      seat = { claim, key: claim.key, state: createState() }
      seats.push(seat)
    }
    seat.claim = claim
    seat.key = keyOf(claim)
    if (!counters.load(seat.key, seat.state)) begin(seat.state, claim.counter, t, ++epoch)
    return seat
  }

  async function reserve(request: ReserveRequest): Promise<ReserveResult> {
    const t = now()
    const used: Seat[] = []
    for (const claim of request.claims) used.push(seatFor(used.length, claim, t))
    if (counters.size + used.length > maxCounters) {
      for (const seat of used) {
        if (!counters.has(seat.key))
          throw new PortcullisError('store_full', 'The memory store holds too many counters.')
      }
    }
    const result = admit(used, t, ++epoch)
    for (const [index, { claim, key, state }] of used.entries()) {
      if (result.claims[index]?.reserved === 0 && !counters.has(key)) continue
      counters.save(key, claim.counter, state)
      if (claim.spread !== undefined && key === claim.key) spread.add(claim.spread.owner, key)
    }
    for (let swept = SWEPT_PER_CLAIM * used.length; swept > 0; swept--) sweepOne(t)
    spread.sweep(live)
    return result
  }

  async function settle(settlement: Settlement): Promise<boolean> {
    const t = now()
    if (!settled.add(settlement.id, t)) return false
    for (const entry of settlement.entries) {
      if (entry.actual === entry.reserved) continue
      if (!counters.load(entry.key, spare)) {
        // Nothing to refund; but what was used beyond the reservation still counts.
        if (entry.actual < entry.reserved || counters.size >= maxCounters) continue
        begin(spare, entry.counter, t, ++epoch)
      }
      touch(spare, entry.counter, t, ++epoch)
      settleCounter(spare, entry.counter, entry)
      counters.save(entry.key, entry.counter, spare)
    }
    return true
  }

  async function show(caller: string): Promise<readonly CounterView[]> {
    const t = now()
    const views: CounterView[] = []
    for (const key of counters.keys()) {
      const counter = key.startsWith(caller) ? counters.specOf(key) : undefined
      if (counter === undefined || !counters.load(key, spare)) continue
      touch(spare, counter, t, epoch)
      const arithmetic = arithmeticOf(counter)
      if (arithmetic.idle(spare, counter)) continue
      views.push({
        key,
        counter,
        used: arithmetic.used(spare, counter),
        remaining: arithmetic.remaining(spare, counter),
        resetMs: arithmetic.resetMs(spare, counter),
      })
    }
    return views
  }

  return {
    get size() {
      return counters.size
    },
    reserve,
    settle,
    show,
    async reset(key) {
      counters.remove(key)
    },
    async grant(key, _caller, tokens) {
      if (!Number.isSafeInteger(tokens) || tokens < 1)
        throw new PortcullisError('invalid_argument', 'A grant is a positive whole number of tokens.')
      const counter = counters.specOf(key)
      if (counter === undefined || !counters.load(key, spare)) return
      touch(spare, counter, now(), ++epoch)
      arithmeticOf(counter).grant(spare, counter, tokens)
      counters.save(key, counter, spare)
    },
    async close() {},
  }
}
