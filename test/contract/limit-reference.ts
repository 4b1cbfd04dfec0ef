/**
 * Limits as the design's prose has them, written without a look at the sources: slots by number in a map, tokens as
 * fractions of whole numbers, nothing ever forgotten. Slow, and meant to be obvious.
 */

import type { Claim, CounterSpec, ReserveRequest, Settlement } from '../../policies/stores/ports.ts'

interface Booking {
  readonly life: number
  readonly at: number
}

/** One counter that lives for ever. */
class Counter {
  time: number
  life = 0
  /** fixed_window */
  used = 0
  /** sliding_window */
  slots = new Map<number, number>()
  debt = 0
  /** token_bucket: tokens times milliseconds of the window. */
  scaled: bigint

  readonly spec: CounterSpec

  constructor(spec: CounterSpec, t: number) {
    this.spec = spec
    this.time = t
    this.scaled = this.fullBucket()
  }

  get L(): number {
    return this.spec.limit
  }
  get W(): number {
    return this.spec.windowSeconds * 1000
  }
  get burst(): number {
    return this.spec.burst ?? this.spec.limit
  }
  fullBucket(): bigint {
    return BigInt(this.burst) * BigInt(this.W)
  }
  /** floor(t / (W / 12)), exactly. */
  slotAt(t: number): number {
    return Number((BigInt(t) * 12n) / BigInt(this.W))
  }
  /** First whole millisecond that lies in the slot. */
  borderOf(slot: number): number {
    let t = Math.floor((slot * this.W) / 12) - 2
    while (this.slotAt(t) < slot) t++
    return t
  }
  inSlots(): number {
    const s = this.slotAt(this.time)
    let sum = 0
    for (const [slot, amount] of this.slots) if (slot >= s - 12 && slot <= s) sum += amount
    return sum
  }

  touch(now: number): void {
    if (this.time > now + this.W) {
      this.life++
      const live = this.inSlots()
      this.time = now
      if (this.spec.algorithm === 'sliding_window') {
        this.slots = new Map(live > 0 ? [[this.slotAt(now), live]] : [])
        this.pay()
      }
      return
    }
    // Nothing counted, so there is nothing whose age a clock that steps back could falsify.
    if (this.time > now && this.empty()) {
      this.life++
      this.time = now
      this.slots.clear()
    }
    const t = Math.max(now, this.time)
    const before = this.time
    this.time = t
    switch (this.spec.algorithm) {
      case 'fixed_window': {
        const m = Math.floor(t / this.W) - Math.floor(before / this.W)
        this.used = Math.max(0, this.used - m * this.L)
        return
      }
      case 'sliding_window':
        this.debt = Math.max(0, this.debt - this.L * Math.floor((this.slotAt(t) - this.slotAt(before)) / 13))
        this.pay()
        return
      case 'token_bucket': {
        const refilled = this.scaled + BigInt(t - before) * BigInt(this.L)
        this.scaled = refilled < this.fullBucket() ? refilled : this.fullBucket()
      }
    }
  }

  empty(): boolean {
    if (this.spec.algorithm === 'token_bucket') return this.scaled >= this.fullBucket()
    return this.used === 0 && this.debt === 0 && this.inSlots() === 0
  }

  pay(): void {
    const paid = Math.min(this.debt, Math.max(0, this.L - this.inSlots()))
    this.debt -= paid
    this.add(paid)
  }

  add(amount: number): void {
    const s = this.slotAt(this.time)
    this.slots.set(s, (this.slots.get(s) ?? 0) + amount)
  }

  room(): number {
    switch (this.spec.algorithm) {
      case 'fixed_window':
        return this.L - this.used
      case 'sliding_window':
        return this.debt > 0 ? 0 : this.L - this.inSlots()
      case 'token_bucket':
        return floorDivide(this.scaled, this.W)
    }
  }

  take(amount: number): void {
    if (this.spec.algorithm === 'fixed_window') this.used += amount
    else if (this.spec.algorithm === 'sliding_window') this.add(amount)
    else this.scaled -= BigInt(amount) * BigInt(this.W)
  }

  settle(reserved: number, actual: number, booking: Booking): void {
    const refund = reserved - actual
    const known = booking.life === this.life
    switch (this.spec.algorithm) {
      case 'fixed_window':
        if (refund < 0) this.used -= refund
        else if (known && Math.floor(booking.at / this.W) === Math.floor(this.time / this.W))
          this.used = Math.max(0, this.used - refund)
        return
      case 'sliding_window': {
        const s0 = this.slotAt(booking.at)
        if (refund < 0) this.debt -= refund
        else if (known && this.slotAt(this.time) - s0 <= 12)
          this.slots.set(s0, Math.max(0, (this.slots.get(s0) ?? 0) - refund))
        this.pay()
        return
      }
      case 'token_bucket': {
        // B / rate, in milliseconds.
        const tooOld = BigInt(this.time - booking.at) * BigInt(this.L) > this.fullBucket()
        if (refund > 0 && (!known || tooOld)) return
        const settled = this.scaled + BigInt(refund) * BigInt(this.W)
        this.scaled = settled < this.fullBucket() ? settled : this.fullBucket()
      }
    }
  }

  remaining(): number {
    if (this.spec.algorithm === 'token_bucket') return Math.max(0, floorDivide(this.scaled, this.W))
    if (this.spec.algorithm === 'fixed_window') return Math.max(0, this.L - this.used)
    return Math.max(0, this.L - this.inSlots())
  }

  reset(): number {
    const { L, W, time: t } = this
    switch (this.spec.algorithm) {
      case 'fixed_window':
        return (Math.floor(t / W) + Math.max(1, Math.ceil(this.used / L))) * W - t
      case 'sliding_window': {
        const full = [...this.slots].filter(([slot, amount]) => amount > 0 && slot >= this.slotAt(t) - 12)
        const newest = Math.max(...full.map(([slot]) => slot))
        return (full.length > 0 ? this.borderOf(newest + 13) - t : 0) + Math.ceil(this.debt / L) * W
      }
      case 'token_bucket':
        return ceilDivide(this.fullBucket() - this.scaled, L)
    }
  }

  retryAfter(r: number): number {
    const { L, W, time: t } = this
    if (r > (this.spec.algorithm === 'token_bucket' ? this.burst : L)) return Number.POSITIVE_INFINITY
    switch (this.spec.algorithm) {
      case 'fixed_window':
        if (this.used + r <= L) return 0
        return (Math.floor(t / W) + Math.max(1, Math.ceil((this.used + r - L) / L))) * W - t
      case 'sliding_window': {
        const waited = Math.ceil(this.debt / L) * W
        const s = this.slotAt(t)
        for (let border = s; border <= s + 13; border++) {
          let used = 0
          for (const [slot, amount] of this.slots) if (slot >= border - 12 && slot <= s) used += amount
          if (used <= L - r) return (border === s ? 0 : this.borderOf(border) - t) + waited
        }
        throw new Error('unreachable')
      }
      case 'token_bucket': {
        const lacking = BigInt(r) * BigInt(W) - this.scaled
        return lacking > 0n ? ceilDivide(lacking, L) : 0
      }
    }
  }
}

export interface ReferenceResult {
  readonly admitted: boolean
  readonly clippedTo: number | undefined
  readonly claims: readonly {
    readonly at: number
    readonly reserved: number
    readonly remaining: number
    readonly resetMs: number
    readonly retryAfterMs: number | undefined
  }[]
}

export class ReferenceStore {
  readonly counters = new Map<string, Counter>()
  readonly settled = new Set<string>()
  /** Which life of its counter each claim of a reservation was taken from. */
  readonly lives = new Map<string, Map<string, Counter>>()
  readonly bookings = new Map<string, Map<string, Booking>>()

  reserve(request: ReserveRequest, now: number): ReferenceResult {
    const seats = request.claims.map((claim) => {
      const counter = this.counters.get(claim.key) ?? new Counter(claim.counter, now)
      this.counters.set(claim.key, counter)
      counter.touch(now)
      return { claim, counter, room: counter.room() - claim.input }
    })
    const enforced = seats.filter(({ claim }) => !claim.shadow)
    const clipping = enforced.filter(({ claim, room }) => room < claim.want && claim.clip && room >= claim.floor)
    const stuck = enforced.filter((seat) => seat.room < seat.claim.want && !clipping.includes(seat))
    const clippedTo = Math.min(...clipping.map(({ room }) => room))
    const floor = Math.max(0, ...clipping.map(({ claim }) => claim.floor))
    const admitted = stuck.length === 0 && clippedTo >= floor
    const claims = seats.map(({ claim, counter, room }) => {
      const want = admitted ? Math.min(claim.want, clippedTo) : claim.want
      const leastUseful = claim.shadow ? claim.floor : Math.max(claim.floor, floor)
      const needed = claim.clip ? Math.min(want, leastUseful) : want
      const fits = room >= needed
      const reserved = fits && admitted ? claim.input + Math.min(room, want) : 0
      counter.take(reserved)
      return {
        at: counter.time,
        reserved,
        remaining: counter.remaining(),
        resetMs: counter.reset(),
        retryAfterMs: fits ? undefined : counter.retryAfter(claim.input + needed),
      }
    })
    this.lives.set(request.id, new Map(seats.map(({ claim, counter }) => [claim.key, counter])))
    this.bookings.set(
      request.id,
      new Map(seats.map(({ claim, counter }) => [claim.key, { life: counter.life, at: counter.time }])),
    )
    return { admitted, clippedTo: admitted && clipping.length > 0 ? clippedTo : undefined, claims }
  }

  settle(settlement: Settlement, now: number): boolean {
    if (this.settled.has(settlement.id)) return false
    this.settled.add(settlement.id)
    for (const entry of settlement.entries) {
      if (entry.actual === entry.reserved) continue
      let counter = this.counters.get(entry.key)
      if (counter === undefined) {
        if (entry.actual < entry.reserved) continue
        counter = new Counter(entry.counter, now)
        this.counters.set(entry.key, counter)
      }
      counter.touch(now)
      const same = this.lives.get(settlement.id)?.get(entry.key) === counter
      const booking = this.bookings.get(settlement.id)?.get(entry.key)
      counter.settle(entry.reserved, entry.actual, same && booking ? booking : { life: -1, at: entry.at })
    }
    return true
  }

  reset(key: string): void {
    this.counters.delete(key)
  }
}

export function claimWith(parts: Partial<Claim> & Pick<Claim, 'key' | 'counter'>): Claim {
  return {
    rule: 'rule',
    unit: 'total_tokens',
    input: 0,
    want: 0,
    clip: false,
    floor: 0,
    shadow: false,
    ...parts,
  }
}

function floorDivide(a: bigint, b: number): number {
  const quotient = a / BigInt(b)
  return Number(a < 0n && quotient * BigInt(b) !== a ? quotient - 1n : quotient)
}

function ceilDivide(a: bigint, b: number): number {
  // Not a negative zero.
  return 0 - floorDivide(-a, b)
}
