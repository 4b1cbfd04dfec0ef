/** How old a credential is, until when it counts, and where it may be used from. */

import type { Caller, Credential } from '../policy.ts'
import type { KeyLife } from '../telemetry.ts'
import { type AddressRange, isInside, parseAddress, parseRange } from './address.ts'

/** Tags of a gateway's credential, and of its consumer where they bind all of its credentials. */
export const TAGS = {
  /** Of a credential: the day it was issued, where the gateway does not know. */
  issued: 'pc-issued:',
  /** The day from which it is refused. */
  expires: 'pc-expires:',
  /** A range of addresses; several are alternatives. */
  cidr: 'pc-cidr:',
} as const

export const DAY_MS = 86_400_000

/**
 * Epoch milliseconds of a day (its first moment) or a moment in UTC: `2026-01-31`, `2026-01-31T12:00:00Z`. Undefined when it
 * is neither.
 */
export function parseDate(text: string): number | undefined {
  const match = /^(\d{4}-\d{2}-\d{2})(?:T(\d{2}:\d{2}:\d{2})Z)?$/.exec(text)
  if (match === null) return undefined
  const [, day = '', time = '00:00:00'] = match
  const at = Date.parse(`${day}T${time}Z`)
  // JavaScript takes the 30th of February for a day in March.
  return Number.isNaN(at) || new Date(at).toISOString() !== `${day}T${time}.000Z` ? undefined : at
}

export function formatDay(at: number): string {
  return new Date(at).toISOString().slice(0, 10)
}

/** What is known about a credential's life. Times in epoch milliseconds. */
export interface Life {
  /** Absent: nobody knows. */
  readonly issuedAt?: number
  readonly expiresAt?: number
  /** The address must lie in one range of each list. */
  readonly bindings: readonly (readonly AddressRange[])[]
  /** Some tag that must be understood cannot be: the credential is refused. */
  readonly unreadable: boolean
}

/** Where the age of a credential without a tag comes from. */
export type AgeFrom = 'tag' | 'created_at'

/** Of a gateway's own credential. */
export function lifeOf(caller: Caller, credential: Credential, ageFrom: AgeFrom): Life {
  const issued = values(credential.tags, TAGS.issued).map(parseDate)
  const owners = [credential.tags, caller.consumer?.tags ?? []]
  const expiries = owners.flatMap((tags) => values(tags, TAGS.expires).map(parseDate))
  const ranges = owners.map((tags) => values(tags, TAGS.cidr).map(parseRange)).filter((list) => list.length > 0)
  const created = ageFrom === 'created_at' ? credential.createdAt : undefined
  const known = issued.length > 0 ? earliest(issued) : created === undefined ? undefined : created * 1_000
  const expiresAt = earliest(expiries)
  return {
    ...(known === undefined ? {} : { issuedAt: known }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
    bindings: ranges.map((list) => list.filter((range) => range !== undefined)),
    unreadable: [...issued, ...expiries, ...ranges.flat()].includes(undefined),
  }
}

/** Of several, the one that ends the credential first. */
function earliest(times: readonly (number | undefined)[]): number | undefined {
  const known = times.filter((time) => time !== undefined)
  return known.length === 0 ? undefined : Math.min(...known)
}

function values(tags: readonly string[], prefix: string): string[] {
  return tags.filter((tag) => tag.startsWith(prefix)).map((tag) => tag.slice(prefix.length))
}

export interface AgeRules {
  readonly max_age_days: number
  readonly grace_days: number
  readonly warn_after_days: number
  readonly on_unknown_age: 'refuse' | 'allow'
}

export type AgeVerdict =
  | { readonly type: 'expired'; readonly why: 'expiry' | 'age' | 'unknown_age' }
  /** `secondsLeft` only once the owner is to be warned. */
  | { readonly type: 'valid'; readonly secondsLeft?: number }

/** A clock may be wrong by a day, as a tag without a time zone is. */
const AHEAD_MS = DAY_MS

/** @param now epoch milliseconds */
export function judgeAge(life: Pick<Life, 'issuedAt' | 'expiresAt'>, rules: AgeRules, now: number): AgeVerdict {
  if (life.expiresAt !== undefined && now >= life.expiresAt) return { type: 'expired', why: 'expiry' }
  // Issued in the future: then its age would never count.
  const known = life.issuedAt !== undefined && life.issuedAt <= now + AHEAD_MS
  if (!known && rules.on_unknown_age === 'refuse') return { type: 'expired', why: 'unknown_age' }
  const lifetime = (rules.max_age_days + rules.grace_days) * DAY_MS
  const byAge = known && life.issuedAt !== undefined ? life.issuedAt + lifetime : Number.POSITIVE_INFINITY
  if (now >= byAge) return { type: 'expired', why: 'age' }
  const left = Math.min(byAge, life.expiresAt ?? Number.POSITIVE_INFINITY) - now
  const notice = lifetime - rules.warn_after_days * DAY_MS
  return left <= notice ? { type: 'valid', secondsLeft: Math.ceil(left / 1_000) } : { type: 'valid' }
}

/** When a key should be replaced, and from when it is refused, whether or not its owner is to be warned yet. */
export function timesOf(life: Pick<Life, 'issuedAt' | 'expiresAt'>, rules: AgeRules, now: number): KeyLife {
  const { issuedAt } = life
  const lives = (days: number) =>
    issuedAt === undefined || issuedAt > now + AHEAD_MS ? undefined : issuedAt + days * DAY_MS
  const dueAt = earliest([lives(rules.max_age_days), life.expiresAt])
  const endsAt = earliest([lives(rules.max_age_days + rules.grace_days), life.expiresAt])
  return { ...(dueAt === undefined ? {} : { dueAt }), ...(endsAt === undefined ? {} : { endsAt }) }
}

/** Whether the address lies in one range of each list; what is no address lies in none. */
export function mayComeFrom(address: string, bindings: readonly (readonly AddressRange[])[]): boolean {
  if (bindings.length === 0) return true
  const groups = parseAddress(address)
  return groups !== undefined && bindings.every((ranges) => ranges.some((range) => isInside(groups, range)))
}
