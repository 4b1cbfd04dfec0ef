/** Reads `name = value` in the spellings of config files and programming languages. */

import { isSpace, isWord } from '../text.ts'

export interface Assignment {
  /** What stands between the keyword and the operator, closing quotes left out. */
  readonly suffix: string
  readonly operator: string
  readonly start: number
  readonly end: number
  readonly quoted: boolean
  /** White space stands before the operator. */
  readonly spaced: boolean
}

const MAX_SUFFIX = 32
const MAX_VALUE = 600
const OPERATORS = [
  ':::=',
  '::=',
  '===',
  '!==',
  '??=',
  ':=',
  '=>',
  '==',
  '!=',
  '?=',
  '.=',
  '+=',
  '||',
  '->',
  '=',
  ':',
  ',',
  '>',
  '(',
  '|',
]

function isQuote(code: number): boolean {
  return code === 34 || code === 39 || code === 96
}

/** Six layers of JSON inside JSON put as many before a quote. */
const MOST_ESCAPES = 63

/** How many backslashes from `at` on escape a quote; -1 when they escape none. */
function escapesAt(text: string, at: number): number {
  let count = 0
  while (count < MOST_ESCAPES && text.charCodeAt(at + count) === 92) count++
  return isQuote(text.charCodeAt(at + count)) ? count : -1
}

/** How many backslashes stand before `at`, as far as one more than `most`. */
function escapesBefore(text: string, at: number, most: number): number {
  let count = 0
  while (count <= most && text.charCodeAt(at - 1 - count) === 92) count++
  return count
}

function skipSpaces(text: string, from: number, most: number): number {
  let at = from
  while (at - from < most && isSpace(text.charCodeAt(at))) at++
  return at
}

function operatorAt(text: string, at: number): string | undefined {
  const first = text.charCodeAt(at)
  if (isWord(first)) return undefined
  for (const operator of OPERATORS) if (text.startsWith(operator, at)) return operator
  if (text.startsWith('%3D', at) || text.startsWith('%3d', at)) return '%3D'
  return undefined
}

/** The value that is assigned to the name whose keyword ends at `from`; undefined when nothing is. */
export function assignmentAt(text: string, from: number): Assignment | undefined {
  let at = from
  const limit = Math.min(text.length, from + MAX_SUFFIX)
  while (at < limit) {
    const code = text.charCodeAt(at)
    if (!isWord(code) && code !== 45 && code !== 46 && code !== 32 && code !== 9) break
    if (code === 46 && text.charCodeAt(at + 1) === 61) break
    if (code === 45 && text.charCodeAt(at + 1) === 62) break
    at++
  }
  if (at === limit) return undefined
  let suffixEnd = at
  while (suffixEnd > from && isSpace(text.charCodeAt(suffixEnd - 1))) suffixEnd--
  const suffix = text.slice(from, suffixEnd)
  let closers = 0
  let spaced = suffixEnd < at
  while (closers < 5) {
    const code = text.charCodeAt(at)
    // A quote after a space opens a value: `private_key "value";`.
    if (spaced && closers === 0 && isQuote(code)) break
    const escapes = code === 92 ? escapesAt(text, at) : -1
    if (escapes > 0) at += escapes
    else if (isQuote(code) || code === 93 || code === 41) at++
    else if (isSpace(code)) {
      spaced = true
      at++
    } else break
    closers++
  }
  // `int password[25] = "..."`, `<entry key="password" value="..."/>`
  if (text.charCodeAt(at) === 91) {
    const close = text.slice(at, at + 8).indexOf(']')
    if (close > 0) at = skipSpaces(text, at + close + 1, 3)
  }
  if (closers > 0 && (text.startsWith('value', at) || text.startsWith('Value', at))) at = skipSpaces(text, at + 5, 2)
  let operator = operatorAt(text, at)
  if (operator === undefined) {
    // `password "value";` as in configuration languages.
    if (!spaced || !isQuote(text.charCodeAt(at)) || /\s/.test(suffix)) return undefined
    operator = ' '
  }
  at += operator === ' ' ? 0 : operator.length
  for (let i = 0; i < 3; i++) {
    at = skipSpaces(text, at, 24)
    const code = text.charCodeAt(at)
    if (code === 40 || code === 91 || code === 64 || code === 61) at++
    else if (code === 36 && isQuote(text.charCodeAt(at + 1))) at++
    else if ((code === 98 || code === 114 || code === 117 || code === 102) && isQuote(text.charCodeAt(at + 1))) at++
    else break
  }
  const escapes = Math.max(0, escapesAt(text, at))
  at += escapes
  const quote = text.charCodeAt(at)
  if (isQuote(quote)) {
    let end = at + 1
    while (end < text.length && end - at <= MAX_VALUE) {
      const code = text.charCodeAt(end)
      // More of them escape a quote inside the value.
      if (code === quote && escapesBefore(text, end, escapes) <= escapes) break
      if (code === 10 || code === 13) break
      end++
    }
    if (text.charCodeAt(end) !== quote && end - at > MAX_VALUE) return undefined
    const last = end - (escapes === 0 ? 0 : escapesBefore(text, end, escapes))
    const value = { suffix, operator, start: at + 1, end: last, quoted: true, spaced }
    if (operator === ',' && /^value$/i.test(text.slice(at + 1, last))) return assignmentAt(text, last)
    return value
  }
  let end = at
  while (end < text.length && end - at <= MAX_VALUE) {
    const code = text.charCodeAt(end)
    if (isSpace(code) || isQuote(code) || code === 59 || code === 44 || code === 60 || code === 62 || code === 92) break
    if (code === 124 || code === 125) break
    if (code === 38 && /^&(?:amp;)?[\w.%-]{1,40}=/.test(text.slice(end, end + 48))) break
    end++
  }
  if (end === at || end - at > MAX_VALUE) return undefined
  return { suffix, operator, start: at, end, quoted: false, spaced }
}
