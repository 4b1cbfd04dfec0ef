/** Names of counters read back: what `policies/token-limit/keys.ts` and `rules.ts` make, taken apart for an operator. */

import type { Unit } from '../../../policies/stores/ports.ts'

export interface NamePart {
  /** Such as `consumer`, `claim:org.team`, `model`, `header.x-team`. */
  readonly type: string
  /** Undefined when it was so long that only its digest is kept. */
  readonly value: string | undefined
  /** As it stands in the name. */
  readonly text: string
}

export interface CounterName {
  readonly rule: string
  readonly unit: Unit
  /** The caller part that the counter belongs to, if any. */
  readonly caller: NamePart | undefined
  /** What else the counter is for, in the order of the rule. */
  readonly parts: readonly NamePart[]
}

const UNITS: Readonly<Record<string, Unit>> = {
  t: 'total_tokens',
  i: 'input_tokens',
  o: 'output_tokens',
  r: 'requests',
}

// The value follows, as long as its number says. A claim that is no text has its type behind its path.
const TAG = /([^=]+(?:=(?:number|boolean))?)=(?:#([\w-]{43})|(\d+):)/y
const KIND = /[sfb]\d+([tior])/y

/** Undefined when no rule makes such a name. */
export function readCounterName(key: string): CounterName | undefined {
  const rest = { text: key, at: 0 }
  const caller = key.startsWith('/') ? undefined : readTag(rest)
  if (!skipSlash(rest)) return undefined
  const rule = readTag(rest)
  if (rule?.type !== 'rule' || rule.value === undefined || !skipSlash(rest)) return undefined
  const unit = readUnit(rest)
  if (unit === undefined) return undefined
  const parts: NamePart[] = []
  while (rest.at < key.length) {
    const part = skipSlash(rest) ? readTag(rest) : undefined
    if (part === undefined) return undefined
    parts.push(part)
  }
  return { rule: rule.value, unit, caller, parts }
}

interface Rest {
  readonly text: string
  at: number
}

function skipSlash(rest: Rest): boolean {
  if (rest.text[rest.at] !== '/') return false
  rest.at++
  return true
}

function readTag(rest: Rest): NamePart | undefined {
  TAG.lastIndex = rest.at
  const [head, type, digest, length] = TAG.exec(rest.text) ?? []
  if (head === undefined || type === undefined) return undefined
  const from = rest.at + head.length
  const to = from + (digest === undefined ? Number(length) : 0)
  if (to > rest.text.length) return undefined
  const text = rest.text.slice(rest.at, to)
  rest.at = to
  return { type, value: digest === undefined ? rest.text.slice(from, to) : undefined, text }
}

function readUnit(rest: Rest): Unit | undefined {
  KIND.lastIndex = rest.at
  const [kind, unit] = KIND.exec(rest.text) ?? []
  if (kind === undefined) return undefined
  rest.at += kind.length
  return UNITS[unit ?? '']
}
