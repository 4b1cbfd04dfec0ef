/** Holds keys to a policy of age and care. */

import { parseKey } from '../../../policies/api-key/index.ts'
import { DAY_MS } from '../../../policies/api-key/lifecycle.ts'
import { isReference } from './backends/credentials.ts'
import type { KeyVersion, ManagedKey } from './ports.ts'

export interface AuditRules {
  /** Milliseconds. */
  readonly maxAgeMs: number
  /** Milliseconds from which an age is worth a warning. */
  readonly warnAgeMs: number
  /** Least characters of a key that was not made by this pack. */
  readonly minLength: number
  /** Whether nobody knowing the age of a key breaks the policy. */
  readonly allowUnknownAge: boolean
}

/** What each finding means. Those of level `warn` break no policy. */
export const FINDINGS = {
  too_old: { level: 'error', meaning: 'older than the policy allows' },
  ageing: { level: 'warn', meaning: 'will soon be older than the policy allows' },
  unknown_age: { level: 'error', meaning: 'nobody knows when it was issued: rotate it, or tag it pc-issued:<date>' },
  issued_in_future: { level: 'error', meaning: 'says it was issued in the future, so its age never counts' },
  no_stable_id: { level: 'warn', meaning: 'has no stable id yet: rotate it, or tag it pc-id:<id>' },
  malformed: { level: 'error', meaning: 'has a tag pc-... that cannot be understood, or two of a kind' },
  expired: { level: 'warn', meaning: 'has expired and is still there: prune or revoke it' },
  overdue: { level: 'error', meaning: 'was replaced, its grace time is over, and it still works: prune it' },
  endless: { level: 'error', meaning: 'was replaced and has no end' },
  undelivered: { level: 'error', meaning: 'is valid but was perhaps never delivered: run rotate to take it up' },
  ambiguous: { level: 'error', meaning: 'has several current secrets' },
  duplicate: { level: 'error', meaning: 'is the same secret as another one' },
  shared_id: { level: 'error', meaning: 'has the stable id of another consumer’s key' },
  weak: { level: 'error', meaning: 'is short or easily guessed' },
} as const satisfies Record<string, { readonly level: 'error' | 'warn'; readonly meaning: string }>

export type FindingCode = keyof typeof FINDINGS

export interface Finding {
  readonly code: FindingCode
  readonly key: ManagedKey
  readonly version?: KeyVersion
}

/** A clock may be wrong by a day, as the gateway's own rule has it. */
const AHEAD_MS = DAY_MS

/** @param now epoch milliseconds */
export function auditKeys(keys: readonly ManagedKey[], rules: AuditRules, now: number): readonly Finding[] {
  const live = keys.filter(({ revoked }) => revoked !== true)
  const repeats = findRepeats(live)
  return live.flatMap((key) => [
    ...keyCodes(key, repeats).map((code): Finding => ({ code, key })),
    ...key.versions.flatMap((version) =>
      versionCodes(version, rules, repeats, now).map((code): Finding => ({ code, key, version })),
    ),
  ])
}

interface Repeats {
  readonly fingerprints: ReadonlyMap<string, number>
  readonly owners: ReadonlyMap<string, ReadonlySet<string>>
}

function findRepeats(keys: readonly ManagedKey[]): Repeats {
  const fingerprints = new Map<string, number>()
  const owners = new Map<string, Set<string>>()
  for (const { id, owner, versions } of keys) {
    if (id !== undefined) owners.set(id, (owners.get(id) ?? new Set()).add(owner))
    for (const { fingerprint } of versions)
      if (fingerprint !== undefined) fingerprints.set(fingerprint, (fingerprints.get(fingerprint) ?? 0) + 1)
  }
  return { fingerprints, owners }
}

function keyCodes(key: ManagedKey, { owners }: Repeats): FindingCode[] {
  return codes({
    no_stable_id: key.id === undefined,
    malformed: key.fixed?.includes('malformed') === true,
    ambiguous: key.versions.filter(({ state }) => state === 'current').length > 1,
    shared_id: key.id !== undefined && (owners.get(key.id)?.size ?? 0) > 1,
  })
}

function versionCodes(version: KeyVersion, rules: AuditRules, { fingerprints }: Repeats, now: number): FindingCode[] {
  const { state, issuedAt, expiresAt = Number.POSITIVE_INFINITY, fingerprint } = version
  const secret = version.reveal?.()
  const counts = state !== 'retired'
  const future = issuedAt !== undefined && issuedAt > now + AHEAD_MS
  const age = issuedAt === undefined || future ? undefined : now - issuedAt
  const tooOld = counts && age !== undefined && age > rules.maxAgeMs
  return codes({
    too_old: tooOld,
    ageing: counts && !tooOld && age !== undefined && age > rules.warnAgeMs,
    unknown_age: counts && issuedAt === undefined && !rules.allowUnknownAge,
    issued_in_future: future,
    expired: counts && expiresAt <= now,
    overdue: !counts && expiresAt <= now,
    endless: !counts && expiresAt === Number.POSITIVE_INFINITY,
    undelivered: state === 'staged',
    duplicate: fingerprint !== undefined && (fingerprints.get(fingerprint) ?? 0) > 1,
    weak: counts && secret !== undefined && isWeak(secret, rules.minLength),
  })
}

function codes(found: Partial<Record<FindingCode, boolean>>): FindingCode[] {
  return (Object.keys(found) as FindingCode[]).filter((code) => found[code] === true)
}

/** Fewer different characters than a random key of that length would have. */
const LEAST_DIFFERENT = 10

/** Made by nobody's generator, as far as that can be told from a text. */
function isWeak(secret: string, minLength: number): boolean {
  if (isReference(secret) || parseKey(secret) !== undefined) return false
  if (secret.length < minLength || new Set(secret).size < LEAST_DIFFERENT) return true
  // Words: `alice-production-key-number-one`.
  return /^[a-z]+(?:[-_. ][a-z]+)*[-_. ]?\d{0,4}$/i.test(secret) && !/[A-Z].*[a-z].*[A-Z]/.test(secret)
}
