/** Findings as text, as JSON, and as a table of the rules. */

import { asJson, counted } from '../print.ts'
import type { Gap } from './gaps.ts'
import type { Place } from './place.ts'
import { type Finding, type Rule, SEVERITIES, type Severity } from './rule.ts'

/** What was found, and what nobody could look at. */
export interface Outcome {
  readonly findings: readonly Finding[]
  readonly gaps: readonly Gap[]
  /** Where the variables came from that nobody named. */
  readonly beside: readonly string[]
}

export function asText({ findings, gaps, beside }: Outcome, whole: boolean): string {
  const open = findings.filter(({ acknowledged }) => !acknowledged)
  const lines = open.flatMap(({ rule, place, what }) => [
    `${placeText(place)}: ${rule.severity} [${rule.id}] ${what}`,
    ...(whole ? [`    why: ${rule.why}`] : []),
    `    fix: ${rule.fix}`,
  ])
  const taken = beside.length > 0 ? [`variables: ${beside.join(', ')} (--env names others, --no-env none)`] : []
  return [...lines, summaryText(findings, gaps), ...taken, ...gapLines(gaps), ''].join('\n')
}

export function gapLines(gaps: readonly Gap[]): readonly string[] {
  return gaps.flatMap(({ rules, why, fix }) => [
    `NOT JUDGED: ${rules.map(({ id }) => id).join(', ')}`,
    `    why: ${why}`,
    `    fix: ${fix}`,
  ])
}

function placeText({ file, line }: Place): string {
  return line === undefined ? file : `${file}:${line}`
}

function summaryText(findings: readonly Finding[], gaps: readonly Gap[]): string {
  const counts = countsOf(findings)
  const parts = SEVERITIES.filter((severity) => counts[severity] > 0).map((severity) =>
    counted(counts[severity], severity),
  )
  const acknowledged = findings.filter((finding) => finding.acknowledged).length
  return [
    ...(parts.length === 0 ? ['no findings'] : parts),
    ...(acknowledged > 0 ? [`${acknowledged} acknowledged`] : []),
    ...(gaps.length > 0 ? [`${counted(gaps.flatMap(({ rules }) => rules).length, 'rule')} NOT JUDGED`] : []),
  ].join(', ')
}

function countsOf(findings: readonly Finding[]): Record<Severity, number> {
  const counts = { error: 0, warning: 0, note: 0 }
  for (const { rule, acknowledged } of findings) if (!acknowledged) counts[rule.severity]++
  return counts
}

export function outcomeJson({ findings, gaps, beside }: Outcome): string {
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
  const notJudged = gaps.map(({ rules, why, fix }) => ({ rules: rules.map(({ id }) => id), why, fix }))
  const report = { version: 1, summary: countsOf(findings), findings: shown, notJudged, variablesBeside: beside }
  return asJson(report)
}

/** Markdown, for the documentation. */
export function rulesTable(rules: readonly Rule[]): string {
  const rows = rules.map(
    ({ id, severity, title, why, fix }) => `| \`${id}\` | ${severity} | ${title}. ${why} | ${fix} |`,
  )
  return ['| Rule | Severity | What it finds, and why it matters | Fix |', '|---|---|---|---|', ...rows].join('\n')
}
