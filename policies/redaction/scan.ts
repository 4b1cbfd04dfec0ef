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
import { isBare, isDigit } from './text.ts'

/** What detectors read and write while one text is scanned. */
export interface Scan {
  readonly text: string
  readonly candidates: Candidate[]
  /** Offsets of characters that hide others: escapes, full-width and zero-width ones, typographic joints of numbers. */
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

/** Zero-width and invisible characters, marks of direction among them, and the full-width forms of ASCII. */
export function isHiding(code: number): boolean {
  if (code < 0x180e) return code === 0xad
  if (code > 0x2069) return (code >= 0xff01 && code <= 0xff5e) || code === 0xfeff
  return (
    (code >= 0x200b && code <= 0x200f) ||
    (code >= 0x202a && code <= 0x202e) ||
    (code >= 0x2060 && code <= 0x2064) ||
    code >= 0x2066 ||
    code === 0x180e
  )
}

/** The space or hyphen that a typographic one stands for, which word processors put into numbers; 0 for all others. */
export function plainJoint(code: number): number {
  if (code < 0x2007) return code === 0xa0 ? 32 : 0
  if (code > 0x2013) return code === 0x202f ? 32 : code === 0x2212 ? 45 : 0
  return code >= 0x2010 ? 45 : code <= 0x2009 && code !== 0x2008 ? 32 : 0
}

/** How far the groups of a number are followed on each side of a joint, and how much of one they must be. */
const JOINT_REACH = 16
const LEAST_DIGITS = 6
const LEAST_SIGNS = 9

/** Whether the joint at `at` stands inside what may be an identifier: not between words, nor in an amount or a pair of years. */
function joinsIdentifier(text: string, at: number): boolean {
  let digits = 0
  let signs = 0
  for (const step of [-1, 1]) {
    for (let i = at + step; i >= at - JOINT_REACH && i <= at + JOINT_REACH; i += step) {
      const code = text.charCodeAt(i)
      if (isDigit(code)) digits++
      else if (code < 65 || code > 90) {
        if (code === 32 || code === 45 || plainJoint(code) !== 0) continue
        break
      }
      signs++
    }
  }
  return digits >= LEAST_DIGITS && signs >= LEAST_SIGNS
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
  if (code > 0x2212 && code < 0xfeff) return CLASS_OTHER
  return isHiding(code) || plainJoint(code) !== 0 ? CLASS_HIDING : CLASS_OTHER
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
  } else if (plainJoint(text.charCodeAt(i)) === 0 || joinsIdentifier(text, i)) scan.hidden.push(i)
}
