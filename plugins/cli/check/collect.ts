/** Runs the rules, and sorts out what was ignored or acknowledged. */

import { ACKNOWLEDGE, type Finding, type Hit, type Rule, SEVERITIES, type Severity } from './rule.ts'
import type { Site } from './site.ts'

/** Sorted by file and line; each only once, however many routes it shows on. */
export function audit(site: Site, rules: readonly Rule[], shown: (text: string) => string): readonly Finding[] {
  const found = new Map<string, Finding>()
  for (const rule of rules) {
    for (const hit of rule.find(site)) {
      const what = shown(hit.what)
      const key = JSON.stringify([rule.id, hit.place.file, hit.place.line, what])
      const before = found.get(key)
      const acknowledged = isAcknowledged(rule, hit) && before?.acknowledged !== false
      found.set(key, { rule, place: hit.place, what, acknowledged })
    }
  }
  return [...found.values()].sort(
    (a, b) =>
      compare(a.place.file, b.place.file) || (a.place.line ?? 0) - (b.place.line ?? 0) || compare(a.rule.id, b.rule.id),
  )
}

function isAcknowledged(rule: Rule, { on }: Hit): boolean {
  return on.some((entity) => entity?.tags.includes(ACKNOWLEDGE + rule.id))
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

export function isAtLeast(severity: Severity, least: Severity): boolean {
  return SEVERITIES.indexOf(severity) <= SEVERITIES.indexOf(least)
}
