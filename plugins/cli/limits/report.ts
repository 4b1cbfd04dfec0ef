/** Counters as an operator reads them: in a table, or as the data of a JSON document. */

import type { CounterView } from '../../../policies/stores/ports.ts'
import { columns } from '../print.ts'
import { type CounterName, type NamePart, readCounterName } from './counter-name.ts'

export interface NamedCounter {
  readonly view: CounterView
  readonly name: CounterName | undefined
}

export function named(view: CounterView): NamedCounter {
  return { view, name: readCounterName(view.key) }
}

const ALGORITHMS = { sliding_window: 'sliding', fixed_window: 'fixed', token_bucket: 'bucket' } as const

export function asTable(counters: readonly NamedCounter[]): string {
  const head = ['RULE', 'COUNTS', 'FOR', 'WINDOW', 'USED', 'LIMIT', 'REMAINING', 'WHOLE AGAIN']
  const rows = counters.map(({ view, name }) => [
    name?.rule ?? view.key,
    name === undefined ? '?' : name.unit.replace('_', ' '),
    name === undefined ? '?' : describeParts(name.parts),
    `${duration(view.counter.windowSeconds * 1000)} ${ALGORITHMS[view.counter.algorithm]}`,
    String(view.used),
    String(view.counter.burst ?? view.counter.limit),
    String(view.remaining),
    view.resetMs === 0 ? 'now' : `in ${duration(view.resetMs)}`,
  ])
  return columns([head, ...rows])
}

export function asData({ view: { key, caller, counter, used, remaining, resetMs }, name }: NamedCounter): object {
  return {
    key,
    caller: caller ?? null,
    ...(name === undefined ? {} : { rule: name.rule, unit: name.unit }),
    parts: Object.fromEntries(name?.parts.map(({ type, value, text }) => [type, value ?? text]) ?? []),
    algorithm: counter.algorithm,
    window_seconds: counter.windowSeconds,
    limit: counter.limit,
    ...(counter.burst === undefined ? {} : { burst: counter.burst }),
    used,
    remaining,
    reset_ms: resetMs,
  }
}

function describeParts(parts: readonly NamePart[]): string {
  return parts.length === 0 ? 'everything' : parts.map(describePart).join(', ')
}

function describePart({ type, value }: NamePart): string {
  if (type === 'global') return 'everybody'
  if (type === 'other') return 'all further values'
  return `${type.replace(/^header\./, 'header ')} ${value ?? '(a long value)'}`
}

const UNITS = [
  ['d', 86_400],
  ['h', 3_600],
  ['min', 60],
  ['s', 1],
] as const

/** In at most two units, rounded up to whole seconds. */
export function duration(ms: number): string {
  let left = Math.ceil(ms / 1000)
  const words: string[] = []
  for (const [unit, seconds] of UNITS) {
    const count = Math.floor(left / seconds)
    if (words.length === 2 || (words.length === 1 && count === 0)) break
    if (count > 0) words.push(`${count} ${unit}`)
    left -= count * seconds
  }
  return words.length === 0 ? '0 s' : words.join(' ')
}
