/** Counters by key, packed into records of a few numbers: a million of them cost little more than their keys. */

import type { CounterState } from './counter-state.ts'
import type { CounterSpec } from './ports.ts'
import { freshSlots, LIVE_SLOTS, SEVERAL } from './sliding-window.ts'

// What a module imports or exports is looked up at every use; what it keeps to itself is compiled in.
const fresh = freshSlots
const MANY = SEVERAL
const NONE = -1

/** A short record: at, epoch, amount, booked, and the only slot that holds it. */
const SHORT = 5
/** A long one: at, epoch, amount, booked, and every slot. */
const LONG = 4 + LIVE_SLOTS

const CHUNK_BITS = 12
const RECORDS_PER_CHUNK = 1 << CHUNK_BITS

/** Free records passed over for each counter visited. */
const HOLES_PER_VISIT = 4

/** Names a record until the counter is saved or removed. */
export type Handle = number
export const NO_COUNTER: Handle = NONE

/** Records of one width. */
interface Slab {
  readonly width: number
  readonly chunks: Float64Array[]
  /** By index; undefined where a record is free. */
  readonly keys: (string | undefined)[]
  readonly specs: (CounterSpec | undefined)[]
  /** The counter that was asked for after this one: requests of one caller ask for the same ones. Only a hint. */
  readonly followers: Handle[]
  readonly free: number[]
}

/** A class, because its methods are compiled once for all tables. */
export class CounterTable {
  /** Twice the index of the record, plus one for a long one. */
  readonly #handles = new Map<string, Handle>()
  readonly #short = createSlab(SHORT)
  readonly #long = createSlab(LONG)
  #visited = 0
  // Asking a Map for its size costs more than adding up.
  #size = 0

  get size(): number {
    return this.#size
  }

  keys(): IterableIterator<string> {
    return this.#handles.keys()
  }

  /** {@link NO_COUNTER} when there is none. */
  find(key: string): Handle {
    return this.#handles.get(key) ?? NONE
  }

  /** The same, quicker when `hint` is the handle that the counter had a moment ago. */
  findAt(hint: Handle, key: string): Handle {
    return this.#slabOf(hint).keys[hint >> 1] === key ? hint : this.find(key)
  }

  /** {@link find} for the counter that a request names after the one at `before`. */
  findAfter(before: Handle, key: string): Handle {
    if (before === NONE) return this.find(key)
    const { followers } = this.#slabOf(before)
    const hint = followers[before >> 1] ?? NONE
    const handle = this.findAt(hint, key)
    if (handle !== hint) followers[before >> 1] = handle
    return handle
  }

  specOf(handle: Handle): CounterSpec {
    const spec = this.#slabOf(handle).specs[handle >> 1]
    if (spec === undefined) throw new RangeError('no such counter')
    return spec
  }

  /** Reads a counter to change it: `state` may use the table's own slots, so it has to be saved again. */
  load(handle: Handle, state: CounterState): void {
    const slab = this.#slabOf(handle)
    const chunk = chunkOf(slab, handle)
    const offset = offsetOf(slab, handle)
    fresh(state)
    state.at = chunk[offset] as number
    state.epoch = chunk[offset + 1] as number
    state.amount = chunk[offset + 2] as number
    state.booked = chunk[offset + 3] as number
    if (slab === this.#long) {
      state.only = MANY
      state.slots = chunk
      state.base = offset + 4
    } else {
      state.only = chunk[offset + 4] as number
      state.slots[state.only] = state.booked
    }
  }

  /** Reads a counter to look at it. */
  peek(handle: Handle, state: CounterState): void {
    this.load(handle, state)
    if (state.slots === state.own) return
    state.own.set(state.slots.subarray(state.base, state.base + LIVE_SLOTS))
    state.slots = state.own
    state.base = 0
  }

  /** Writes a counter back to `handle`, or adds it when that is {@link NO_COUNTER}. Its handle may be another then. */
  save(handle: Handle, key: string, counter: CounterSpec, state: CounterState): Handle {
    const isLong = state.only === MANY
    const place = handle !== NONE && ((handle & 1) === 1) === isLong ? handle : this.#move(handle, key, isLong)
    const slab = this.#slabOf(place)
    if (slab.specs[place >> 1] !== counter) slab.specs[place >> 1] = counter
    const chunk = chunkOf(slab, place)
    const offset = offsetOf(slab, place)
    chunk[offset] = state.at
    chunk[offset + 1] = state.epoch
    chunk[offset + 2] = state.amount
    chunk[offset + 3] = state.booked
    if (!isLong) chunk[offset + 4] = state.only
    else if (state.slots !== chunk) chunk.set(state.slots.subarray(state.base, state.base + LIVE_SLOTS), offset + 4)
    return place
  }

  remove(key: string): void {
    const handle = this.#handles.get(key)
    if (handle === undefined) return
    this.#handles.delete(key)
    this.#release(handle)
    this.#size--
  }

  /** Visits the next few counters in turn: their keys and when they were last touched. */
  visit(count: number, visitor: (key: string, handle: Handle, touchedAt: number) => void): void {
    let holes = HOLES_PER_VISIT * count
    for (let left = count; left > 0; left--) {
      if (this.#visited >= this.#short.keys.length + this.#long.keys.length) this.#visited = 0
      const isLong = this.#visited >= this.#short.keys.length
      const slab = isLong ? this.#long : this.#short
      const index = isLong ? this.#visited - this.#short.keys.length : this.#visited
      this.#visited++
      const key = slab.keys[index]
      if (key === undefined) {
        if (holes-- > 0) left++
        continue
      }
      const handle = index * 2 + (isLong ? 1 : 0)
      visitor(key, handle, chunkOf(slab, handle)[offsetOf(slab, handle)] as number)
    }
  }

  #slabOf(handle: Handle): Slab {
    return (handle & 1) === 0 ? this.#short : this.#long
  }

  /** Gives a counter a record of the other width, or its first one. */
  #move(handle: Handle, key: string, isLong: boolean): Handle {
    if (handle === NONE) {
      this.#size++
      return this.#add(key, isLong)
    }
    // The key that is there already: another string of the same text would cost its memory again.
    const kept = this.#slabOf(handle).keys[handle >> 1] ?? key
    this.#release(handle)
    return this.#add(kept, isLong)
  }

  #add(key: string, isLong: boolean): Handle {
    const slab = isLong ? this.#long : this.#short
    const index = slab.free.pop() ?? slab.keys.length
    if (index === slab.chunks.length * RECORDS_PER_CHUNK)
      slab.chunks.push(new Float64Array(RECORDS_PER_CHUNK * slab.width))
    slab.keys[index] = key
    const handle = index * 2 + (isLong ? 1 : 0)
    this.#handles.set(key, handle)
    return handle
  }

  #release(handle: Handle): void {
    const slab = this.#slabOf(handle)
    slab.keys[handle >> 1] = undefined
    slab.specs[handle >> 1] = undefined
    slab.free.push(handle >> 1)
    if (slab.free.length === slab.keys.length) clear(slab)
  }
}

function createSlab(width: number): Slab {
  return { width, chunks: [], keys: [], specs: [], followers: [], free: [] }
}

/** Nothing is left in it: gives the memory back. */
function clear(slab: Slab): void {
  slab.chunks.length = 0
  slab.keys.length = 0
  slab.specs.length = 0
  slab.followers.length = 0
  slab.free.length = 0
}

function chunkOf(slab: Slab, handle: Handle): Float64Array {
  return slab.chunks[handle >> (CHUNK_BITS + 1)] as Float64Array
}

function offsetOf(slab: Slab, handle: Handle): number {
  return ((handle >> 1) & (RECORDS_PER_CHUNK - 1)) * slab.width
}
