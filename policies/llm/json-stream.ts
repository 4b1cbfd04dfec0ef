/**
 * A whole JSON reply as it passes, with flat memory whatever its length: captures one top-level member of an object,
 * or every element of a list (Gemini streams one when it is not asked for events).
 */

import { join } from './json-edit.ts'
import { addPiece } from './pieces.ts'

export interface JsonHandler {
  /** The raw JSON text of the wanted member; of several with that key, each. */
  member(json: Uint8Array): void
  /** One object or list out of a top-level list; `chunkOffset` is just behind it. Return true to stop the chunk. */
  element(json: Uint8Array, chunkOffset: number): boolean
  /** The top-level value has ended. */
  done(): void
}

export interface JsonReader {
  push(chunk: Uint8Array): void
  /** Whether the element of a list that is open, or one before it, was too large to be kept. */
  readonly over: boolean
}

/** A usage object has a few hundred bytes; one above this is not believed. */
const MAX_MEMBER_BYTES = 64 * 1024
const MAX_ELEMENT_BYTES = 1024 * 1024
const MAX_KEY_BYTES = 64

const QUOTE = 0x22
const BACKSLASH = 0x5c

/** Bytes that are being kept, across chunks. */
interface Capture {
  readonly pieces: Uint8Array[]
  readonly limit: number
  size: number
  /** Where it goes on in the current chunk. */
  from: number
}

/** Reads a reply whose first significant byte opens an object or a list. */
export function createJsonReader(wanted: string, handler: JsonHandler): JsonReader {
  const encoded = new TextEncoder().encode(wanted)
  let depth = 0
  let list = false
  let inString = false
  let escaped = false
  /** The next string at depth 1 is a key. */
  let keyNext = false
  let key: Capture | undefined
  let wantedNext = false
  let value: Capture | undefined
  let finished = false
  let over = false

  function push(chunk: Uint8Array): void {
    if (finished) return
    if (key !== undefined) key.from = 0
    if (value !== undefined) value.from = 0
    for (let at = 0; at < chunk.length; at++) {
      if (inString) {
        at = throughString(chunk, at)
        continue
      }
      if (structure(chunk, at)) return
    }
    key = carry(key, chunk)
    value = carry(value, chunk)
    over ||= list && value !== undefined && value.size > value.limit
  }

  /** Goes through a string from `at`; returns the index of its last byte in this chunk. */
  function throughString(chunk: Uint8Array, from: number): number {
    for (let at = from; at < chunk.length; at++) {
      if (escaped) escaped = false
      else if (chunk[at] === BACKSLASH) escaped = true
      else if (chunk[at] === QUOTE) {
        inString = false
        if (key !== undefined) {
          wantedNext = equals(take(key, chunk, at), encoded)
          key = undefined
        }
        return at
      }
    }
    return chunk.length
  }

  /** Takes one byte outside strings; returns true to stop the chunk. */
  function structure(chunk: Uint8Array, at: number): boolean {
    switch (chunk[at]) {
      case QUOTE:
        inString = true
        if (keyNext && depth === 1) key = capture(at + 1, MAX_KEY_BYTES)
        keyNext = false
        return false
      case 0x7b:
      case 0x5b:
        depth++
        if (depth === 1) {
          list = chunk[at] === 0x5b
          keyNext = !list
        } else if (depth === 2 && list) value = capture(at, MAX_ELEMENT_BYTES)
        return false
      case 0x3a:
        if (wantedNext) value = capture(at + 1, MAX_MEMBER_BYTES)
        wantedNext = false
        return false
      case 0x2c:
        if (depth === 1 && !list) {
          endMember(chunk, at)
          keyNext = true
        }
        return false
      case 0x7d:
      case 0x5d:
        return close(chunk, at)
      default:
        return false
    }
  }

  function close(chunk: Uint8Array, at: number): boolean {
    depth--
    if (depth === 0) {
      endMember(chunk, at)
      finished = true
      handler.done()
      return true
    }
    if (depth !== 1 || !list || value === undefined) return false
    const json = take(value, chunk, at + 1)
    value = undefined
    over ||= json === undefined
    return json !== undefined && handler.element(json, at + 1)
  }

  function endMember(chunk: Uint8Array, at: number): void {
    if (value === undefined) return
    const json = take(value, chunk, at)
    value = undefined
    if (json !== undefined) handler.member(json)
  }

  return {
    push,
    get over() {
      return over
    },
  }
}

function capture(from: number, limit: number): Capture {
  return { pieces: [], limit, size: 0, from }
}

/** Keeps what the chunk adds; what is over its limit keeps only its size. */
function carry(kept: Capture | undefined, chunk: Uint8Array): Capture | undefined {
  if (kept === undefined) return undefined
  kept.size += Math.max(0, chunk.length - kept.from)
  if (kept.size > kept.limit) kept.pieces.length = 0
  else addPiece(kept.pieces, new Uint8Array(chunk.subarray(kept.from)))
  return kept
}

/** The captured bytes, `end` excluded; undefined when they were over the limit. */
function take(kept: Capture, chunk: Uint8Array, end: number): Uint8Array | undefined {
  if (kept.size + end - kept.from > kept.limit) return undefined
  return join([...kept.pieces, chunk.subarray(kept.from, end)])
}

function equals(bytes: Uint8Array | undefined, other: Uint8Array): boolean {
  return bytes !== undefined && bytes.length === other.length && bytes.every((byte, index) => byte === other[index])
}
