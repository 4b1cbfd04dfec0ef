/** A request's claims by the hashes they lie in: in a cluster each is a script of its own, one after the other. */

import type { Claim, ClaimResult, ReserveRequest, SettleEntry } from '../ports.ts'
import type { Admission } from './counters.ts'
import { placeOf } from './keys.ts'

export interface Group {
  readonly hash: string
  readonly claims: readonly Claim[]
  /** Where the claims stand in the request. */
  readonly indexes: readonly number[]
}

/**
 * First the caller's, then from the narrowest to the widest, so that a refused caller never touches a counter that many
 * share. The limit tells how wide a counter is.
 */
export function groupClaims(prefix: string, { claims }: ReserveRequest): readonly Group[] {
  const groups = new Map<string, { claims: Claim[]; indexes: number[] }>()
  for (const [index, claim] of claims.entries()) {
    const { hash } = placeOf(prefix, claim)
    const group = groups.get(hash) ?? { claims: [], indexes: [] }
    group.claims.push(claim)
    group.indexes.push(index)
    groups.set(hash, group)
  }
  return [...groups].map(([hash, group]) => ({ hash, ...group })).sort((a, b) => widthOf(a) - widthOf(b))
}

function widthOf({ claims: [claim] }: Group): number {
  if (claim === undefined || claim.caller !== undefined) return 0
  return claim.counter.limit / claim.counter.windowSeconds
}

export function groupEntries(prefix: string, entries: readonly SettleEntry[]): ReadonlyMap<string, SettleEntry[]> {
  const groups = new Map<string, SettleEntry[]>()
  for (const entry of entries) {
    const { hash } = placeOf(prefix, entry)
    const group = groups.get(hash)
    if (group === undefined) groups.set(hash, [entry])
    else group.push(entry)
  }
  return groups
}

/** What to settle so that no claim of an admitted group holds more output than `atMost`; `undefined` gives all back. */
export function entriesToShrink(
  claims: readonly Claim[],
  admission: Admission,
  atMost: number | undefined,
): readonly SettleEntry[] {
  const seen = new Set<string>()
  return claims.flatMap((claim, index) => {
    const taken = admission.claims[index]
    if (taken === undefined || seen.has(taken.key)) return []
    const { key, at, epoch, reserved } = taken
    seen.add(key)
    const actual = atMost === undefined ? 0 : Math.min(reserved, claim.input + Math.min(claim.want, atMost))
    if (actual === reserved) return []
    const { caller, counter } = claim
    return [{ key, ...(caller === undefined ? {} : { caller }), counter, at, epoch, reserved, actual }]
  })
}

/** The result of a claim after what {@link entriesToShrink} asked for was given back. */
export function shrunk(result: ClaimResult, entries: readonly SettleEntry[]): ClaimResult {
  const entry = entries.find(({ key }) => key === result.key)
  if (entry === undefined) return result
  return { ...result, reserved: entry.actual, remaining: result.remaining + entry.reserved - entry.actual }
}
