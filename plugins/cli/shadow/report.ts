/** The shadow report as text and as data. */

import { CODES, type Code } from '../../../policies/errors.ts'
import { columns, printable } from '../print.ts'
import type { Cause, Count, Tally } from './tally.ts'

export interface ReportOptions {
  /** Rows of each table. */
  readonly top: number
  /** Lines that should have held a record and could not be read. */
  readonly unreadable: number
}

export function reportData(tally: Tally, { unreadable }: ReportOptions): object {
  const { all, from, to } = tally
  return {
    version: 1,
    ...(from === undefined || to === undefined
      ? {}
      : { from: new Date(from).toISOString(), to: new Date(to).toISOString() }),
    ...countData(all),
    unreadable_lines: unreadable,
    consumers: affected(tally.consumers).map(([consumer, count]) => ({ consumer, ...countData(count) })),
    models: affected(tally.models).map(([model, count]) => ({ model, ...countData(count) })),
    causes: byCount([...tally.causes.values()]).map((cause) => ({
      consumer: cause.consumer,
      code: cause.code,
      ...(cause.rule === '' ? {} : { rule: cause.rule }),
      model: cause.model,
      route: cause.route,
      would_reject: round(cause.wouldReject),
      tokens: round(cause.tokens),
      share: share(cause.wouldReject, all.requests),
    })),
  }
}

function countData(count: Count): object {
  return {
    requests: round(count.requests),
    would_reject: round(count.wouldReject),
    share: share(count.wouldReject, count.requests),
    refused: round(count.refused),
    tokens: round(count.tokens),
  }
}

export function reportText(tally: Tally, options: ReportOptions): string {
  const { all, from, to } = tally
  if (from === undefined || to === undefined) return 'no records\n'
  const period = `${new Date(from).toISOString()} to ${new Date(to).toISOString()}`
  const head = [
    `${round(all.requests)} requests, ${period}`,
    `${round(all.wouldReject)} would have been refused (${percent(all.wouldReject, all.requests)}); they used ${round(all.tokens)} tokens`,
    ...(all.refused > 0 ? [`${round(all.refused)} were refused already`] : []),
    ...(all.wouldReject === all.requests
      ? ['every record says so: with `only_on: [would_reject]` in llm-audit-log the shares mean nothing']
      : []),
    ...(options.unreadable > 0 ? [`${options.unreadable} lines could not be read`] : []),
    ...(tally.crowded ? ['there were too many names to keep all apart'] : []),
  ]
  if (all.wouldReject === 0) return `${head.join('\n')}\n`
  return [
    ...head,
    '',
    table(['CONSUMER', 'REQUESTS', 'WOULD REFUSE', 'SHARE', 'TOKENS'], affected(tally.consumers), options, rowOf),
    table(['MODEL', 'REQUESTS', 'WOULD REFUSE', 'SHARE', 'TOKENS'], affected(tally.models), options, rowOf),
    table(
      ['CONSUMER', 'WHY', 'LIMIT OR SCOPE', 'MODEL', 'ROUTE', 'WOULD REFUSE', 'SHARE OF ALL'],
      byCount([...tally.causes.values()]),
      options,
      (cause) => causeRow(cause, all),
    ),
    ...meanings(tally),
    '',
  ].join('\n')
}

function rowOf([name, count]: readonly [string, Count]): readonly string[] {
  const { requests, wouldReject, tokens } = count
  return [name, round(requests), round(wouldReject), percent(wouldReject, requests), round(tokens)].map(String)
}

function causeRow({ consumer, code, rule, model, route, wouldReject }: Cause, all: Count): readonly string[] {
  return [
    consumer,
    code,
    rule === '' ? '-' : rule,
    model,
    route,
    String(round(wouldReject)),
    percent(wouldReject, all.requests),
  ]
}

/** What each code means, so that the table needs no manual. */
function meanings(tally: Tally): readonly string[] {
  const codes = [...new Set([...tally.causes.values()].map(({ code }) => code))].toSorted()
  return codes.map((code) => (Object.hasOwn(CODES, code) ? `${code}: ${CODES[code as Code].meaning}` : printable(code)))
}

function table<R>(
  head: readonly string[],
  all: readonly R[],
  { top }: ReportOptions,
  cellsOf: (row: R) => readonly string[],
): string {
  const shown = columns([head, ...all.slice(0, top).map(cellsOf)])
  return all.length > top ? `${shown}and ${all.length - top} more\n` : shown
}

function affected(counts: ReadonlyMap<string, Count>): readonly (readonly [string, Count])[] {
  return [...counts]
    .filter(([, { wouldReject }]) => wouldReject > 0)
    .sort(([a, one], [b, other]) => other.wouldReject - one.wouldReject || (a < b ? -1 : 1))
}

function byCount(causes: readonly Cause[]): readonly Cause[] {
  return causes.toSorted((a, b) => b.wouldReject - a.wouldReject)
}

function round(value: number): number {
  return Math.round(value)
}

function share(part: number, whole: number): number {
  return whole === 0 ? 0 : Math.round((part / whole) * 10_000) / 10_000
}

function percent(part: number, whole: number): string {
  return `${(share(part, whole) * 100).toFixed(1)} %`
}
