/** Strict JSON for hostile bodies: one reading, the same that every upstream will have. */

import { RefusedRead } from '../errors.ts'
import { scanObject } from './json-scan.ts'

/** One member of an object, with byte offsets into its source. */
export interface JsonMember {
  readonly key: string
  /** Start of the key's opening quote. */
  readonly start: number
  /** Start and end (exclusive) of the value. */
  readonly valueStart: number
  readonly valueEnd: number
}

/** A request body after one strict parse. */
export interface JsonBody {
  readonly bytes: Uint8Array
  /** The value as the upstream will read it. */
  readonly value: JsonObject
  /** Top-level members with their byte ranges, in order. */
  readonly members: readonly JsonMember[]
}

export type JsonObject = Readonly<Record<string, unknown>>

/** Arrays and objects within each other; more is no LLM request, and would blow the stack of whoever walks it. */
export const MAX_DEPTH = 128

const QUOTE = 0x22
const BACKSLASH = 0x5c

/**
 * Parses a body whose top level is an object. Duplicate keys are refused at every depth, escaped ones decoded before
 * they are compared: parsers disagree on which one counts. Time is linear in the length.
 * @throws {RefusedRead} `invalid_request`; the message may name a field, never a value.
 */
export function parseJsonBody(bytes: Uint8Array): JsonBody {
  const text = decodeUtf8(bytes)
  assertDepth(bytes)
  const value = parse(text)
  if (!isObject(value)) throw invalid('The body must be a JSON object.')
  const { members, duplicate } = scanObject(bytes)
  if (duplicate !== undefined) throw invalid(describeDuplicate(duplicate))
  return { bytes, value, members }
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function invalid(message: string): RefusedRead {
  return new RefusedRead('invalid_request', message)
}

/** A key safe to repeat: anything unlike a field name could be a piece of a prompt. */
export function fieldName(key: string): string {
  return /^[A-Za-z_][A-Za-z0-9_.-]{0,63}$/.test(key) ? `"${key}"` : 'a key'
}

/** Names that decide something, by their folded spelling. */
export type Decisive = ReadonlyMap<string, string>

export function decisive(...names: readonly string[]): Decisive {
  return new Map(names.map((name) => [fold(name), name]))
}

/**
 * Refuses keys that some upstream would take for a decisive one: Go's encoding/json matches field names without regard
 * to case, and folds U+017F to s and U+212A to k. `names` may hold several spellings that differ in more than case.
 * @throws {RefusedRead} `invalid_request` naming the decisive field.
 */
export function refuseLookalikes(object: JsonObject, names: Decisive): void {
  for (const key of Object.keys(object)) {
    const name = names.get(fold(key))
    if (name !== undefined && name !== key) throw invalid(`The field "${name}" is spelled differently.`)
  }
}

/** Folds what Go folds to an ASCII letter. */
function fold(key: string): string {
  return key.replace(/[A-Z\u017f\u212a]/g, (letter) => {
    if (letter === '\u017f') return 's'
    return letter === '\u212a' ? 'k' : letter.toLowerCase()
  })
}

function decodeUtf8(bytes: Uint8Array): string {
  if (bytes.length === 0) throw invalid('The body is empty; a JSON object is needed.')
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf)
    throw invalid('The body starts with a byte order mark.')
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw invalid('The body is not valid UTF-8.')
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // The parser's own message quotes the body.
    throw invalid('The body is not valid JSON.')
  }
}

function assertDepth(bytes: Uint8Array): void {
  let depth = 0
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]
    if (byte === QUOTE) at = skipString(bytes, at)
    else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > MAX_DEPTH) throw invalid(`The body nests deeper than ${MAX_DEPTH} levels.`)
    } else if (byte === 0x7d || byte === 0x5d) depth--
  }
}

/** Index of the closing quote of the string that opens at `at`, or the end of the bytes. */
function skipString(bytes: Uint8Array, at: number): number {
  for (let next = at + 1; next < bytes.length; next++) {
    const byte = bytes[next]
    if (byte === QUOTE) return next
    if (byte === BACKSLASH) next++
  }
  return bytes.length
}

function describeDuplicate(duplicate: { readonly key: string; readonly inside: string | undefined }): string {
  return duplicate.inside === undefined
    ? `The body has ${fieldName(duplicate.key)} twice.`
    : `An object inside ${fieldName(duplicate.inside)} has the same key twice.`
}
