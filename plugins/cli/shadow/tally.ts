/** Adds up who would have been refused, and why. */

import type { SeenRecord } from './read.ts'

export interface Count {
  requests: number
  wouldReject: number
  refused: number
  /** Spent by requests that would have been refused. */
  tokens: number
}

export interface Cause extends Count {
  readonly consumer: string
  readonly code: string
  /** Name of the limit, or the missing scope; empty where the code says it all. */
  readonly rule: string
  readonly model: string
  readonly route: string
}

export interface Tally {
  readonly all: Count
  /** Epoch milliseconds; undefined without a record. */
  from?: number
  to?: number
  readonly consumers: ReadonlyMap<string, Count>
  readonly models: ReadonlyMap<string, Count>
  /** Only those of which something would have been refused. */
  readonly causes: ReadonlyMap<string, Cause>
  /** Names beyond those that are kept apart. */
  readonly crowded: boolean
}

/** A client may make up models without end. */
const MOST_NAMES = 50_000
const OTHERS = '(others)'

export interface Tallying {
  add(record: SeenRecord): void
  readonly tally: Tally
}

export function createTally(): Tallying {
  const consumers = new Map<string, Count>()
  const models = new Map<string, Count>()
  const causes = new Map<string, Cause>()
  const tally = { all: empty(), consumers, models, causes, crowded: false } as Tally & { crowded: boolean }

  function named<C extends Count>(map: Map<string, C>, key: string, make: () => C, others: string, rest: () => C): C {
    const known = map.get(key)
    if (known !== undefined) return known
    const full = map.size >= MOST_NAMES
    if (full) tally.crowded = true
    const at = full ? others : key
    const counted = (full ? map.get(others) : undefined) ?? (full ? rest() : make())
    map.set(at, counted)
    return counted
  }

  return {
    tally,
    add(record) {
      const { consumer, model, route, time } = record
      tally.from = Math.min(tally.from ?? time, time)
      tally.to = Math.max(tally.to ?? time, time)
      increase(tally.all, record)
      increase(named(consumers, consumer, empty, OTHERS, empty), record)
      increase(named(models, model, empty, OTHERS, empty), record)
      for (const { code, rule } of record.wouldReject) {
        const make = (): Cause => ({ ...empty(), consumer, code, rule, model, route })
        const rest = (): Cause => ({ ...empty(), consumer: OTHERS, code, rule: '', model: OTHERS, route: OTHERS })
        const key = JSON.stringify([consumer, code, rule, model, route])
        increase(named(causes, key, make, JSON.stringify([OTHERS, code]), rest), record)
      }
    },
  }
}

function empty(): Count {
  return { requests: 0, wouldReject: 0, refused: 0, tokens: 0 }
}

function increase(count: Count, { weight, wouldReject, refused, tokens }: SeenRecord): void {
  count.requests += weight
  if (refused) count.refused += weight
  if (wouldReject.length === 0) return
  count.wouldReject += weight
  count.tokens += tokens * weight
}
