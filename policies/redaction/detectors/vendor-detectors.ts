/** Turns vendor rules into detectors. */

import { PRIORITY } from '../finding.ts'
import type { KeywordDetector } from '../scan.ts'
import { isLetter, tokenStartsAt } from '../text.ts'
import { assignmentAt } from './assignment.ts'
import { entropy, isPlaceholder, isWordy, wordiness } from './placeholders.ts'
import type { KeyedRule, TokenRule } from './vendors/rule.ts'

/** The placeholder label of a vendor: `GITHUB_SECRET`. */
export function vendorType(vendor: string): string {
  return `${vendor
    .replace(/^1/, 'ONE')
    .toUpperCase()
    .replace(/[^A-Z0-9]+/g, '_')
    .replace(/^_|_$/g, '')}_SECRET`
}

const DEFAULT_ENTROPY = 2.5
const STANDS_FOR = /x{8}|X{8}|\*{4}|\.{4}|0{16}/

const TOKEN_CHARACTERS = new Uint8Array(128)
for (const character of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_~.+/-') {
  TOKEN_CHARACTERS[character.charCodeAt(0)] = 1
}

function isTokenCharacter(text: string, at: number): boolean {
  return TOKEN_CHARACTERS[text.charCodeAt(at)] === 1
}

/** A detector for tokens with a prefix or infix. */
export function tokenDetector(rule: TokenRule): KeywordDetector {
  const pattern = new RegExp(rule.pattern, rule.anyCase === true ? 'iy' : 'y')
  const type = vendorType(rule.vendor)
  const least = rule.entropy ?? DEFAULT_ENTROPY
  const lead = rule.lead ?? 0
  return (scan, start) => {
    const { text } = scan
    let from = start
    if (lead === 0) {
      if (start < scan.readUntil.token || !tokenStartsAt(text, start)) return
    } else {
      const first = Math.max(0, start - lead)
      while (from > first && isTokenCharacter(text, from - 1)) from--
    }
    pattern.lastIndex = from
    let match = pattern.exec(text)
    // The run before an infix may be longer than the token: the last possible start is the longest lead.
    if (match === null && lead > 0 && from < start) {
      for (let tries = 0; match === null && tries < 4; tries++) {
        const gap = text.slice(from, start).search(/[._~+/-]/)
        if (gap < 0 || from + gap + 1 >= start) break
        from += gap + 1
        pattern.lastIndex = from
        match = pattern.exec(text)
      }
    }
    if (match === null) return
    const value = match[1] ?? match[0]
    const first = match.index + match[0].lastIndexOf(value)
    if (least >= 1 && STANDS_FOR.test(value)) return
    if (entropy(value) < least) return
    if (isPlaceholder(value) && /\b(?:your|example|placeholder)\b/i.test(value)) return
    scan.readUntil.token = first + value.length
    scan.candidates.push({ type, start: first, end: first + value.length, priority: PRIORITY.vendor })
  }
}

/** A detector for values assigned to a name that holds a vendor's. */
export function keyedDetector(rule: KeyedRule): KeywordDetector {
  const pattern = new RegExp(`^(?:${rule.value})$`, 'i')
  const type = vendorType(rule.vendor)
  return (scan, start, end) => {
    const { text } = scan
    if (start > 0 && end - start <= 4 && isLetter(text.charCodeAt(start - 1))) return
    const assigned = assignmentAt(text, end)
    if (assigned === undefined) return
    const value = text.slice(assigned.start, assigned.end)
    if (!pattern.test(value)) return
    if (/^[a-z_.-]+$|^[A-Z_.-]+$/.test(value) && (value.length < 20 || wordiness(value) > 0.3)) return
    if (isWordy(value, 0.6) || entropy(value) < 2 || /x{6}|X{6}|0{8}/.test(value)) return
    if (isPlaceholder(value)) return
    scan.candidates.push({ type, start: assigned.start, end: assigned.end, priority: PRIORITY.vendor })
  }
}
