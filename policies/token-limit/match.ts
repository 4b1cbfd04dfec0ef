/** Which rules apply to a request. */

import { claimAt } from './claims.ts'
import type { RuleConfig } from './config.ts'
import { type Facts, identified } from './keys.ts'

/**
 * Whether the whole text matches a glob: `*` is any text, `?` one character. Linear in the text times the stars,
 * whatever both hold.
 */
export function globMatches(glob: string, text: string): boolean {
  let at = 0
  let from = 0
  let star = -1
  let resume = 0
  while (at < text.length) {
    if (from < glob.length && glob[from] === '*') {
      star = from++
      resume = at
    } else if (from < glob.length && (glob[from] === '?' || glob[from] === text[at])) {
      from++
      at++
    } else if (star >= 0) {
      from = star + 1
      at = ++resume
    } else {
      return false
    }
  }
  while (glob[from] === '*') from++
  return from === glob.length
}

/** Stands for a model that nobody can tell; any may answer then. */
export const UNKNOWN_MODEL = ''

/** One rule as it applies to one of the models that may answer; the model is empty when nobody can tell or there is none. */
export interface AppliedRule<R> {
  readonly rule: R
  readonly model: string
}

/**
 * The first matching rule of each name. A request that may be answered by several models is held to the rules of each
 * of them: a decoy must not choose the rule. Where {@link UNKNOWN_MODEL} is among them, every rule that any model would
 * have met applies. Without models only rules for all models do.
 */
export function applicableRules<R extends { readonly config: RuleConfig }>(
  rules: readonly R[],
  facts: Facts,
  models: readonly string[],
): AppliedRule<R>[] {
  const applied: AppliedRule<R>[] = []
  for (const model of models.length === 0 ? [undefined] : models) {
    const taken = new Set<string>()
    for (const rule of rules) {
      const { name, match } = rule.config
      if (taken.has(name) || !matchesModel(match?.models, model) || !matches(rule.config, facts)) continue
      // Of an unknown model only a rule for all models is certain to be the first.
      if (model !== UNKNOWN_MODEL || match?.models === undefined) taken.add(name)
      applied.push({ rule, model: model ?? UNKNOWN_MODEL })
    }
  }
  return applied
}

function matchesModel(globs: readonly string[] | undefined, model: string | undefined): boolean {
  if (globs === undefined || model === UNKNOWN_MODEL) return true
  if (model === undefined) return false
  const folded = model.toLowerCase()
  return globs.some((glob) => globMatches(glob.toLowerCase(), folded))
}

function matches(rule: RuleConfig, facts: Facts): boolean {
  const { match } = rule
  if (match === undefined) return true
  if (match.consumers !== undefined && !matchesConsumer(match.consumers, facts)) return false
  if (match.tags !== undefined && !matchesTag(match.tags, facts)) return false
  if (match.routes !== undefined && !matchesRoute(match.routes, facts)) return false
  return Object.entries(match.claims ?? {}).every(([path, values]) =>
    claimValues(claimAt(facts.caller.claims, path)).some((value) => values.includes(value)),
  )
}

function matchesConsumer(names: readonly string[], { caller }: Facts): boolean {
  const { consumer } = caller
  if (consumer === undefined || !identified(caller)) return false
  return [consumer.id, consumer.username, consumer.customId].some((name) => name !== undefined && names.includes(name))
}

function matchesTag(tags: readonly string[], { caller }: Facts): boolean {
  if (!identified(caller)) return false
  const own = [...(caller.consumer?.tags ?? []), ...(caller.credential?.tags ?? [])]
  return own.some((tag) => tags.includes(tag))
}

function matchesRoute(routes: readonly string[], { route }: Facts): boolean {
  return [route.id, route.name].some((name) => name !== undefined && routes.includes(name))
}

/** A claim as texts: a list by its items. */
function claimValues(value: unknown): string[] {
  const values: readonly unknown[] = Array.isArray(value) ? value : [value]
  return values.filter((item) => ['string', 'number', 'boolean'].includes(typeof item)).map(String)
}
