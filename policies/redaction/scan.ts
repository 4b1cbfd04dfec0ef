/** The one pass over a text: keyword hits and trigger characters start bounded detectors. */

import type { Automaton } from './automaton.ts'
import {
  CLASS_AT,
  CLASS_BACKSLASH,
  CLASS_BITS,
  CLASS_COLON,
  CLASS_HIDING,
  CLASS_OTHER,
  CLASS_PERCENT,
  FOLD_LIMIT,
  TRIGGER_CLASSES,
} from './automaton.ts'
import type { Candidate } from './finding.ts'
import { isBare } from './text.ts'

/** What detectors read and write while one text is scanned. */
export interface Scan {
  readonly text: string
  readonly candidates: Candidate[]
  /** Offsets of characters that hide others: escapes, full-width and zero-width ones. */
  readonly hidden: number[]
  /** See {@link isBare}. */
  readonly bare: boolean
  /** Numbers and identifiers before this offset have been judged. */
  judged: number
  /** How far detectors have already read a run of token characters, so that no run is read twice. */
  readonly readUntil: {
    jwt: number
    pem: number
    base64: number
    manifest: number
    colon: number
    token: number
    authority: number
    table: number
  }
  /** Expensive validations still allowed; afterwards a well-formed candidate counts as valid. */
  validations: number
}

/** Starts at a keyword hit, `[start, end)` being the keyword. */
export type KeywordDetector = (scan: Scan, start: number, end: number) => void
/** Starts at a trigger character. */
export type TriggerDetector = (scan: Scan, at: number) => void

export interface Detectors {
  readonly automaton: Automaton
  /** Length and detectors of each keyword, by its index in the automaton. */
  readonly lengths: Uint16Array
  readonly byKeyword: readonly (readonly KeywordDetector[])[]
  readonly digit: TriggerDetector | undefined
  readonly at: TriggerDetector | undefined
  readonly colon: TriggerDetector | undefined
}

const MAX_VALIDATIONS = 200

function isHexAt(text: string, at: number): boolean {
  const code = text.charCodeAt(at)
  return (code >= 48 && code <= 57) || ((code | 32) >= 97 && (code | 32) <= 102)
}

/** Zero-width and invisible characters, and the full-width forms of ASCII. */
export function isHiding(code: number): boolean {
  if (code < 0x180e) return code === 0xad
  return (
    (code >= 0xff01 && code <= 0xff5e) ||
    (code >= 0x200b && code <= 0x200f) ||
    (code >= 0x2060 && code <= 0x2064) ||
    code === 0xfeff ||
    code === 0x180e
  )
}

export function newScan(text: string): Scan {
  return {
    text,
    candidates: [],
    hidden: [],
    bare: isBare(text),
    judged: 0,
    readUntil: { jwt: 0, pem: 0, base64: 0, manifest: 0, colon: 0, token: 0, authority: -1, table: 0 },
    validations: MAX_VALIDATIONS,
  }
}

/** The class of a character that the table does not have. */
function classBeyond(code: number): number {
  return isHiding(code) ? CLASS_HIDING : CLASS_OTHER
}

/** Runs every detector over a text. Time is linear in its length. */
export function runScan(detectors: Detectors, text: string): Scan {
  const scan = newScan(text)
  const { automaton, byKeyword, lengths } = detectors
  const { classes, next, firstOutput, outputs } = automaton
  const length = text.length
  let state = 0
  let i = 0
  while (i < length) {
    let code = text.charCodeAt(i)
    let cls = code < FOLD_LIMIT ? (classes[code] as number) : classBeyond(code)
    // Most of a text is read here: a loop that also calls detectors takes longer.
    while (cls >= TRIGGER_CLASSES) {
      state = next[(state << CLASS_BITS) | cls] as number
      i++
      if (state >= firstOutput || i === length) break
      code = text.charCodeAt(i)
      cls = code < FOLD_LIMIT ? (classes[code] as number) : classBeyond(code)
    }
    if (cls < TRIGGER_CLASSES) {
      trigger(detectors, scan, i, cls)
      state = next[(state << CLASS_BITS) | cls] as number
      i++
    }
    if (state >= firstOutput) {
      const hits = outputs[state - firstOutput] as Uint16Array
      for (let k = 0; k < hits.length; k++) {
        const keyword = hits[k] as number
        const start = i - (lengths[keyword] as number)
        const run = byKeyword[keyword] as readonly KeywordDetector[]
        for (let d = 0; d < run.length; d++) (run[d] as KeywordDetector)(scan, start, i)
      }
    }
  }
  return scan
}

function trigger({ digit, at, colon }: Detectors, scan: Scan, i: number, cls: number): void {
  const { text } = scan
  if (cls < CLASS_AT) {
    if (i >= scan.judged && digit !== undefined) digit(scan, i)
  } else if (cls === CLASS_AT) {
    if (at !== undefined) at(scan, i)
  } else if (cls === CLASS_COLON) {
    const follower = text.charCodeAt(i + 1)
    if (colon !== undefined && (follower === 58 || (isHexAt(text, i + 1) && isHexAt(text, i - 1)))) colon(scan, i)
  } else if (cls === CLASS_PERCENT) {
    if (isHexAt(text, i + 1) && isHexAt(text, i + 2)) scan.hidden.push(i)
  } else if (cls === CLASS_BACKSLASH) {
    const follower = text.charCodeAt(i + 1)
    if (follower === 117 || follower === 120 || follower === 47) scan.hidden.push(i)
  } else scan.hidden.push(i)
}
