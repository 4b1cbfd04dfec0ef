/**
 * Looks at a stream event's JSON without parsing it: counts the characters of its generated text, and tells whether a
 * parse is worth its while. One pass over the bytes, no allocation: every event of every stream goes through here.
 */

import { createScanMemo, type ScanMemo } from './scan-memo.ts'

export interface ScanRules {
  readonly usageMember: string
  readonly textKeys: readonly string[]
  readonly skipKeys: readonly string[]
  readonly finalTypes: readonly string[]
}

export interface EventScanner {
  /** Characters of one, two, three and four UTF-8 bytes, over all events so far. */
  readonly characters: Float64Array
  /** Returns a sum of {@link MAY_HAVE_USAGE}, {@link MAY_BE_FINAL} and {@link HAS_TEXT}. */
  scan(bytes: Uint8Array, start: number, end: number): number
}

/** The usage member is there, at any depth, and not null. */
export const MAY_HAVE_USAGE = 1
/** Some `type` names an event that ends the stream. */
export const MAY_BE_FINAL = 2
/** Generated text was counted. */
export const HAS_TEXT = 4

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a

type Meaning = 'text' | 'skip' | 'usage' | 'type'

interface Known {
  readonly bytes: Uint8Array
  readonly meaning: Meaning
}

export function createEventScanner(rules: ScanRules): EventScanner {
  const characters = new Float64Array(4)
  const known = knownByLength(rules)
  const finals = rules.finalTypes.map((type) => new TextEncoder().encode(type))
  const head = createScanMemo()
  const tail = createScanMemo()

  function scan(bytes: Uint8Array, start: number, end: number): number {
    let found = 0
    /** How many objects and lists are open inside the skipped value that we are in; 0 outside of one. */
    let muted = 0
    let at = head.resume(bytes, start, end)
    /** Where a text's opening quote is, once that is known. */
    let textAt = head.onText ? at : -1
    let recording: ScanMemo | undefined
    if (head.record(start)) {
      recording = head
      at = start
      textAt = -1
    }
    while (at < end) {
      const byte = bytes[at] as number
      if (byte !== QUOTE) {
        if (muted > 0) {
          if (isOpening(byte)) muted++
          else if (isClosing(byte)) muted--
        }
        at++
        continue
      }
      if (at === textAt) {
        at = countString(bytes, at, end, characters) + 1
        if (at === textAt + 2 || (found & HAS_TEXT) !== 0) continue
        found |= HAS_TEXT
        const behind = at
        at = tail.resume(bytes, behind, end)
        if (tail.record(behind)) {
          recording = tail
          at = behind
        } else if (tail.onText) textAt = at
        continue
      }
      const close = stringEnd(bytes, at, end)
      let colon = close + 1
      if (bytes[colon] !== COLON) colon = skipSpace(bytes, colon, end)
      if (bytes[colon] !== COLON || colon >= end) {
        at = close + 1
        continue
      }
      if (recording !== undefined) recording.note(at)
      const meaning = lookUp(known, bytes, at + 1, close)
      const value = meaning === undefined ? colon + 1 : skipSpace(bytes, colon + 1, end)
      at = value
      if (meaning === undefined || !matters(meaning, bytes, value, end, muted)) continue
      recording?.keep(bytes, value + 1, meaning === 'text')
      recording = undefined
      if (meaning === 'usage') found |= MAY_HAVE_USAGE
      else if (meaning === 'type') found |= MAY_BE_FINAL
      else if (meaning === 'text') textAt = at
      else {
        muted = 1
        at++
      }
    }
    recording?.keep(bytes, end, false)
    return found
  }

  /** Whether the value of a known key changes anything: an empty text or a null does not. */
  function matters(meaning: Meaning, bytes: Uint8Array, value: number, end: number, muted: number): boolean {
    const opening = bytes[value] as number
    if (meaning === 'usage') return opening !== 0x6e
    if (meaning === 'type') return opening === QUOTE && namesOne(finals, bytes, value + 1, end)
    if (muted > 0) return false
    return meaning === 'skip' ? isOpening(opening) : opening === QUOTE && bytes[value + 1] !== QUOTE
  }

  return { characters, scan }
}

function knownByLength(rules: ScanRules): readonly (readonly Known[] | undefined)[] {
  const byLength: Known[][] = []
  const add = (key: string, meaning: Meaning) => {
    const bytes = new TextEncoder().encode(key)
    byLength[bytes.length] = [...(byLength[bytes.length] ?? []), { bytes, meaning }]
  }
  for (const key of rules.textKeys) add(key, 'text')
  for (const key of rules.skipKeys) add(key, 'skip')
  add(rules.usageMember, 'usage')
  if (rules.finalTypes.length > 0) add('type', 'type')
  return byLength
}

function lookUp(
  byLength: readonly (readonly Known[] | undefined)[],
  bytes: Uint8Array,
  start: number,
  end: number,
): Meaning | undefined {
  const candidates = byLength[end - start]
  if (candidates === undefined) return undefined
  for (let index = 0; index < candidates.length; index++) {
    const candidate = candidates[index] as Known
    if (isAt(candidate.bytes, bytes, start)) return candidate.meaning
  }
  return undefined
}

function isAt(text: Uint8Array, bytes: Uint8Array, start: number): boolean {
  for (let index = 0; index < text.length; index++) if (bytes[start + index] !== text[index]) return false
  return true
}

function namesOne(names: readonly Uint8Array[], bytes: Uint8Array, start: number, end: number): boolean {
  for (const name of names)
    if (start + name.length < end && bytes[start + name.length] === QUOTE && isAt(name, bytes, start)) return true
  return false
}

function isOpening(byte: number): boolean {
  return byte === 0x7b || byte === 0x5b
}

function isClosing(byte: number): boolean {
  return byte === 0x7d || byte === 0x5d
}

function skipSpace(bytes: Uint8Array, from: number, end: number): number {
  let at = from
  while (at < end) {
    const byte = bytes[at] as number
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) break
    at++
  }
  return at
}

/** Index of the closing quote of the string that opens at `at`, or `end`. */
function stringEnd(bytes: Uint8Array, at: number, end: number): number {
  for (let next = at + 1; next < end; next++) {
    const byte = bytes[next]
    if (byte === QUOTE) return next
    if (byte === BACKSLASH) next++
  }
  return end
}

/** Counts the characters of the string that opens at `at`; returns the index of its closing quote, or `end`. */
function countString(bytes: Uint8Array, at: number, end: number, characters: Float64Array): number {
  let one = 0
  let two = 0
  let three = 0
  let four = 0
  let next = at + 1
  for (; next < end; next++) {
    const byte = bytes[next] as number
    if (byte === QUOTE) break
    if (byte === BACKSLASH) {
      next++
      if (bytes[next] !== 0x75) one++
      else {
        const unit = hexAt(bytes, next + 1)
        next += 4
        if (unit < 0x80) one++
        else if (unit < 0x800) two++
        else if (isLeading(unit) && bytes[next + 1] === BACKSLASH && isTrailing(hexAt(bytes, next + 3))) {
          four++
          next += 6
        } else three++
      }
    } else if (byte < 0x80) one++
    else if (byte >= 0xf0) four++
    else if (byte >= 0xe0) three++
    else if (byte >= 0xc0) two++
  }
  characters[0] = (characters[0] as number) + one
  characters[1] = (characters[1] as number) + two
  characters[2] = (characters[2] as number) + three
  characters[3] = (characters[3] as number) + four
  return Math.min(next, end)
}

function isLeading(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00
}

function isTrailing(unit: number): boolean {
  return unit >= 0xdc00 && unit < 0xe000
}

function hexAt(bytes: Uint8Array, at: number): number {
  let value = 0
  for (let index = at; index < at + 4; index++) {
    const byte = bytes[index] ?? 0
    value = value * 16 + (byte <= 0x39 ? byte - 0x30 : (byte | 0x20) - 0x57)
  }
  return value
}
