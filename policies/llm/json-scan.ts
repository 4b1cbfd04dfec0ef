/** Byte ranges of an object's members, and duplicate keys at every depth, in one pass over valid JSON. */

import type { JsonMember } from './json.ts'

export interface ScannedObject {
  readonly members: readonly JsonMember[]
  /** The first key found twice in one object; `inside` is the scanned object's member it lies in. */
  readonly duplicate: { readonly key: string; readonly inside: string | undefined } | undefined
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
/** Up to this many keys are compared pairwise; a hostile object with more goes through a set. */
const PAIRWISE = 16

/** The keys of every object that is open, innermost last. */
interface OpenKeys {
  readonly starts: number[]
  readonly ends: number[]
  readonly hashes: number[]
}

/**
 * Scans the object whose opening brace is the first significant byte from `from` on. The bytes must be valid JSON and
 * its depth bounded.
 */
export function scanObject(bytes: Uint8Array, from = 0): ScannedObject {
  const keys: OpenKeys = { starts: [], ends: [], hashes: [] }
  const members: JsonMember[] = []
  /** For each open container: index of its first key, or -1 for an array. */
  const open: number[] = []
  let keyNext = false
  let tokenEnd = from
  let memberKey = ''
  let memberStart = 0
  let valueStart = -1

  for (let at = from; at < bytes.length; at++) {
    const byte = bytes[at] as number
    if (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09 || byte === 0x3a) continue
    if (open.length === 1 && valueStart === -1 && !keyNext && byte !== 0x2c && byte !== 0x7d) valueStart = at
    switch (byte) {
      case QUOTE: {
        if (keyNext) {
          const end = pushKey(bytes, at, keys)
          if (open.length === 1) {
            memberKey = decodeKey(bytes, at, end)
            memberStart = at
            valueStart = -1
          }
          at = end
          keyNext = false
        } else at = stringEnd(bytes, at)
        tokenEnd = at + 1
        break
      }
      case 0x7b: // {
        open.push(keys.starts.length)
        keyNext = true
        break
      case 0x5b: // [
        open.push(-1)
        keyNext = false
        break
      case 0x2c: // ,
        keyNext = open[open.length - 1] !== -1
        if (open.length === 1) members.push({ key: memberKey, start: memberStart, valueStart, valueEnd: tokenEnd })
        break
      case 0x7d: // }
      case 0x5d: {
        const base = open.pop() ?? -1
        if (base !== -1) {
          const duplicate = closeObject(bytes, keys, base)
          if (duplicate !== undefined)
            return { members, duplicate: { key: duplicate, inside: open.length === 0 ? undefined : memberKey } }
        }
        keyNext = false
        if (open.length === 0) {
          if (valueStart !== -1) members.push({ key: memberKey, start: memberStart, valueStart, valueEnd: tokenEnd })
          return { members, duplicate: undefined }
        }
        tokenEnd = at + 1
        break
      }
      default:
        tokenEnd = at + 1
    }
  }
  return { members, duplicate: undefined }
}

/** Records the key that opens at `at`; returns the index of its closing quote. */
function pushKey(bytes: Uint8Array, at: number, keys: OpenKeys): number {
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
  keys.starts.push(at)
  keys.ends.push(end)
  keys.hashes.push(escaped ? hashText(decodeKey(bytes, at, end)) : hash)
  return end
}

function hashText(text: string): number {
  let hash = 0
  for (const byte of new TextEncoder().encode(text)) hash = (Math.imul(hash, 31) + byte) | 0
  return hash
}

/** Forgets the keys from `base` on; returns the one that occurs twice among them. */
function closeObject(bytes: Uint8Array, keys: OpenKeys, base: number): string | undefined {
  const count = keys.starts.length - base
  const duplicate = count > PAIRWISE ? duplicateInMany(bytes, keys, base) : duplicateInFew(bytes, keys, base)
  keys.starts.length = base
  keys.ends.length = base
  keys.hashes.length = base
  return duplicate
}

function duplicateInFew(bytes: Uint8Array, keys: OpenKeys, base: number): string | undefined {
  for (let one = base + 1; one < keys.hashes.length; one++) {
    for (let other = base; other < one; other++) {
      if (keys.hashes[one] !== keys.hashes[other]) continue
      const key = keyAt(bytes, keys, one)
      if (key === keyAt(bytes, keys, other)) return key
    }
  }
  return undefined
}

function duplicateInMany(bytes: Uint8Array, keys: OpenKeys, base: number): string | undefined {
  const seen = new Set<string>()
  for (let index = base; index < keys.starts.length; index++) {
    const key = keyAt(bytes, keys, index)
    if (seen.has(key)) return key
    seen.add(key)
  }
  return undefined
}

function keyAt(bytes: Uint8Array, keys: OpenKeys, index: number): string {
  return decodeKey(bytes, keys.starts[index] as number, keys.ends[index] as number)
}

function decodeKey(bytes: Uint8Array, start: number, end: number): string {
  const text = new TextDecoder().decode(bytes.subarray(start, end + 1))
  return text.includes('\\') ? (JSON.parse(text) as string) : text.slice(1, -1)
}

function stringEnd(bytes: Uint8Array, at: number): number {
  for (let next = at + 1; next < bytes.length; next++) {
    const byte = bytes[next]
    if (byte === QUOTE) return next
    if (byte === BACKSLASH) next++
  }
  return bytes.length
}
