/** Counters by key, packed into records of a few numbers: a million of them cost little more than their keys. */

import { type CounterState, freshSlots, LIVE_SLOTS, SEVERAL } from './counter-state.ts'
import type { CounterSpec } from './ports.ts'

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
export const NO_COUNTER: Handle = -1

export interface CounterTable {
  readonly size: number
  /** {@link NO_COUNTER} when there is none. */
  find(key: string): Handle
  /** The same, quicker when `hint` is the handle that the counter had a moment ago. */
  findAt(hint: Handle, key: string): Handle
  /** Reads a counter to change it: `state` may use the table's own slots, so it has to be saved again. */
  load(handle: Handle, state: CounterState): void
  /** Reads a counter to look at it. */
  peek(handle: Handle, state: CounterState): void
  specOf(handle: Handle): CounterSpec
  /** Writes a counter back to `handle`, or adds it when that is {@link NO_COUNTER}. Its handle may be another then. */
  save(handle: Handle, key: string, counter: CounterSpec, state: CounterState): Handle
  remove(key: string): void
  /** Visits the next few counters in turn: their keys and when they were last touched. */
  visit(count: number, visitor: (key: string, handle: Handle, touchedAt: number) => void): void
  keys(): IterableIterator<string>
}

/** Records of one width. */
interface Slab {
  readonly width: number
  readonly chunks: Float64Array[]
  /** By index; undefined where a record is free. */
  readonly keys: (string | undefined)[]
  readonly specs: (CounterSpec | undefined)[]
  readonly free: number[]
}

export function createCounterTable(): CounterTable {
  /** Twice the index of the record, plus one for a long one. */
  const handles = new Map<string, Handle>()
  const short = createSlab(SHORT)
  const long = createSlab(LONG)
  let visited = 0
  // Asking a Map for its size costs more than adding up.
  let size = 0

  const slabOf = (handle: Handle) => ((handle & 1) === 0 ? short : long)

  function add(key: string, isLong: boolean): Handle {
    const slab = isLong ? long : short
    const index = slab.free.pop() ?? slab.keys.length
    if (index === slab.chunks.length * RECORDS_PER_CHUNK)
      slab.chunks.push(new Float64Array(RECORDS_PER_CHUNK * slab.width))
    slab.keys[index] = key
    const handle = index * 2 + (isLong ? 1 : 0)
    handles.set(key, handle)
    return handle
  }

  function release(handle: Handle): void {
    const slab = slabOf(handle)
    slab.keys[handle >> 1] = undefined
    slab.specs[handle >> 1] = undefined
    slab.free.push(handle >> 1)
    if (slab.free.length === slab.keys.length) clear(slab)
  }

  function load(handle: Handle, state: CounterState): void {
    const slab = slabOf(handle)
    const chunk = chunkOf(slab, handle)
    const offset = offsetOf(slab, handle)
    freshSlots(state)
    state.at = chunk[offset] as number
    state.epoch = chunk[offset + 1] as number
    state.amount = chunk[offset + 2] as number
    state.booked = chunk[offset + 3] as number
    if (slab === long) {
      state.only = SEVERAL
      state.slots = chunk
      state.base = offset + 4
    } else {
      state.only = chunk[offset + 4] as number
      state.slots[state.only] = state.booked
    }
  }

  return {
    get size() {
      return size
    },

    find: (key) => handles.get(key) ?? NO_COUNTER,

    findAt: (hint, key) => (slabOf(hint).keys[hint >> 1] === key ? hint : (handles.get(key) ?? NO_COUNTER)),

    specOf(handle) {
      const spec = slabOf(handle).specs[handle >> 1]
      if (spec === undefined) throw new RangeError('no such counter')
      return spec
    },

    load,

    peek(handle, state) {
      load(handle, state)
      if (state.slots === state.own) return
      state.own.set(state.slots.subarray(state.base, state.base + LIVE_SLOTS))
      state.slots = state.own
      state.base = 0
    },

    save(handle, key, counter, state) {
      const isLong = state.only === SEVERAL
      let place = handle
      if (handle === NO_COUNTER || (handle & 1) !== (isLong ? 1 : 0)) {
        // The key that is there already: another string of the same text would cost its memory again.
        const kept = handle === NO_COUNTER ? key : (slabOf(handle).keys[handle >> 1] ?? key)
        if (handle !== NO_COUNTER) release(handle)
        else size++
        place = add(kept, isLong)
      }
      const slab = slabOf(place)
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
    },

    remove(key) {
      const handle = handles.get(key)
      if (handle === undefined) return
      handles.delete(key)
      release(handle)
      size--
    },

    visit(count, visitor) {
      let holes = HOLES_PER_VISIT * count
      for (let left = count; left > 0; left--) {
        if (visited >= short.keys.length + long.keys.length) visited = 0
        const slab = visited < short.keys.length ? short : long
        const index = slab === short ? visited : visited - short.keys.length
        visited++
        const key = slab.keys[index]
        if (key === undefined) {
          if (holes-- > 0) left++
          continue
        }
        const handle = index * 2 + (slab === long ? 1 : 0)
        visitor(key, handle, chunkOf(slab, handle)[offsetOf(slab, handle)] as number)
      }
    },

    keys: () => handles.keys(),
  }
}

function createSlab(width: number): Slab {
  return { width, chunks: [], keys: [], specs: [], free: [] }
}

/** Nothing is left in it: gives the memory back. */
function clear(slab: Slab): void {
  slab.chunks.length = 0
  slab.keys.length = 0
  slab.specs.length = 0
  slab.free.length = 0
}

function chunkOf(slab: Slab, handle: Handle): Float64Array {
  return slab.chunks[handle >> (CHUNK_BITS + 1)] as Float64Array
}

function offsetOf(slab: Slab, handle: Handle): number {
  return ((handle >> 1) & (RECORDS_PER_CHUNK - 1)) * slab.width
}
