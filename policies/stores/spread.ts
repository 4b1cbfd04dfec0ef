/** Keeps a caller from minting counters: an owner has at most 64 live values of its description parts. */

export const MAX_MEMBERS = 64

export interface Spread {
  /**
   * Whether `key` may have a counter of its own; `live` tells if a key still counts anything.
   * @param joining how many others the same request is about to add
   */
  admits(owner: string, key: string, joining: number, live: (key: string) => boolean): boolean
  /** Remembers a key that {@link admits} let in and that was then used. */
  add(owner: string, key: string): void
  /** Looks at one owner and forgets what is idle. */
  sweep(live: (key: string) => boolean): void
  readonly size: number
}

export function createSpread(): Spread {
  const owners = new Map<string, Set<string>>()
  let cursor = owners.keys()

  function prune(owner: string, keys: Set<string>, live: (key: string) => boolean): void {
    for (const key of keys) if (!live(key)) keys.delete(key)
    if (keys.size === 0) owners.delete(owner)
  }

  return {
    admits(owner, key, joining, live) {
      const keys = owners.get(owner)
      if (keys === undefined) return joining < MAX_MEMBERS
      if (keys.has(key) || keys.size + joining < MAX_MEMBERS) return true
      prune(owner, keys, live)
      return keys.size + joining < MAX_MEMBERS
    },
    add(owner, key) {
      const keys = owners.get(owner)
      if (keys === undefined) owners.set(owner, new Set([key]))
      else keys.add(key)
    },
    sweep(live) {
      if (owners.size === 0) return
      let next = cursor.next()
      if (next.done) {
        cursor = owners.keys()
        next = cursor.next()
      }
      if (next.done) return
      const keys = owners.get(next.value)
      if (keys !== undefined) prune(next.value, keys, live)
    },
    get size() {
      return owners.size
    },
  }
}
