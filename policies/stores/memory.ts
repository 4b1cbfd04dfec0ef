/** Limit counters in this process's memory: exact, quick, and gone with the process. */

import { PortcullisError } from '../errors.ts'
import type { Clock, Random } from '../policy.ts'
import { admit, type Seat } from './admission.ts'
import { createState } from './counter-state.ts'
import { createCounterTable, type Handle, NO_COUNTER } from './counter-table.ts'
import type { Claim, CounterView, LimitStore, ReserveRequest, ReserveResult, SettleEntry, Settlement } from './ports.ts'
import { createRecentIds } from './recent-ids.ts'
import { createSpread } from './spread.ts'
import { createTickets } from './tickets.ts'
import { begin, grant, idle, keepMs, resetMs, roomOf, settleCounter, touch, used } from './windows.ts'

export interface MemoryStoreOptions {
  readonly clock: Pick<Clock, 'now'>
  readonly random: Pick<Random, 'fraction'>
  /** Most counters kept at once; a new one beyond is a fault, because forgetting another would forgive it. */
  readonly maxCounters?: number
}

export interface MemoryStore extends LimitStore {
  /** At once: nothing has to be waited for. */
  reserve(request: ReserveRequest): ReserveResult
  settle(settlement: Settlement): boolean
  /** Counters kept now, idle ones that no sweep has met yet included. */
  readonly size: number
}

interface MemorySeat extends Seat {
  handle: Handle
}

const DEFAULT_MAX_COUNTERS = 4_000_000
/** Counters looked at for idleness in each request and for each new counter: the sweep outruns what is added. */
const SWEPT_PER_REQUEST = 1
const SWEPT_PER_NEW_COUNTER = 4
const SWEPT_AT_ONCE = 32
/** Reservations and claims of each whose counters are remembered by place; more than those are looked up. */
const HINTED_TICKETS = 4096
const HINTED_CLAIMS = 8

export function createMemoryStore(options: MemoryStoreOptions): MemoryStore {
  const maxCounters = options.maxCounters ?? DEFAULT_MAX_COUNTERS
  const counters = createCounterTable()
  const spread = createSpread()
  const tickets = createTickets()
  /** Settled reservations of other processes. */
  const foreign = createRecentIds()
  const pool: MemorySeat[] = []
  const spare = createState()
  // Counted from anywhere, so that a reservation of another process is known as such.
  const firstTicket = Math.floor(options.random.fraction() * 2 ** 52)
  const epochs = new Int32Array(1)
  /** Where the counters of the latest reservations were: settling them need not look them up. */
  const hints = new Int32Array(HINTED_TICKETS * HINTED_CLAIMS).fill(NO_COUNTER)
  let unswept = 0

  const now = () => Math.floor(options.clock.now())

  /** A life that no counter has: they come again after four billion. One does for all counters of a request. */
  function nextEpoch(): number {
    const epoch = (epochs[0] ?? 0) + 1
    epochs[0] = epoch
    return epoch
  }

  /** Whether a counter counts anything at `t`; leaves it in `spare`, brought up to then. */
  function counts(handle: Handle, t: number): boolean {
    const counter = counters.specOf(handle)
    counters.peek(handle, spare)
    touch(spare, counter, t, nextEpoch())
    return !idle(spare, counter)
  }

  function live(key: string): boolean {
    const handle = counters.find(key)
    return handle !== NO_COUNTER && counts(handle, now())
  }

  function sweep(count: number, t: number): void {
    counters.visit(count, (key, handle, touchedAt) => {
      const counter = counters.specOf(handle)
      if (Math.abs(t - touchedAt) < keepMs(counter)) return
      if (!counts(handle, t)) counters.remove(key)
      // A clock far ahead was set back: only from now on does the counter age.
      else if (touchedAt > t) counters.save(handle, key, counter, spare)
    })
  }

  function take(seat: MemorySeat, claim: Claim, t: number, epoch: number): void {
    seat.claim = claim
    seat.key =
      claim.spread === undefined || spread.admits(claim.spread.owner, claim.key, live)
        ? claim.key
        : claim.spread.overflowKey
    seat.handle = counters.find(seat.key)
    if (seat.handle === NO_COUNTER) begin(seat.state, claim.counter, t, epoch)
    else counters.load(seat.handle, seat.state)
  }

  function seatsFor(claims: readonly Claim[], t: number, epoch: number): readonly MemorySeat[] {
    for (let index = 0; index < claims.length; index++) {
      const claim = claims[index] as Claim
      let seat = pool[index]
      if (seat === undefined) {
        seat = { claim, key: claim.key, room: 0, state: createState(), handle: NO_COUNTER }
        pool.push(seat)
      }
      take(seat, claim, t, epoch)
    }
    return claims.length === pool.length ? pool : pool.slice(0, claims.length)
  }

  function assertSpace(seats: readonly MemorySeat[]): void {
    const added = seats.filter(({ handle }) => handle === NO_COUNTER).length
    if (added > 0 && counters.size + added > maxCounters)
      throw new PortcullisError('store_full', 'The memory store holds too many counters.')
  }

  function reserve({ claims }: ReserveRequest): ReserveResult {
    const t = now()
    const epoch = nextEpoch()
    const seats = seatsFor(claims, t, epoch)
    if (counters.size + seats.length > maxCounters) assertSpace(seats)
    const result = admit(seats, t, epoch)
    const ticket = result.admitted ? tickets.next() : 0
    if (result.admitted) result.ticket = firstTicket + ticket
    let added = 0
    for (let index = 0; index < seats.length; index++) {
      const seat = seats[index] as MemorySeat
      if (seat.handle === NO_COUNTER) {
        if (result.claims[index]?.reserved === 0) continue
        added++
      }
      const { claim, key } = seat
      const handle = counters.save(seat.handle, key, claim.counter, seat.state)
      if (index < HINTED_CLAIMS) hints[hintOf(ticket, index)] = handle
      if (claim.spread !== undefined && key === claim.key) spread.add(claim.spread.owner, key)
    }
    unswept += SWEPT_PER_REQUEST + SWEPT_PER_NEW_COUNTER * added
    if (unswept >= SWEPT_AT_ONCE) {
      sweep(unswept, t)
      unswept = 0
    }
    spread.sweep(live)
    return result
  }

  function settle({ id, ticket = Number.NaN, entries }: Settlement): boolean {
    const t = now()
    const ours = tickets.issued(ticket - firstTicket)
    if (ours ? !tickets.settle(ticket - firstTicket) : foreign.has(id)) return false
    if (!ours) foreign.add(id, t)
    const epoch = nextEpoch()
    for (let index = 0; index < entries.length; index++) {
      const entry = entries[index] as SettleEntry
      if (entry.actual === entry.reserved) continue
      // Another process's counter held the reservation; but what was used beyond it counts here as well.
      if (!ours && entry.actual < entry.reserved) continue
      const hint = ours && index < HINTED_CLAIMS ? hints[hintOf(ticket - firstTicket, index)] : NO_COUNTER
      const handle = counters.findAt(hint ?? NO_COUNTER, entry.key)
      if (handle === NO_COUNTER) {
        if (entry.actual < entry.reserved || counters.size >= maxCounters) continue
        begin(spare, entry.counter, t, epoch)
      } else {
        counters.load(handle, spare)
      }
      touch(spare, entry.counter, t, epoch)
      settleCounter(spare, entry.counter, entry)
      counters.save(handle, entry.key, entry.counter, spare)
    }
    return true
  }

  async function show(caller: string): Promise<readonly CounterView[]> {
    const t = now()
    const views: CounterView[] = []
    for (const key of counters.keys()) {
      if (!key.startsWith(caller)) continue
      const handle = counters.find(key)
      const counter = counters.specOf(handle)
      if (!counts(handle, t)) continue
      views.push({
        key,
        counter,
        used: used(spare, counter),
        remaining: Math.max(0, roomOf(spare, counter)),
        resetMs: resetMs(spare, counter),
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
      const handle = counters.find(key)
      if (handle === NO_COUNTER) return
      const counter = counters.specOf(handle)
      counters.load(handle, spare)
      touch(spare, counter, now(), nextEpoch())
      grant(spare, counter, tokens)
      counters.save(handle, key, counter, spare)
    },
    async close() {},
  }
}

function hintOf(ticket: number, index: number): number {
  return (ticket % HINTED_TICKETS) * HINTED_CLAIMS + index
}
