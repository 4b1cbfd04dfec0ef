/** Rules made ready for requests. */

import { CODES } from '../errors.ts'
import type { Reject } from '../policy.ts'
import type { CounterSpec, Unit } from '../stores/ports.ts'
import { claimAt } from './claims.ts'
import type { RuleConfig, TokenLimitConfig } from './config.ts'
import { type Facts, type KeyPlan, tagged } from './keys.ts'
import { type Part, parsePart } from './parts.ts'
import { MAX_LIMIT } from './rule-fields.ts'

export interface Rule {
  readonly config: RuleConfig
  readonly plan: KeyPlan
  readonly unit: Unit
  readonly countsOutput: boolean
  readonly shadow: boolean
  /** The counter, when its limit does not depend on the caller. */
  readonly counter?: CounterSpec
  /** Path of the claim that holds the limit. */
  readonly limitClaim?: string
}

const ALGORITHM_CODE = { sliding_window: 's', fixed_window: 'f', token_bucket: 'b' } as const
const UNIT_CODE = { total_tokens: 't', input_tokens: 'i', output_tokens: 'o', requests: 'r' } as const

export function prepareRules(config: TokenLimitConfig): Rule[] {
  return config.limits.map((rule) => prepareRule(rule, config.mode === 'shadow'))
}

function prepareRule(config: RuleConfig, allShadow: boolean): Rule {
  const parts = config.per.map(parsePart).filter((part): part is Part => part !== undefined)
  const limitClaim = config.limit_from === undefined ? undefined : parsePart(config.limit_from)
  return {
    config,
    plan: {
      rule: config.name,
      scope: scopeOf(config),
      kind: `${ALGORITHM_CODE[config.algorithm]}${config.window_seconds}${UNIT_CODE[config.count]}`,
      parts,
    },
    unit: config.count,
    countsOutput: config.count === 'total_tokens' || config.count === 'output_tokens',
    shadow: allShadow || config.mode === 'shadow',
    ...(config.limit === undefined ? {} : { counter: counterFor(config, config.limit) }),
    ...(limitClaim?.kind === 'claim' ? { limitClaim: limitClaim.path } : {}),
  }
}

/**
 * What a rule counts, where it does not count everything. Rules with one name that differ in models or routes count
 * different things; those that differ only in who the caller is are tiers of one limit.
 */
function scopeOf({ match }: RuleConfig): string {
  const models = match?.models?.map((glob) => glob.toLowerCase()).toSorted()
  const scopes = { models, routes: match?.routes?.toSorted() }
  return Object.entries(scopes)
    .filter(([, values]) => values !== undefined)
    .map(([type, values]) => tagged(type, JSON.stringify(values)))
    .join('/')
}

function counterFor(config: RuleConfig, limit: number): CounterSpec {
  const { algorithm, window_seconds: windowSeconds, burst } = config
  return burst === undefined ? { algorithm, limit, windowSeconds } : { algorithm, limit, windowSeconds, burst }
}

/** The rule's counter for this caller, or the refusal of one whose token does not say how much they may use. */
export function counterOf(rule: Rule, facts: Facts): CounterSpec | Reject {
  if (rule.counter !== undefined) return rule.counter
  const path = rule.limitClaim ?? ''
  const limit = claimAt(facts.caller.claims, path)
  if (typeof limit === 'number' && Number.isSafeInteger(limit) && limit >= 1 && limit <= MAX_LIMIT)
    return counterFor(rule.config, limit)
  return {
    type: 'reject',
    status: CODES.insufficient_scope.status,
    code: 'insufficient_scope',
    message: `The limit "${rule.config.name}" needs a verified claim "${path}" that is a positive whole number.`,
  }
}

/** Names of the headers that counters depend on. */
export function headersOf(rules: readonly Rule[]): string[] {
  const names = rules.flatMap(({ plan }) => plan.parts.flatMap((part) => (part.kind === 'header' ? [part.name] : [])))
  return [...new Set(names)]
}

/** Whether a rule depends on verified claims. */
export function dependsOnClaims({ config, limitClaim, plan }: Rule): boolean {
  return (
    limitClaim !== undefined || config.match?.claims !== undefined || plan.parts.some((part) => part.kind === 'claim')
  )
}

/** Whether a rule depends on the model that is called. */
export function dependsOnModel(rule: Rule): boolean {
  return rule.config.match?.models !== undefined || rule.plan.parts.some((part) => part.kind === 'model')
}
