/** Remembers settled reservations for a bounded time in bounded memory. */

/** A duplicate comes within seconds: a log phase after an abort, a retry after a lost answer. */
const GENERATION_MS = 120_000
const GENERATION_SIZE = 100_000

export interface SettledIds {
  /** False when the id was seen in the last two minutes or among the last 100,000. */
  add(id: string, t: number): boolean
}

export function createSettledIds(): SettledIds {
  let current = new Set<string>()
  let previous = new Set<string>()
  let since = 0
  return {
    add(id, t) {
      if (current.has(id) || previous.has(id)) return false
      if (current.size >= GENERATION_SIZE || Math.abs(t - since) >= GENERATION_MS) {
        previous = current
        current = new Set()
        since = t
      }
      current.add(id)
      return true
    },
  }
}
