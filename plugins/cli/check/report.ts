/** Findings as text, as JSON, and as a table of the rules. */

import type { Place } from './place.ts'
import { type Finding, type Rule, SEVERITIES, type Severity } from './rule.ts'

export function asText(findings: readonly Finding[], whole: boolean): string {
  const open = findings.filter(({ acknowledged }) => !acknowledged)
  const lines = open.flatMap(({ rule, place, what }) => [
    `${placeText(place)}: ${rule.severity} [${rule.id}] ${what}`,
    ...(whole ? [`    why: ${rule.why}`] : []),
    `    fix: ${rule.fix}`,
  ])
  return [...lines, summaryText(findings), ''].join('\n')
}

function placeText({ file, line }: Place): string {
  return line === undefined ? file : `${file}:${line}`
}

function summaryText(findings: readonly Finding[]): string {
  const counts = countsOf(findings)
  const parts = SEVERITIES.filter((severity) => counts[severity] > 0).map((severity) =>
    plural(counts[severity], severity),
  )
  const acknowledged = findings.filter((finding) => finding.acknowledged).length
  return [
    ...(parts.length === 0 ? ['no findings'] : parts),
    ...(acknowledged > 0 ? [`${acknowledged} acknowledged`] : []),
  ].join(', ')
}

function plural(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}

function countsOf(findings: readonly Finding[]): Record<Severity, number> {
  const counts = { error: 0, warning: 0, note: 0 }
  for (const { rule, acknowledged } of findings) if (!acknowledged) counts[rule.severity]++
  return counts
}

export function asJson(findings: readonly Finding[]): string {
  const shown = findings.map(({ rule, place, what, acknowledged }) => ({
    rule: rule.id,
    severity: rule.severity,
    file: place.file,
    ...(place.line === undefined ? {} : { line: place.line }),
    what,
    why: rule.why,
    fix: rule.fix,
    acknowledged,
  }))
  return `${JSON.stringify({ version: 1, summary: countsOf(findings), findings: shown }, undefined, 2)}\n`
}

/** Markdown, for the documentation. */
export function rulesTable(rules: readonly Rule[]): string {
  const rows = rules.map(
    ({ id, severity, title, why, fix }) => `| \`${id}\` | ${severity} | ${title}. ${why} | ${fix} |`,
  )
  return ['| Rule | Severity | What it finds, and why it matters | Fix |', '|---|---|---|---|', ...rows].join('\n')
}
