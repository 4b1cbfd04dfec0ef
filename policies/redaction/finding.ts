/** What the detectors hand to each other. */

/** One masked range. Offsets are UTF-16 code units of the input, `end` exclusive. */
export interface Finding {
  /** Label of the placeholder, such as `EMAIL`. */
  readonly type: string
  readonly start: number
  readonly end: number
}

/** Groups of detectors that can be switched off or, for names and addresses, on. */
export type Family = 'pii' | 'national' | 'secret' | 'person' | 'custom'

/** A finding before overlaps are settled. The higher priority names the union. */
export interface Candidate extends Finding {
  readonly priority: number
}

/** Checksummed or prefixed beats shaped, shaped beats guessed. */
export const PRIORITY = {
  custom: 90,
  vendor: 80,
  checked: 70,
  shaped: 60,
  assigned: 50,
  guessed: 40,
  person: 30,
} as const

/**
 * Settles overlaps: ranges that touch the same text become one range of the strongest type, so that nothing found
 * stays readable.
 */
export function settle(candidates: readonly Candidate[]): Finding[] {
  if (candidates.length === 0) return []
  const sorted = [...candidates].sort((a, b) => a.start - b.start || b.end - a.end)
  const settled: Finding[] = []
  let current: Candidate | undefined
  for (const next of sorted) {
    if (current === undefined || next.start >= current.end) {
      if (current !== undefined) settled.push({ type: current.type, start: current.start, end: current.end })
      current = next
      continue
    }
    const strongest: Candidate = next.priority > current.priority ? next : current
    current = {
      type: strongest.type,
      priority: strongest.priority,
      start: current.start,
      end: Math.max(current.end, next.end),
    }
  }
  if (current !== undefined) settled.push({ type: current.type, start: current.start, end: current.end })
  return settled
}
