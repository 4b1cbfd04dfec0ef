/** A set of ids that forgets the oldest: bounded in time and memory. */

/** No request runs that long. */
const GENERATION_MS = 6 * 3_600_000
const GENERATION_SIZE = 250_000

export interface RecentIds {
  has(id: string): boolean
  add(id: string, t: number): void
}

export function createRecentIds(): RecentIds {
  let current = new Set<string>()
  let previous = new Set<string>()
  let since: number | undefined
  return {
    has: (id) => current.has(id) || previous.has(id),
    add(id, t) {
      since ??= t
      if (current.size >= GENERATION_SIZE || Math.abs(t - since) >= GENERATION_MS) {
        previous = current
        current = new Set()
        since = t
      }
      current.add(id)
    },
  }
}
