/** Starts at the first digit of a word: decides which recognisers a number or identifier is worth. */

import type { Family } from '../finding.ts'
import { PRIORITY } from '../finding.ts'
import type { Scan, TriggerDetector } from '../scan.ts'
import { identifierEndsAt, identifierStartsAt, isAlphanumeric, isDigit, isLetter } from '../text.ts'
import { isCard } from './card.ts'
import { findShapedToken } from './credentials.ts'
import { isBase58Check, isRipple } from './crypto.ts'
import { bareDateEnd } from './dates.ts'
import { ibanEnd } from './iban.ts'
import type { IdTable } from './identifiers.ts'
import { findIdentifier, shapeOf } from './identifiers.ts'
import { dashedMac, ipv4End } from './network.ts'
import { phoneAt } from './phone.ts'

const LONGEST_WORD = 110
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![0-9a-z])/iy

function uuidEnd(text: string, start: number): number {
  UUID.lastIndex = start
  return UUID.test(text) ? UUID.lastIndex : -1
}

/** Digits within reach, counted only as far as a number may go on. */
function digitsAhead(text: string, start: number): number {
  let digits = 0
  let gap = 0
  for (let i = start; i < start + 26 && i < text.length; i++) {
    if (isDigit(text.charCodeAt(i))) {
      digits++
      gap = 0
      if (digits >= 7) return digits
    } else if (++gap > 3) break
  }
  return digits
}

const CARD_GROUPS = /\d{4}([ .-])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{4}([ .-])\d{6}\2\d{4,5}/y

function cardEnd(text: string, start: number, end: number): number {
  const width = end - start
  if (width >= 13 && width <= 19) return isCard(text.slice(start, end)) ? end : -1
  if (width !== 4) return -1
  CARD_GROUPS.lastIndex = start
  const match = CARD_GROUPS.exec(text)
  if (match === null) return -1
  // A column of a hex dump or a table goes on before and behind.
  if (/[0-9A-F]{4} $/i.test(text.slice(Math.max(0, start - 5), start))) return -1
  const digits = match[0].replace(/[ .-]/g, '')
  if (isCard(digits)) return CARD_GROUPS.lastIndex
  if (digits.length === 19 && isCard(digits.slice(0, 16))) return start + 19
  return -1
}

function isCryptoAddress(word: string): boolean {
  const first = word[0] ?? ''
  if (word.length === 42 && first === '0') return /^0x[0-9a-f]{40}$/i.test(word) && !/^0x(.)\1+$/.test(word)
  if (word.length >= 26 && word.length <= 35) {
    if ('13LMDTA9'.includes(first)) return isBase58Check(word)
    if (first === 'r') return isRipple(word)
  }
  return word.length === 95 && /^[48][1-9A-HJ-NP-Za-km-z]{94}$/.test(word)
}

/** The end of a short number that nothing around it makes more of, as most numbers in prose and code are; or -1. */
function plainNumberEnd(text: string, at: number): number {
  if (at > 1) {
    const before = text.charCodeAt(at - 1)
    if (isAlphanumeric(before) || before === 43 || before === 40 || before === 45 || before === 46) return -1
    // A capital before the joint may belong to the number: `AB 12 34 56 C`.
    if (before === 32 && isLetter(text.charCodeAt(at - 2)) && text.charCodeAt(at - 2) < 97) return -1
  }
  let end = at + 1
  while (end < text.length && isDigit(text.charCodeAt(end))) end++
  if (end - at > 4 || at < 2) return -1
  if (end + 1 >= text.length) return end
  const after = text.charCodeAt(end)
  if (isAlphanumeric(after) || after === 45 || after === 47) return -1
  if (after === 46 && isDigit(text.charCodeAt(end + 1))) return -1
  if (after !== 32 && after !== 41 && after !== 0xa0) return end
  const next = text.charCodeAt(end + 1)
  if (next >= 65 && next <= 90 && text.charCodeAt(end + 2) <= 90) return -1
  return digitsAhead(text, at) < 6 ? end : -1
}

/** The start of the short word of letters before a joint at `joint`, or -1. */
function lettersBefore(text: string, joint: number): number {
  const code = text.charCodeAt(joint)
  if (code !== 32 && code !== 45) return -1
  let first = joint
  while (first > 0 && joint - first <= 4 && isLetter(text.charCodeAt(first - 1))) first--
  return first === joint || joint - first > 4 ? -1 : first
}

/** Where an identifier may start whose first words are letters, as in `AB 12 34 56 C` or `M-WA 573`. */
function leadingStarts(text: string, start: number): readonly number[] {
  const near = lettersBefore(text, start - 1)
  if (near < 0) return []
  const far = lettersBefore(text, near - 1)
  return far < 0 ? [near] : [far, near]
}

function accept(scan: Scan, type: string, start: number, end: number, priority: number): void {
  scan.candidates.push({ type, start, end, priority })
  scan.judged = Math.max(scan.judged, end)
}

/** The detector for digits, with the identifier rules that are switched on. */
export function numberDetector(table: IdTable, families: ReadonlySet<Family>): TriggerDetector {
  const personal = families.has('pii')
  const secret = families.has('secret')
  return (scan: Scan, at: number) => {
    const { text } = scan
    const plain = scan.bare ? -1 : plainNumberEnd(text, at)
    if (plain > 0) {
      scan.judged = plain
      return
    }
    let start = at
    while (start > 0 && at - start < LONGEST_WORD && isAlphanumeric(text.charCodeAt(start - 1))) start--
    if (text.charCodeAt(start - 1) === 92 && /[nrt]/.test(text[start] ?? '') && start < at) start++
    let end = at + 1
    while (end < text.length && isAlphanumeric(text.charCodeAt(end))) end++
    scan.judged = end
    const width = end - start
    if (width > LONGEST_WORD) return

    const uuid = width === 8 && text.charCodeAt(end) === 45 ? uuidEnd(text, start) : -1
    if (uuid > 0) {
      scan.judged = uuid
      return
    }
    if (width === 4 && text.charCodeAt(start - 1) === 45) {
      const later = start >= 9 ? uuidEnd(text, start - 9) : -1
      if (later > 0) {
        scan.judged = later
        return
      }
    }

    const digitFirst = isDigit(text.charCodeAt(start))
    if (secret && width >= 20) findShapedToken(scan, start, end)
    if (personal) {
      if (width === 2 || width === 4) {
        const mac = dashedMac(text, start, end)
        if (mac !== undefined) return accept(scan, 'MAC', mac.start, mac.end, PRIORITY.checked)
      }
      if (digitFirst && width <= 3 && text.charCodeAt(end) === 46) {
        const address = ipv4End(scan, start)
        if (address > 0) return accept(scan, 'IP', start, address, PRIORITY.checked)
      }
      if (!digitFirst && width >= 4 && isDigit(text.charCodeAt(start + 2)) && isDigit(text.charCodeAt(start + 3))) {
        const iban = identifierStartsAt(text, start) ? ibanEnd(text, start) : -1
        if (iban > 0 && !isAlphanumeric(text.charCodeAt(iban)))
          return accept(scan, 'IBAN', start, iban, PRIORITY.checked)
      }
      if (width >= 26 && isCryptoAddress(text.slice(start, end))) {
        return accept(scan, 'CRYPTO_ADDRESS', start, end, PRIORITY.checked)
      }
    }

    if (digitFirst) {
      for (const lead of leadingStarts(text, start)) {
        let word = lead
        while (isLetter(text.charCodeAt(word))) word++
        const last = findIdentifier(scan, table, lead, shapeOf(text, lead, word))
        if (last <= start) continue
        scan.judged = Math.max(scan.judged, last)
        return
      }
    }
    const shape = shapeOf(text, start, end)
    const allDigits = shape < 64
    if (!allDigits) {
      const last = findIdentifier(scan, table, start, shape)
      if (last > 0) scan.judged = Math.max(scan.judged, last)
      return
    }
    if (personal && scan.bare) {
      const date = bareDateEnd(text, start)
      if (date > 0) return accept(scan, 'DATE', start, date, PRIORITY.guessed)
    }
    if (width < 5 && digitsAhead(text, start) < 6) {
      // Letters may go on what digits begin: `34 ABC 1234`.
      const last = width === 2 ? findIdentifier(scan, table, start, shape) : -1
      if (last > 0) scan.judged = Math.max(scan.judged, last)
      return
    }
    if (personal && (width === 4 || width >= 13)) {
      const card = identifierStartsAt(text, start) ? cardEnd(text, start, end) : -1
      if (card > 0 && identifierEndsAt(text, card)) return accept(scan, 'CARD', start, card, PRIORITY.checked)
    }
    const identifier = findIdentifier(scan, table, start, shape)
    const phone = personal ? phoneAt(scan, start) : undefined
    if (identifier > 0) scan.judged = Math.max(scan.judged, identifier)
    if (phone !== undefined && phone.end >= identifier) accept(scan, 'PHONE', phone.start, phone.end, phone.priority)
  }
}
