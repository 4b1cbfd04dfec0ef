/** What settling taught about each caller and model. One process-wide table, bounded; forgetting only costs accuracy. */

import { forgetOldest } from '../forget-oldest.ts'
import type { OutputEstimate } from './expected-output.ts'

export interface Learned {
  /** Per candidate. */
  readonly output?: OutputEstimate
  /** Real input tokens by estimated ones; see `correctRatio`. */
  readonly inputRatio?: number
  /** Input tokens of the last settled request. */
  readonly lastInput?: number
}

export interface LearnedTable {
  get(key: string): Learned | undefined
  set(key: string, learned: Learned): void
}

const MAX_ENTRIES = 10_000

export function createLearnedTable(maxEntries = MAX_ENTRIES): LearnedTable {
  // In the order of last use: a Map keeps the order of insertion.
  const entries = new Map<string, Learned>()
  return {
    get(key) {
      const learned = entries.get(key)
      if (learned === undefined) return undefined
      entries.delete(key)
      entries.set(key, learned)
      return learned
    },
    set(key, learned) {
      entries.delete(key)
      entries.set(key, learned)
      forgetOldest(entries, maxEntries)
    },
  }
}
