/** Names of counters: injective, whatever callers put into them. */

import { createHash } from 'node:crypto'
import type { Caller, RouteRef } from '../policy.ts'
import type { Claim } from '../stores/ports.ts'
import { addressGroup } from './address.ts'
import { claimAt } from './claims.ts'
import type { Part } from './parts.ts'

/** Longer values are named by their digest. */
const MAX_VALUE = 128

/** Stands for a part that is missing, and for all values beyond those a caller may have. */
const MISSING = '-'
const OTHER = 'other=1:*'

/** What a request says about itself, read once. */
export interface Facts {
  readonly caller: Caller
  readonly route: RouteRef
  /** Headers that rules name, by lower-case name. */
  readonly headers: ReadonlyMap<string, string | undefined>
}

/** What every key of a rule has in common. */
export interface KeyPlan {
  readonly rule: string
  /** Models and routes the rule is restricted to; empty when to none. */
  readonly scope: string
  /** Algorithm, window and unit, in short. */
  readonly kind: string
  readonly parts: readonly Part[]
}

export type CounterName = Pick<Claim, 'key' | 'caller' | 'spread'>

/** A type-tagged, length-prefixed value; no such text is the beginning of another. */
export function tagged(type: string, value: string): string {
  if (value.length <= MAX_VALUE) return `${type}=${value.length}:${value}`
  return `${type}=#${createHash('sha256').update(value).digest('base64url')}`
}

/** Whether the caller proved who they are; an anonymous consumer is no identity. */
export function identified(caller: Caller): boolean {
  return caller.credential !== undefined
}

/** Who the caller is, as far as anybody knows: what learned figures are kept by. */
export function identityOf(caller: Caller): string {
  const consumer = callerValue({ kind: 'consumer', caller: true }, caller)
  return consumer ?? callerValue({ kind: 'credential', caller: true }, caller) ?? addressTag(caller)
}

/** The counter's name under a rule for one request that uses `model`. */
export function counterName(plan: KeyPlan, facts: Facts, model: string): CounterName {
  const callerParts: string[] = []
  const fixed: string[] = []
  const chosen: string[] = []
  for (const part of plan.parts) {
    if (part.caller) callerParts.push(callerValue(part, facts.caller) ?? addressTag(facts.caller))
    else if (part.kind === 'model') chosen.push(tagged('model', model === '' ? MISSING : model.toLowerCase()))
    else if (part.kind === 'header') chosen.push(tagged(`header.${part.name}`, facts.headers.get(part.name) || MISSING))
    else fixed.push(tagged(part.kind, routeValue(part.kind, facts.route)))
  }
  const [caller, ...others] = callerParts
  const scope = plan.scope === '' ? [] : [plan.scope]
  const owner = [caller ?? '', tagged('rule', plan.rule), plan.kind, ...scope, ...others, ...fixed].join('/')
  const name = caller === undefined ? { key: owner } : { key: owner, caller }
  if (chosen.length === 0) return name
  const member = chosen.join('/')
  return { ...name, key: `${owner}/${member}`, spread: { owner, member, overflowKey: `${owner}/${OTHER}` } }
}

function callerValue(part: Part, caller: Caller): string | undefined {
  switch (part.kind) {
    case 'consumer':
      return identified(caller) && caller.consumer !== undefined ? tagged('consumer', caller.consumer.id) : undefined
    case 'credential': {
      const credential = caller.credential?.id ?? caller.credential?.fingerprint
      return credential === undefined ? undefined : tagged('credential', credential)
    }
    case 'claim': {
      const value = claimAt(caller.claims, part.path)
      if (typeof value === 'string' && value !== '') return tagged(`claim:${part.path}`, value)
      // Not the same as the text that looks like it.
      if (typeof value === 'number' || typeof value === 'boolean')
        return tagged(`claim:${part.path}=${typeof value}`, String(value))
      return undefined
    }
    default:
      return undefined
  }
}

function addressTag(caller: Caller): string {
  return tagged('ip', addressGroup(caller.address))
}

function routeValue(kind: 'route' | 'service' | 'global', route: RouteRef): string {
  if (kind === 'route') return route.id ?? route.name ?? MISSING
  if (kind === 'service') return route.serviceId ?? route.serviceName ?? MISSING
  return '*'
}
