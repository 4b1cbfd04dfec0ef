/** A map that forgets what was not asked for lately, so that no flood of keys makes it grow. */

export interface BoundedMap<V> {
  get(key: string): V | undefined
  set(key: string, value: V): void
  delete(key: string): void
  readonly size: number
}

/** @param generation at most twice as many entries are kept */
export function createBoundedMap<V>(generation: number): BoundedMap<V> {
  let current = new Map<string, V>()
  let previous = new Map<string, V>()

  function set(key: string, value: V): void {
    if (current.size >= generation && !current.has(key)) {
      previous = current
      current = new Map()
    }
    previous.delete(key)
    current.set(key, value)
  }

  return {
    get(key) {
      const value = current.get(key)
      if (value !== undefined) return value
      const old = previous.get(key)
      if (old !== undefined) set(key, old)
      return old
    },
    set,
    delete(key) {
      current.delete(key)
      previous.delete(key)
    },
    get size() {
      return current.size + previous.size
    },
  }
}
