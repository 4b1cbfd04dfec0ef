/** Runs identifier rules at a word that holds a digit: the shape of the word picks the few rules worth trying. */

import { PRIORITY } from '../finding.ts'
import type { Scan } from '../scan.ts'
import { identifierEndsAt, identifierStartsAt, isDigit, isLetter, surroundings } from '../text.ts'
import type { IdRule } from './national/rule.ts'

interface CompiledRule {
  readonly rule: IdRule
  readonly pattern: RegExp
  readonly loose: RegExp
}

/** Rules by the shape of their first word. */
export type IdTable = ReadonlyMap<number, readonly CompiledRule[]>

const CONTEXT_REACH = 64
const KIND_DIGITS = 0
const KIND_DIGIT_FIRST = 1
const KIND_LETTER_FIRST = 2
const KIND_LETTERS = 3

function key(kind: number, length: number): number {
  return kind * 64 + length
}

function kindsOf(start: string): readonly number[] {
  if (/^9+$/.test(start)) return [KIND_DIGITS]
  if (/^A+$/.test(start)) return [KIND_LETTERS]
  if (start.startsWith('9')) return [KIND_DIGIT_FIRST]
  if (start.startsWith('A')) return [KIND_LETTER_FIRST]
  return [KIND_DIGITS, KIND_DIGIT_FIRST, KIND_LETTER_FIRST]
}

/** Compiles rules once; every pattern is tried only from the start of a word of its shape. */
export function compileIdTable(rules: readonly IdRule[]): IdTable {
  const table = new Map<number, CompiledRule[]>()
  for (const rule of rules) {
    const compiled: CompiledRule = {
      rule,
      pattern: new RegExp(rule.pattern, 'y'),
      loose: new RegExp(rule.pattern, 'iy'),
    }
    const keys = new Set(
      rule.starts.split(' ').flatMap((start) => kindsOf(start).map((kind) => key(kind, start.length))),
    )
    for (const entry of keys) table.set(entry, [...(table.get(entry) ?? []), compiled])
  }
  return table
}

/** The kind and length of a word, as {@link IdTable} counts them. */
export function shapeOf(text: string, start: number, end: number): number {
  let letters = 0
  for (let i = start; i < end; i++) if (isLetter(text.charCodeAt(i))) letters++
  const kind =
    letters === 0
      ? KIND_DIGITS
      : letters === end - start
        ? KIND_LETTERS
        : isDigit(text.charCodeAt(start))
          ? KIND_DIGIT_FIRST
          : KIND_LETTER_FIRST
  return key(kind, end - start)
}

/** The end of the strongest identifier at `start`, or -1. Adds it to the scan. */
export function findIdentifier(scan: Scan, table: IdTable, start: number, shape: number): number {
  const rules = table.get(shape)
  if (rules === undefined) return -1
  const { text } = scan
  if (!identifierStartsAt(text, start)) return -1
  let around: string | undefined
  let bestEnd = -1
  let bestPriority = 0
  let bestType = ''
  for (const { rule, pattern, loose } of rules) {
    const used = scan.bare ? loose : pattern
    used.lastIndex = start
    if (!used.test(text)) continue
    const end = used.lastIndex
    if (!identifierEndsAt(text, end)) continue
    if (rule.check !== undefined) {
      const value = text.slice(start, end)
      if (!rule.check(scan.bare ? value.toUpperCase() : value)) continue
    }
    let priority: number = rule.check === undefined ? PRIORITY.shaped : PRIORITY.checked
    if (rule.certain !== true) {
      around ??= surroundings(text, start, end, CONTEXT_REACH)
      const announced = rule.context?.test(around) === true
      if (!announced) {
        if (!scan.bare || rule.notBare === true) continue
        priority = rule.check === undefined ? PRIORITY.guessed - 5 : PRIORITY.guessed + 5
      }
    }
    if (priority > bestPriority || (priority === bestPriority && end > bestEnd)) {
      bestEnd = end
      bestPriority = priority
      bestType = rule.type
    }
  }
  if (bestEnd > 0) scan.candidates.push({ type: bestType, start, end: bestEnd, priority: bestPriority })
  return bestEnd
}
