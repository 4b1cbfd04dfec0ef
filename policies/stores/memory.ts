/** Limit counters in this process's memory: exact, quick, and gone with the process. */

import { PortcullisError } from '../errors.ts'
import type { Clock, Random } from '../policy.ts'
import { admit, type Seat } from './admission.ts'
import { type CounterState, createState } from './counter-state.ts'
import { CounterTable, type Handle, NO_COUNTER } from './counter-table.ts'
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

// What a module imports is looked up at every use; what it keeps to itself is compiled in.
const touchCounter = touch
const settleOne = settleCounter
const NONE = NO_COUNTER
const admitAll = admit

interface MemorySeat extends Seat {
  handle: Handle
  /** An earlier claim of the request is counted there already. */
  again: boolean
}

const DEFAULT_MAX_COUNTERS = 4_000_000
/** Counters looked at for idleness for each request and for each new counter: the sweep outruns what is added. */
const SWEPT_PER_REQUEST = 1
const SWEPT_PER_NEW_COUNTER = 4
const SWEPT_AT_ONCE = 32
/** Reservations and claims of each whose counters are remembered by place; others are looked up. */
const HINTED_TICKETS = 4096
const HINTED_CLAIMS = 8

/** A class, because its methods are compiled once for all stores. */
export class MemoryStore implements LimitStore {
  readonly #clock: Pick<Clock, 'now'>
  readonly #maxCounters: number
  readonly #counters = new CounterTable()
  readonly #spread = createSpread()
  readonly #tickets = createTickets()
  /** Settled reservations without a ticket of this store. */
  readonly #foreign = createRecentIds()
  /** Where the counters of the latest reservations were. */
  readonly #hints = new Int32Array(HINTED_TICKETS * HINTED_CLAIMS).fill(NONE)
  readonly #seats: MemorySeat[] = []
  readonly #spare: CounterState = createState()
  readonly #firstTicket: number
  // In an array, because a field would be boxed anew at every step.
  readonly #epochs: Float64Array
  #unswept = 0

  constructor({ clock, random, maxCounters = DEFAULT_MAX_COUNTERS }: MemoryStoreOptions) {
    this.#clock = clock
    this.#maxCounters = maxCounters
    // Counted from anywhere, so that a reservation of another process is known as such.
    this.#firstTicket = Math.floor(random.fraction() * 2 ** 52)
    this.#epochs = Float64Array.of(Math.floor(random.fraction() * 2 ** 52))
  }

  /** Counters kept now, idle ones that no sweep has met yet included. */
  get size(): number {
    return this.#counters.size
  }

  /** At once: nothing has to be waited for. */
  reserve({ claims }: ReserveRequest): ReserveResult {
    const t = this.#now()
    const epoch = this.#nextEpoch()
    const seats = this.#seatsFor(claims, t, epoch)
    if (this.#counters.size + seats.length > this.#maxCounters) this.#assertSpace(seats, t)
    const result = admitAll(seats, t, epoch)
    const ticket = result.admitted ? this.#tickets.next() : NONE
    if (result.admitted) result.ticket = this.#firstTicket + ticket
    this.#sweep(SWEPT_PER_REQUEST + SWEPT_PER_NEW_COUNTER * this.#save(seats, result, ticket), t)
    this.#spread.sweep((key) => this.#lives(key))
    return result
  }

  settle({ id, ticket, entries }: Settlement): boolean {
    const t = this.#now()
    const own = ticket === undefined ? NONE : ticket - this.#firstTicket
    if (!this.#isFirst(id, own, t)) return false
    const epoch = this.#nextEpoch()
    for (let index = 0; index < entries.length; index++) {
      const entry = entries[index] as SettleEntry
      if (entry.actual !== entry.reserved) this.#settleEntry(entry, this.#hintFor(own, index), t, epoch)
    }
    return true
  }

  /** What a counter counts now; 0 when there is none. */
  usedOf(key: string): number {
    const handle = this.#counters.find(key)
    if (handle === NONE || !this.#counts(handle, this.#now())) return 0
    return used(this.#spare, this.#counters.specOf(handle))
  }

  async show(caller: string): Promise<readonly CounterView[]> {
    const t = this.#now()
    const state = this.#spare
    const views: CounterView[] = []
    for (const key of this.#counters.keys()) {
      if (!key.startsWith(caller)) continue
      const handle = this.#counters.find(key)
      const counter = this.#counters.specOf(handle)
      if (!this.#counts(handle, t)) continue
      views.push({
        key,
        caller,
        counter,
        used: used(state, counter),
        remaining: Math.max(0, roomOf(state, counter)),
        resetMs: resetMs(state, counter),
      })
    }
    return views
  }

  async reset(key: string): Promise<void> {
    this.#counters.remove(key)
  }

  async grant(key: string, _caller: string | undefined, tokens: number): Promise<void> {
    if (!Number.isSafeInteger(tokens) || tokens < 1)
      throw new PortcullisError('invalid_argument', 'A grant is a positive whole number of tokens.')
    const handle = this.#counters.find(key)
    if (handle === NONE) return
    const counter = this.#counters.specOf(handle)
    this.#counters.load(handle, this.#spare)
    touchCounter(this.#spare, counter, this.#now(), this.#nextEpoch())
    grant(this.#spare, counter, tokens)
    this.#counters.save(handle, key, counter, this.#spare)
  }

  async close(): Promise<void> {}

  #now(): number {
    return Math.floor(this.#clock.now())
  }

  /** A life that no counter has had yet; one does for all counters of a request. */
  #nextEpoch(): number {
    const epoch = (this.#epochs[0] ?? 0) + 1
    this.#epochs[0] = epoch
    return epoch
  }

  #seatsFor(claims: readonly Claim[], t: number, epoch: number): readonly MemorySeat[] {
    const seats = this.#seats
    let handle = NONE
    for (let index = 0; index < claims.length; index++) {
      const claim = claims[index] as Claim
      let seat = seats[index]
      if (seat === undefined) {
        seat = { claim, key: claim.key, room: 0, state: createState(), handle: NONE, again: false }
        seats.push(seat)
      }
      seat.claim = claim
      seat.key = claim.spread === undefined ? claim.key : this.#spreadKey(claim.key, claim.spread, index)
      seat.again = seat.key !== claim.key && isTaken(seats, index)
      handle = this.#counters.findAfter(handle, seat.key)
      seat.handle = handle
      if (handle === NONE) begin(seat.state, claim.counter, t, epoch)
      else if (seat.again) this.#counters.peek(handle, seat.state)
      else this.#counters.load(handle, seat.state)
    }
    return claims.length === seats.length ? seats : seats.slice(0, claims.length)
  }

  #spreadKey(key: string, { owner, overflowKey }: NonNullable<Claim['spread']>, index: number): string {
    const joining = joiningBefore(this.#seats, index, owner)
    return this.#spread.admits(owner, key, joining, (other) => this.#lives(other)) ? key : overflowKey
  }

  #assertSpace(seats: readonly MemorySeat[], t: number): void {
    const added = seats.filter(({ handle }) => handle === NONE).length
    if (added === 0 || this.#counters.size + added <= this.#maxCounters) return
    // Or nobody would ever find the idle ones, where only new counters are asked for.
    this.#sweep(SWEPT_AT_ONCE, t)
    throw new PortcullisError('store_full', 'The memory store holds too many counters.')
  }

  /** Writes the counters back; returns how many are new. */
  #save(seats: readonly MemorySeat[], result: ReserveResult, ticket: number): number {
    let added = 0
    for (let index = 0; index < seats.length; index++) {
      const { claim, key, handle, state, again } = seats[index] as MemorySeat
      if (again) continue
      if (handle === NONE) {
        if (result.claims[index]?.reserved === 0) continue
        added++
      }
      const place = this.#counters.save(handle, key, claim.counter, state)
      if (ticket !== NONE && index < HINTED_CLAIMS) this.#hints[hintOf(ticket, index)] = place
      if (claim.spread !== undefined && key === claim.key) this.#spread.add(claim.spread.owner, key)
    }
    return added
  }

  #isFirst(id: string, ticket: number, t: number): boolean {
    if (this.#tickets.issued(ticket)) return this.#tickets.settle(ticket)
    if (this.#foreign.has(id)) return false
    this.#foreign.add(id, t)
    return true
  }

  #hintFor(ticket: number, index: number): Handle {
    return index < HINTED_CLAIMS ? (this.#hints[hintOf(ticket, index)] ?? NONE) : NONE
  }

  #settleEntry(entry: SettleEntry, hint: Handle, t: number, epoch: number): void {
    const state = this.#spare
    const handle = this.#counters.findAt(hint, entry.key)
    if (handle !== NONE) {
      this.#counters.load(handle, state)
    } else {
      // Nothing to refund; but what was used beyond the reservation still counts.
      if (entry.actual < entry.reserved || this.#counters.size >= this.#maxCounters) return
      begin(state, entry.counter, t, epoch)
    }
    touchCounter(state, entry.counter, t, epoch)
    settleOne(state, entry.counter, entry)
    this.#counters.save(handle, entry.key, entry.counter, state)
  }

  /** Whether a counter counts anything at `t`; leaves it in the spare state, brought up to then. */
  #counts(handle: Handle, t: number): boolean {
    const counter = this.#counters.specOf(handle)
    this.#counters.peek(handle, this.#spare)
    touchCounter(this.#spare, counter, t, this.#nextEpoch())
    return !idle(this.#spare, counter)
  }

  #lives(key: string): boolean {
    const handle = this.#counters.find(key)
    return handle !== NONE && this.#counts(handle, this.#now())
  }

  #sweep(count: number, t: number): void {
    this.#unswept += count
    if (this.#unswept < SWEPT_AT_ONCE) return
    const counters = this.#counters
    counters.visit(this.#unswept, (key, handle, touchedAt) => {
      const counter = counters.specOf(handle)
      if (Math.abs(t - touchedAt) < keepMs(counter)) return
      if (!this.#counts(handle, t)) counters.remove(key)
      // A clock far ahead was set back: only from now on does the counter age.
      else if (touchedAt > t) counters.save(handle, key, counter, this.#spare)
    })
    this.#unswept = 0
  }
}

export function createMemoryStore(options: MemoryStoreOptions): MemoryStore {
  return new MemoryStore(options)
}

/** Whether an earlier seat has the key of the one at `index`. */
function isTaken(seats: readonly MemorySeat[], index: number): boolean {
  const key = seats[index]?.key
  for (let earlier = 0; earlier < index; earlier++) if (seats[earlier]?.key === key) return true
  return false
}

/** How many new values of an owner the seats before `index` stand for. */
function joiningBefore(seats: readonly MemorySeat[], index: number, owner: string): number {
  let joining = 0
  for (let earlier = 0; earlier < index; earlier++) {
    const { claim, key, handle } = seats[earlier] as MemorySeat
    if (claim.spread?.owner === owner && key === claim.key && handle === NONE) joining++
  }
  return joining
}

function hintOf(ticket: number, index: number): number {
  return (ticket % HINTED_TICKETS) * HINTED_CLAIMS + index
}
