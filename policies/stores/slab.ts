/** Records of a few numbers each, packed: a million of them cost their numbers and nothing else. */

const RECORDS_PER_CHUNK = 4096

export interface Slab {
  /** The index of a free record. */
  add(): number
  remove(index: number): void
  /** The chunk that holds a record; its numbers begin at {@link offsetOf}. */
  chunkOf(index: number): Float64Array
  offsetOf(index: number): number
}

/** @param width numbers in a record */
export function createSlab(width: number): Slab {
  const chunks: Float64Array[] = []
  const free: number[] = []
  let next = 0
  return {
    add() {
      const reused = free.pop()
      if (reused !== undefined) return reused
      if (next === chunks.length * RECORDS_PER_CHUNK) chunks.push(new Float64Array(RECORDS_PER_CHUNK * width))
      return next++
    },
    remove(index) {
      free.push(index)
      if (free.length < next) return
      // Nothing is left: give the memory back.
      chunks.length = 0
      free.length = 0
      next = 0
    },
    chunkOf(index) {
      const chunk = chunks[Math.floor(index / RECORDS_PER_CHUNK)]
      if (chunk === undefined) throw new RangeError('slab index')
      return chunk
    },
    offsetOf: (index) => (index % RECORDS_PER_CHUNK) * width,
  }
}
