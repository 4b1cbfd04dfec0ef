/** Counters by key, in as little memory as their state allows. */

import { type CounterState, LIVE_SLOTS, SLOTS_PER_WINDOW, windowMs } from './counter-state.ts'
import type { CounterSpec } from './ports.ts'
import { createSlab } from './slab.ts'

/** A short record: at, epoch, amount, and the booking of the newest slot. */
const SHORT = 4
/** A long one: at, epoch, amount, and every slot. */
const LONG = 3 + LIVE_SLOTS

export interface CounterTable {
  readonly size: number
  has(key: string): boolean
  /** Reads a counter into `state`; false when there is none. */
  load(key: string, state: CounterState): boolean
  save(key: string, counter: CounterSpec, state: CounterState): void
  remove(key: string): void
  specOf(key: string): CounterSpec | undefined
  /** Epoch milliseconds of the last touch. */
  touchedAt(key: string): number | undefined
  keys(): IterableIterator<string>
}

export function createCounterTable(): CounterTable {
  /** Twice the index of the record, plus one for a long one. */
  const handles = new Map<string, number>()
  const slabs = [createSlab(SHORT), createSlab(LONG)] as const
  const specs: [(CounterSpec | undefined)[], (CounterSpec | undefined)[]] = [[], []]

  function slabOf(handle: number) {
    return handle % 2 === 0 ? slabs[0] : slabs[1]
  }

  function specsOf(handle: number) {
    return handle % 2 === 0 ? specs[0] : specs[1]
  }

  function free(handle: number): void {
    slabOf(handle).remove(handle >> 1)
    specsOf(handle)[handle >> 1] = undefined
  }

  function load(key: string, state: CounterState): boolean {
    const handle = handles.get(key)
    if (handle === undefined) return false
    const slab = slabOf(handle)
    const chunk = slab.chunkOf(handle >> 1)
    const offset = slab.offsetOf(handle >> 1)
    state.at = chunk[offset] ?? 0
    state.epoch = chunk[offset + 1] ?? 0
    state.amount = chunk[offset + 2] ?? 0
    const spec = specsOf(handle)[handle >> 1]
    if (spec?.algorithm !== 'sliding_window') return true
    if (handle % 2 === 0) {
      state.slots.fill(0)
      state.slots[newestSlot(spec, state)] = chunk[offset + 3] ?? 0
    } else {
      for (let index = 0; index < LIVE_SLOTS; index++) state.slots[index] = chunk[offset + 3 + index] ?? 0
    }
    return true
  }

  function save(key: string, counter: CounterSpec, state: CounterState): void {
    const sliding = counter.algorithm === 'sliding_window'
    const newest = sliding ? newestSlot(counter, state) : 0
    const long = sliding && !onlySlot(state, newest)
    let handle = handles.get(key)
    if (handle === undefined || (handle % 2 === 1) !== long) {
      if (handle !== undefined) free(handle)
      handle = (long ? slabs[1] : slabs[0]).add() * 2 + (long ? 1 : 0)
      handles.set(key, handle)
    }
    specsOf(handle)[handle >> 1] = counter
    const slab = slabOf(handle)
    const chunk = slab.chunkOf(handle >> 1)
    const offset = slab.offsetOf(handle >> 1)
    chunk[offset] = state.at
    chunk[offset + 1] = state.epoch
    chunk[offset + 2] = state.amount
    if (long) chunk.set(state.slots, offset + 3)
    else if (sliding) chunk[offset + 3] = state.slots[newest] ?? 0
  }

  return {
    get size() {
      return handles.size
    },
    has: (key) => handles.has(key),
    load,
    save,
    remove(key) {
      const handle = handles.get(key)
      if (handle === undefined) return
      free(handle)
      handles.delete(key)
    },
    specOf(key) {
      const handle = handles.get(key)
      return handle === undefined ? undefined : specsOf(handle)[handle >> 1]
    },
    touchedAt(key) {
      const handle = handles.get(key)
      if (handle === undefined) return undefined
      const slab = slabOf(handle)
      return slab.chunkOf(handle >> 1)[slab.offsetOf(handle >> 1)]
    },
    keys: () => handles.keys(),
  }
}

function newestSlot(counter: CounterSpec, state: CounterState): number {
  return Math.floor((state.at * SLOTS_PER_WINDOW) / windowMs(counter)) % LIVE_SLOTS
}

function onlySlot(state: CounterState, only: number): boolean {
  for (let index = 0; index < LIVE_SLOTS; index++) {
    if (index !== only && state.slots[index] !== 0) return false
  }
  return true
}
