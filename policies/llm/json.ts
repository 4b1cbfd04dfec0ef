/** Strict JSON for hostile bodies: one reading, the same that every upstream will have. */

import { RefusedRead } from '../errors.ts'
import { MAX_DEPTH, MAX_MEMBERS, type ScanProblem, scanObject } from './json-scan.ts'
import { memo } from './memo.ts'

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

const parsed = memo<JsonBody>('parsed')

/**
 * Parses a body whose top level is an object. Duplicate keys are refused at every depth, escaped ones decoded before
 * they are compared: parsers disagree on which one counts. Time is linear in the length.
 * @param bytes must not change afterwards: the same ones are parsed once
 * @throws {RefusedRead} `invalid_request`; the message may name a field, never a value.
 */
export function parseJsonBody(bytes: Uint8Array): JsonBody {
  const known = parsed.of(bytes)
  if (known !== undefined) return known
  const body = parseBytes(bytes)
  parsed.keep(bytes, body)
  return body
}

function parseBytes(bytes: Uint8Array): JsonBody {
  const text = decodeUtf8(bytes)
  // Before the parse: whoever walks the value must not meet any depth.
  const { members, problem } = scanObject(bytes)
  if (problem?.kind === 'too_deep') throw invalid(`The body nests deeper than ${MAX_DEPTH} levels.`)
  const value = parse(text)
  if (!isObject(value)) throw invalid('The body must be a JSON object.')
  if (problem !== undefined) throw invalid(describe(problem))
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

const FOLDABLE = /[A-Z\u017f\u212a]/g
const PLAIN = /^[a-z0-9_]*$/

/** Folds what Go folds to an ASCII letter, ends a key where C ends a text, and trims as careless servers do. */
function fold(key: string): string {
  if (PLAIN.test(key)) return key
  const [text = ''] = key.split('\0', 1)
  return text.trim().replace(FOLDABLE, (letter) => {
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

function describe(problem: ScanProblem): string {
  if (problem.kind !== 'duplicate') return `The body has more than ${MAX_MEMBERS} fields.`
  return problem.inside === undefined
    ? `The body has ${fieldName(problem.key)} twice.`
    : `An object inside ${fieldName(problem.inside)} has the same key twice.`
}
