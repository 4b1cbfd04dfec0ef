/**
 * What the pack's plugins leave in `kong.ctx.shared` for whoever watches how requests end. Like shared-context.ts, this
 * page is a contract with the Lua companions.
 */

import type { Claims, Identity, PolicyVerdict, Reservation } from '../../policies/policy.ts'
import { readIdentityText } from './identity.ts'
import {
  CONTRACT_VERSION,
  entryKey,
  isObject,
  malformed,
  type Report,
  readReport,
  readReservations,
} from './shared-context.ts'

/** Who refused, and why: written by the plugin, or the companion, that is about to end the request. */
export const REFUSAL_KEY = 'portcullis_refusal'

export interface Refusal {
  readonly version: typeof CONTRACT_VERSION
  readonly plugin: string
  /** The policy inside the plugin; absent when it is the plugin's own. */
  readonly policy?: string
  readonly code: string
  /** Set by a companion that refused because no plugin had decided. */
  readonly undecided?: true
  /** Name of the limit or scope behind it. */
  readonly rule?: string
  /** JSON text of reservations that were given back, for the plugin's own log phase. Opaque to Lua. */
  readonly held?: string
  /** JSON texts of what the plugin's policies before the one that refused said and found out; as in its entry. */
  readonly verdicts?: string
  readonly claims?: string
  readonly identity?: string
}

/** Everything in one read: `llm-edge` log writes it, whether or not its access phase ran. */
export const ENDING_KEY = 'portcullis_ending'

export interface Ending {
  readonly version: typeof CONTRACT_VERSION
  readonly report: Report
  readonly refusal?: Refusal
  /** Parts of every plugin's entry. */
  readonly entries?: readonly EndedEntry[]
}

export interface EndedEntry {
  readonly plugin: string
  readonly protocol?: string
  readonly reservations?: string
  readonly would_reject?: readonly string[]
  readonly rule?: string
  readonly verdicts?: string
  readonly claims?: string
  readonly identity?: string
}

/** An ending whose parts were checked. */
export interface ReadEnding {
  readonly report: Report | undefined
  readonly refusal: ReadRefusal | undefined
  readonly entries: readonly ReadEndedEntry[]
}

export interface ReadRefusal {
  readonly plugin: string
  readonly policy: string
  readonly code: string
  readonly rule: string | undefined
  readonly held: readonly Reservation[]
  readonly verdicts: readonly PolicyVerdict[] | undefined
  readonly claims: Claims | undefined
  readonly identity: Identity | undefined
}

export interface ReadEndedEntry {
  readonly plugin: string
  readonly protocol: string | undefined
  readonly reservations: readonly Reservation[]
  readonly wouldReject: readonly string[]
  readonly rule: string | undefined
  /** What each policy of the plugin said; undefined where it has but one. */
  readonly verdicts: readonly PolicyVerdict[] | undefined
  readonly claims: Claims | undefined
  readonly identity: Identity | undefined
}

/**
 * Undefined when `llm-edge` did not run.
 * @throws {PortcullisError} `kong_context_malformed` naming the field, never its value.
 */
export function readEnding(value: unknown): ReadEnding | undefined {
  if (value === undefined || value === null) return undefined
  if (!isObject(value) || value.version !== CONTRACT_VERSION) throw malformed(ENDING_KEY)
  const entries = value.entries ?? []
  if (!Array.isArray(entries)) throw malformed(`${ENDING_KEY}.entries`)
  return {
    report: readReport(value.report, `${ENDING_KEY}.report`),
    refusal: readRefusal(value.refusal),
    entries: entries.map((entry: unknown) => readEndedEntry(entry, `${ENDING_KEY}.entries`)),
  }
}

/** @throws {PortcullisError} `kong_context_malformed` naming the field, never its value. */
export function readRefusal(value: unknown): ReadRefusal | undefined {
  if (value === undefined || value === null) return undefined
  if (!isObject(value) || value.version !== CONTRACT_VERSION) throw malformed(REFUSAL_KEY)
  const { plugin, policy = plugin, code, rule, held } = value
  if (typeof plugin !== 'string' || typeof policy !== 'string' || typeof code !== 'string') throw malformed(REFUSAL_KEY)
  if (rule !== undefined && typeof rule !== 'string') throw malformed(`${REFUSAL_KEY}.rule`)
  return {
    plugin,
    policy,
    code,
    rule,
    held: readReservations(held, `${REFUSAL_KEY}.held`),
    ...readFound(value, REFUSAL_KEY),
  }
}

function readFound(table: Readonly<Record<string, unknown>>, at: string) {
  return {
    verdicts: readVerdicts(table.verdicts, `${at}.verdicts`),
    claims: readClaimsText(table.claims, `${at}.claims`),
    identity: readIdentityText(table.identity, `${at}.identity`),
  }
}

/** @throws {PortcullisError} `kong_context_malformed` naming the field, never its value. */
export function readEndedEntry(value: unknown, at: string): ReadEndedEntry {
  if (!isObject(value) || typeof value.plugin !== 'string') throw malformed(at)
  const { plugin, protocol, reservations, would_reject = [], rule } = value
  const own = entryKey(plugin)
  if (protocol !== undefined && typeof protocol !== 'string') throw malformed(`${own}.protocol`)
  if (!Array.isArray(would_reject) || !would_reject.every((code) => typeof code === 'string'))
    throw malformed(`${own}.would_reject`)
  if (rule !== undefined && typeof rule !== 'string') throw malformed(`${own}.rule`)
  return {
    plugin,
    protocol,
    reservations: readReservations(reservations, `${own}.reservations`),
    wouldReject: would_reject,
    rule,
    ...readFound(value, own),
  }
}

function readVerdicts(value: unknown, at: string): readonly PolicyVerdict[] | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'string') throw malformed(at)
  let list: unknown
  try {
    list = JSON.parse(value)
  } catch {
    throw malformed(at)
  }
  if (!Array.isArray(list) || !list.every(isVerdict)) throw malformed(at)
  return list
}

function isVerdict(value: unknown): value is PolicyVerdict {
  if (!isObject(value)) return false
  const { policy, decision, wouldReject = [], rule, estimated } = value
  return (
    typeof policy === 'string' &&
    (decision === 'pass' || decision === 'reject') &&
    Array.isArray(wouldReject) &&
    wouldReject.every((code) => typeof code === 'string') &&
    (rule === undefined || typeof rule === 'string') &&
    (estimated === undefined ||
      (isObject(estimated) && typeof estimated.input === 'number' && typeof estimated.output === 'number'))
  )
}

function readClaimsText(value: unknown, at: string): Claims | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'string') throw malformed(at)
  try {
    const claims: unknown = JSON.parse(value)
    if (isObject(claims)) return claims
  } catch {
    // Said below.
  }
  throw malformed(at)
}
