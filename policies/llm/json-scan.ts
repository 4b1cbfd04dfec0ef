/** Byte ranges of an object's members, duplicate keys and depth, in one pass over the bytes and without recursion. */

import { Buffer } from 'node:buffer'
import type { JsonMember } from './json.ts'

export interface ScannedObject {
  readonly members: readonly JsonMember[]
  /** Set when the scan stopped early. */
  readonly problem?: ScanProblem
}

export type ScanProblem =
  /** A key is there twice in one object; `inside` is the scanned object's member that it lies in. */
  | { readonly kind: 'duplicate'; readonly key: string; readonly inside: string | undefined }
  | { readonly kind: 'too_deep' }
  | { readonly kind: 'too_many_members' }

/** Arrays and objects within each other; more is no LLM request, and would blow the stack of whoever walks it. */
export const MAX_DEPTH = 128
/** Members of the scanned object itself. */
export const MAX_MEMBERS = 1024

const QUOTE = 0x22
const BACKSLASH = 0x5c
/** Up to this many keys are compared pairwise. */
const PAIRWISE = 16
/** A string that goes on after this many bytes is left to the native search. */
const SHORT_STRING = 48

/**
 * Scans the object whose opening brace is the first significant byte from `from` on. Of bytes that are no valid JSON
 * the result means nothing, but it comes.
 */
export function scanObject(source: Uint8Array, from = 0): ScannedObject {
  const bytes = Buffer.from(source.buffer, source.byteOffset, source.length)
  const keys = createOpenKeys(bytes)
  const members: JsonMember[] = []
  /** For each open container: how many keys were open before it, or -1 for a list. */
  const open = new Int32Array(MAX_DEPTH + 1)
  let depth = 0
  let keyNext = false
  let tokenEnd = from
  let memberKey = ''
  let memberStart = 0
  let valueStart = -1

  for (let at = from; at < bytes.length; at++) {
    const byte = bytes[at] as number
    if (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09 || byte === 0x3a) continue
    if (depth === 1 && valueStart === -1 && !keyNext && byte !== 0x2c && byte !== 0x7d) valueStart = at
    if (byte === QUOTE) {
      if (keyNext) {
        const end = keys.push(at)
        if (depth === 1) {
          memberKey = keys.last()
          memberStart = at
          valueStart = -1
        }
        at = end
        keyNext = false
      } else at = stringEnd(bytes, at)
      tokenEnd = at + 1
    } else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > MAX_DEPTH) return { members, problem: { kind: 'too_deep' } }
      keyNext = byte === 0x7b
      open[depth] = keyNext ? keys.count() : -1
    } else if (byte === 0x2c) {
      keyNext = open[depth] !== -1
      if (depth === 1) {
        members.push({ key: memberKey, start: memberStart, valueStart, valueEnd: tokenEnd })
        if (members.length > MAX_MEMBERS) return { members, problem: { kind: 'too_many_members' } }
      }
    } else if (byte === 0x7d || byte === 0x5d) {
      const base = open[depth] as number
      if (depth > 0) depth--
      if (base !== -1) {
        const key = keys.closeTo(base)
        if (key !== undefined)
          return { members, problem: { kind: 'duplicate', key, inside: depth === 0 ? undefined : memberKey } }
      }
      keyNext = false
      if (depth === 0) {
        if (valueStart !== -1) members.push({ key: memberKey, start: memberStart, valueStart, valueEnd: tokenEnd })
        return { members }
      }
      tokenEnd = at + 1
    } else tokenEnd = at + 1
  }
  return { members }
}

/** The keys of every object that is open, innermost last. */
interface OpenKeys {
  count(): number
  /** Records the key that opens at `at`; returns the index of its closing quote. */
  push(at: number): number
  /** The key pushed last, decoded. */
  last(): string
  /** Forgets the keys from `base` on; returns one that occurs twice among them. */
  closeTo(base: number): string | undefined
}

function createOpenKeys(bytes: Buffer): OpenKeys {
  const starts: number[] = []
  const ends: number[] = []
  const hashes: number[] = []
  let count = 0

  function push(at: number): number {
    let hash = 0
    let escaped = false
    let end = at + 1
    for (; end < bytes.length; end++) {
      const byte = bytes[end] as number
      if (byte === QUOTE) break
      if (byte === BACKSLASH) {
        escaped = true
        end++
      }
      hash = (Math.imul(hash, 31) + byte) | 0
    }
    end = Math.min(end, bytes.length)
    starts[count] = at
    ends[count] = end
    hashes[count] = escaped ? hashText(decodeKey(bytes, at, end)) : hash
    count++
    return end
  }

  function key(index: number): string {
    return decodeKey(bytes, starts[index] as number, ends[index] as number)
  }

  function closeTo(base: number): string | undefined {
    const size = count - base
    const duplicate = size < 2 ? undefined : size > PAIRWISE ? amongMany(base) : amongFew(base)
    count = base
    return duplicate
  }

  function amongFew(base: number): string | undefined {
    for (let one = base + 1; one < count; one++)
      for (let other = base; other < one; other++) if (hashes[one] === hashes[other]) return amongTexts(base)
    return undefined
  }

  function amongMany(base: number): string | undefined {
    const seen = new Set<number>()
    for (let index = base; index < count; index++) seen.add(hashes[index] as number)
    return seen.size === count - base ? undefined : amongTexts(base)
  }

  /** Some have the same hash, perhaps made so: from here on it is the engine's own, seeded one that counts. */
  function amongTexts(base: number): string | undefined {
    const texts = new Set<string>()
    for (let index = base; index < count; index++) {
      const text = key(index)
      if (texts.has(text)) return text
      texts.add(text)
    }
    return undefined
  }

  return { count: () => count, push, last: () => key(count - 1), closeTo }
}

function hashText(text: string): number {
  let hash = 0
  for (const byte of Buffer.from(text)) hash = (Math.imul(hash, 31) + byte) | 0
  return hash
}

function decodeKey(bytes: Buffer, start: number, end: number): string {
  const text = bytes.toString('utf8', start + 1, end)
  if (!text.includes('\\')) return text
  try {
    return JSON.parse(`"${text}"`) as string
  } catch {
    // Not valid JSON, which a parse of the whole will tell.
    return text
  }
}

/** Index of the closing quote of the string that opens at `at`, or the end of the bytes. */
function stringEnd(bytes: Buffer, at: number): number {
  let next = at + 1
  while (next < bytes.length) {
    const stop = Math.min(next + SHORT_STRING, bytes.length)
    for (; next < stop; next++) {
      const byte = bytes[next]
      if (byte === QUOTE) return next
      if (byte === BACKSLASH) next++
    }
    const quote = bytes.indexOf(QUOTE, next)
    if (quote === -1) return bytes.length
    if (!isEscaped(bytes, quote, next)) return quote
    next = quote + 1
  }
  return bytes.length
}

/** Whether an odd number of backslashes stands before `at`; those before `from` have been dealt with. */
function isEscaped(bytes: Buffer, at: number, from: number): boolean {
  let before = at - 1
  while (before >= from && bytes[before] === BACKSLASH) before--
  return (at - 1 - before) % 2 === 1
}
