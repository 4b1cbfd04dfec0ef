/** What the registry keeps of a key, and how it changes. Nothing here holds a key. */

import { PortcullisError } from '../errors.ts'
import { ID_PATTERN } from './key-format.ts'

/** One secret of a key. */
export interface StoredSecret {
  /** Of `hashKey`. */
  readonly hash: string
  /** Epoch milliseconds: what the age of the key counts from. */
  readonly issuedAt: number
  /** Epoch milliseconds from which a rotated secret is refused. Absent: the current one. */
  readonly validUntil?: number
}

/** Whom a key makes its bearer: what a gateway calls a consumer. */
export interface KeyConsumer {
  readonly id: string
  readonly username?: string
  readonly customId?: string
  readonly tags?: readonly string[]
}

export interface KeyRecord {
  /** Stable: rotation keeps it. */
  readonly id: string
  readonly env: string
  readonly consumer: KeyConsumer
  /** Of the credential itself. */
  readonly tags: readonly string[]
  /** Grants of `llm-scope`. Absent: none of its own. */
  readonly scopes?: readonly string[]
  /** Where it may be used from. Absent: anywhere. */
  readonly cidrs?: readonly string[]
  /** Epoch milliseconds. */
  readonly createdAt: number
  /** Epoch milliseconds from which the key is refused, whatever its age. */
  readonly expiresAt?: number
  readonly revoked?: { readonly at: number; readonly reason: string }
  /** The current one first, then those that a rotation left valid for a while. At least one. */
  readonly secrets: readonly [StoredSecret, ...StoredSecret[]]
}

/** More rotations than this within one overlap are a mistake. */
export const MAX_SECRETS = 5

export interface Rotation {
  /** Hash of the new key. */
  readonly hash: string
  /** Epoch milliseconds. */
  readonly at: number
  /** Milliseconds that the old secret stays valid. */
  readonly overlapMs: number
  /** Rotates only what was issued before, in epoch milliseconds: so that a run can be repeated. */
  readonly issuedBefore?: number
  /** Epoch milliseconds; the key's new expiry. Absent: as it was. */
  readonly expiresAt?: number
}

export type Rotated =
  | { readonly type: 'rotated'; readonly record: KeyRecord }
  /** It is younger than asked for, such as after a run that was cut short. */
  | { readonly type: 'not_due'; readonly record: KeyRecord }
  | { readonly type: 'revoked'; readonly record: KeyRecord }
  | { readonly type: 'unknown' }

/**
 * The key with a new secret. A second time with the same one changes nothing.
 * @throws {PortcullisError} `too_many_rotations`
 */
export function rotated(record: KeyRecord, rotation: Rotation): Rotated {
  const [current, ...former] = record.secrets
  if (record.revoked !== undefined) return { type: 'revoked', record }
  if (current.hash === rotation.hash) return { type: 'rotated', record }
  if (!isDue(record, rotation.issuedBefore)) return { type: 'not_due', record }
  const kept = former.filter(({ validUntil = 0 }) => validUntil > rotation.at)
  const old = rotation.overlapMs > 0 ? [{ ...current, validUntil: rotation.at + rotation.overlapMs }] : []
  const secrets = [{ hash: rotation.hash, issuedAt: rotation.at }, ...old, ...kept] as const
  if (secrets.length > MAX_SECRETS)
    throw new PortcullisError('too_many_rotations', `The key has ${MAX_SECRETS} secrets that are still valid.`)
  const expiry = rotation.expiresAt === undefined ? {} : { expiresAt: rotation.expiresAt }
  return { type: 'rotated', record: { ...record, ...expiry, secrets } }
}

/** Whether its current secret is older than that; without a time every key is due. */
export function isDue({ secrets: [current] }: KeyRecord, issuedBefore: number | undefined): boolean {
  return issuedBefore === undefined || current.issuedAt < issuedBefore
}

/** The first revocation stays. */
export function revoked(record: KeyRecord, at: number, reason: string): KeyRecord {
  return record.revoked === undefined ? { ...record, revoked: { at, reason } } : record
}

/** @throws {PortcullisError} `store_fault` when it is no record; never quotes it. */
export function readRecord(text: string): KeyRecord {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    throw malformed()
  }
  if (!isRecord(parsed)) throw malformed()
  return parsed
}

const ID = new RegExp(ID_PATTERN)

function isRecord(value: unknown): value is KeyRecord {
  if (typeof value !== 'object' || value === null) return false
  const { id, env, consumer, tags, scopes, cidrs, createdAt, expiresAt, revoked, secrets } = value as {
    readonly [K in keyof KeyRecord]?: unknown
  }
  return (
    typeof id === 'string' &&
    ID.test(id) &&
    typeof env === 'string' &&
    isConsumer(consumer) &&
    isTexts(tags) &&
    (scopes === undefined || isTexts(scopes)) &&
    (cidrs === undefined || isTexts(cidrs)) &&
    isTime(createdAt) &&
    (expiresAt === undefined || isTime(expiresAt)) &&
    (revoked === undefined || isRevoked(revoked)) &&
    Array.isArray(secrets) &&
    secrets.length > 0 &&
    secrets.every(isSecret)
  )
}

function isConsumer(value: unknown): value is KeyConsumer {
  if (typeof value !== 'object' || value === null) return false
  const { id, username, customId, tags } = value as { readonly [K in keyof KeyConsumer]?: unknown }
  const names = [username, customId].every((name) => name === undefined || typeof name === 'string')
  return typeof id === 'string' && id !== '' && names && (tags === undefined || isTexts(tags))
}

function isSecret(value: unknown): value is StoredSecret {
  if (typeof value !== 'object' || value === null) return false
  const { hash, issuedAt, validUntil } = value as { readonly [K in keyof StoredSecret]?: unknown }
  return typeof hash === 'string' && hash !== '' && isTime(issuedAt) && (validUntil === undefined || isTime(validUntil))
}

function isRevoked(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const { at, reason } = value as { readonly at?: unknown; readonly reason?: unknown }
  return isTime(at) && typeof reason === 'string'
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}

function malformed(): PortcullisError {
  return new PortcullisError('store_fault', 'The key registry holds what is no key.')
}
