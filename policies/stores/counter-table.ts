/** Counters by key, packed into records of a few numbers: a million of them cost little more than their keys. */

import { type CounterState, clearSlots, LIVE_SLOTS, SEVERAL } from './counter-state.ts'
import type { CounterSpec } from './ports.ts'

/** A short record: at, epoch, amount, and the only slot that holds anything with what it holds. */
const SHORT = 5
/** A long one: at, epoch, amount, and every slot. */
const LONG = 3 + LIVE_SLOTS

const RECORDS_PER_CHUNK = 4096

/** Names a record until the counter is saved or removed. */
export type Handle = number
export const NO_COUNTER: Handle = -1

export interface CounterTable {
  readonly size: number
  /** {@link NO_COUNTER} when there is none. */
  find(key: string): Handle
  load(handle: Handle, state: CounterState): void
  specOf(handle: Handle): CounterSpec
  /** Writes a counter back to `handle`, or adds it when that is {@link NO_COUNTER}. */
  save(handle: Handle, key: string, counter: CounterSpec, state: CounterState): void
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

  return {
    get size() {
      return handles.size
    },

    find: (key) => handles.get(key) ?? NO_COUNTER,

    specOf(handle) {
      const spec = slabOf(handle).specs[handle >> 1]
      if (spec === undefined) throw new RangeError('no such counter')
      return spec
    },

    load(handle, state) {
      const slab = slabOf(handle)
      const index = handle >> 1
      const chunk = slab.chunks[Math.floor(index / RECORDS_PER_CHUNK)] as Float64Array
      const offset = (index % RECORDS_PER_CHUNK) * slab.width
      state.at = chunk[offset] as number
      state.epoch = chunk[offset + 1] as number
      state.amount = chunk[offset + 2] as number
      clearSlots(state)
      if (slab === long) {
        state.only = SEVERAL
        for (let slot = 0; slot < LIVE_SLOTS; slot++) {
          const held = chunk[offset + 3 + slot] as number
          state.slots[slot] = held
          state.booked += held
        }
      } else {
        state.only = chunk[offset + 3] as number
        state.booked = chunk[offset + 4] as number
        state.slots[state.only] = state.booked
      }
    },

    save(handle, key, counter, state) {
      const isLong = state.only === SEVERAL && !findOnly(state)
      let place = handle
      if (handle === NO_COUNTER || (handle & 1) !== (isLong ? 1 : 0)) {
        if (handle !== NO_COUNTER) release(handle)
        place = add(key, isLong)
      }
      const slab = slabOf(place)
      const index = place >> 1
      slab.specs[index] = counter
      const chunk = slab.chunks[Math.floor(index / RECORDS_PER_CHUNK)] as Float64Array
      const offset = (index % RECORDS_PER_CHUNK) * slab.width
      chunk[offset] = state.at
      chunk[offset + 1] = state.epoch
      chunk[offset + 2] = state.amount
      if (isLong) {
        for (let slot = 0; slot < LIVE_SLOTS; slot++) chunk[offset + 3 + slot] = state.slots[slot] as number
      } else {
        chunk[offset + 3] = state.only
        chunk[offset + 4] = state.booked
      }
    },

    remove(key) {
      const handle = handles.get(key)
      if (handle === undefined) return
      handles.delete(key)
      release(handle)
    },

    visit(count, visitor) {
      for (let left = count; left > 0; left--) {
        if (visited >= short.keys.length + long.keys.length) visited = 0
        const slab = visited < short.keys.length ? short : long
        const index = slab === short ? visited : visited - short.keys.length
        visited++
        const key = slab.keys[index]
        if (key === undefined) continue
        const chunk = slab.chunks[Math.floor(index / RECORDS_PER_CHUNK)] as Float64Array
        const touchedAt = chunk[(index % RECORDS_PER_CHUNK) * slab.width] as number
        visitor(key, index * 2 + (slab === long ? 1 : 0), touchedAt)
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

/** Whether one slot holds all there is; `state.only` then says which. */
function findOnly(state: CounterState): boolean {
  let found = SEVERAL
  for (let slot = 0; slot < LIVE_SLOTS; slot++) {
    if (state.slots[slot] === 0) continue
    if (found !== SEVERAL) return false
    found = slot
  }
  state.only = Math.max(0, found)
  return true
}
