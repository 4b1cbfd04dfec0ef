/**
 * Server-sent events, byte by byte as they come: any chunking, LF, CR and CRLF, comments, several data lines, a byte
 * order mark. Follows WHATWG's "Interpreting an event stream", except that a last event without its blank line counts.
 */

import { Buffer } from 'node:buffer'
import { join } from './json-edit.ts'
import { addPiece } from './pieces.ts'

/** An event above this is not kept but dropped, and said to be. */
export const MAX_EVENT_BYTES = 1024 * 1024

/** What a parser found. Offsets are into the chunk that was pushed last, just behind the blank line. */
export interface SseHandler {
  /** The data is `bytes` from `start` to `end`, valid during the call. Return true to stop parsing the chunk. */
  event(bytes: Uint8Array, start: number, end: number, chunkOffset: number, type: string): boolean
  /** A block without data: comments, or nothing. */
  block(chunkOffset: number): void
  /** A block over {@link MAX_EVENT_BYTES}. */
  dropped(chunkOffset: number): void
}

export interface SseParser {
  push(chunk: Uint8Array): void
  /** The stream is over. */
  end(): void
  /** Whether a block has begun and not ended; a block of nothing but whole comments has not. */
  readonly open: boolean
  /** Whether the block that is open is over the cap already. */
  readonly over: boolean
}

const LF = 0x0a
const CR = 0x0d
const COLON = 0x3a
const SPACE = 0x20

export function createSseParser(handler: SseHandler): SseParser {
  /** The line that is not complete yet, in pieces. */
  let partial: Uint8Array[] = []
  let partialSize = 0
  /** Data lines of the block so far, those before `owned` copied out of their chunks. */
  let data: Uint8Array[] = []
  let owned = 0
  let blockSize = 0
  let type = ''
  let hasFields = false
  let over = false
  let skipLf = false
  let first = true

  function push(bytes: Uint8Array): void {
    // A buffer's search is several times faster than a plain array's.
    const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
    let at = skipLf && chunk[0] === LF ? 1 : 0
    if (chunk.length > 0) skipLf = false
    const hasCr = chunk.includes(CR)
    while (at < chunk.length) {
      const eol = hasCr ? lineEnd(chunk, at) : chunk.indexOf(LF, at)
      if (eol === -1) {
        keepPartial(chunk.subarray(at))
        break
      }
      // Nearly every event is one data line and a blank one: nothing to collect.
      if (!hasCr && chunk[eol + 1] === LF && !first && !isOpen() && isPlainData(chunk, at, eol)) {
        if (handler.event(chunk, at + 6, eol, eol + 2, '')) return
        at = eol + 2
        continue
      }
      let next = eol + 1
      if (chunk[eol] === CR) {
        if (next === chunk.length) skipLf = true
        else if (chunk[next] === LF) next++
      }
      if (takeLine(chunk, at, eol, next)) return
      at = next
    }
    // What outlives the push must not keep whole chunks alive.
    for (; owned < data.length; owned++) data[owned] = new Uint8Array(data[owned] as Uint8Array)
  }

  function end(): void {
    if (partialSize > 0) takeLine(new Uint8Array(0), 0, 0, 0)
    if (hasFields || over) dispatch(0)
  }

  /** Returns true when the handler wants no more of the chunk. */
  function takeLine(chunk: Uint8Array, start: number, end: number, chunkOffset: number): boolean {
    if (partialSize === 0) return line(chunk, start, end, chunkOffset)
    if (over) {
      clearPartial()
      return false
    }
    const whole = join([...partial, chunk.subarray(start, end)])
    clearPartial()
    return line(whole, 0, whole.length, chunkOffset)
  }

  function line(bytes: Uint8Array, from: number, end: number, chunkOffset: number): boolean {
    let start = from
    if (first) {
      first = false
      if (bytes[start] === 0xef && bytes[start + 1] === 0xbb && bytes[start + 2] === 0xbf) start += 3
    }
    if (start >= end) return dispatch(chunkOffset)
    const isComment = bytes[start] === COLON
    if (over || (isComment && !hasFields)) return false
    hasFields = true
    blockSize += end - start + 1
    if (blockSize > MAX_EVENT_BYTES) drop()
    else if (isComment) return false
    else if (isField(bytes, start, end, DATA)) data.push(bytes.subarray(valueStart(bytes, start + 4, end), end))
    else if (isField(bytes, start, end, EVENT)) type = text(bytes, valueStart(bytes, start + 5, end), end)
    return false
  }

  function keepPartial(piece: Uint8Array): void {
    partialSize += piece.length
    if (over) return
    addPiece(partial, new Uint8Array(piece))
    if (partialSize + blockSize > MAX_EVENT_BYTES) drop()
  }

  function clearPartial(): void {
    partial = []
    partialSize = 0
  }

  function drop(): void {
    over = true
    partial = []
    data = []
    owned = 0
  }

  function dispatch(chunkOffset: number): boolean {
    const lines = data
    const name = type
    const wasOver = over
    data = []
    owned = 0
    blockSize = 0
    type = ''
    hasFields = false
    over = false
    if (wasOver) handler.dropped(chunkOffset)
    else if (lines.length === 0) handler.block(chunkOffset)
    else {
      const bytes = lines.length === 1 ? (lines[0] as Uint8Array) : join(withLineFeeds(lines))
      return handler.event(bytes, 0, bytes.length, chunkOffset, name)
    }
    return false
  }

  function isOpen(): boolean {
    return hasFields || over || partialSize > 0
  }

  return {
    push,
    end,
    get open() {
      return isOpen()
    },
    get over() {
      return over
    },
  }
}

export interface SseEvent {
  /** The `event` field; empty when there was none. */
  readonly type: string
  readonly data: string
}

/** All events of a whole stream. */
export function parseSse(stream: Uint8Array): SseEvent[] {
  const events: SseEvent[] = []
  const parser = createSseParser({
    event(bytes, start, end, _offset, type) {
      events.push({ type, data: text(bytes, start, end) })
      return false
    },
    block() {},
    dropped() {},
  })
  parser.push(stream)
  parser.end()
  return events
}

const DATA = [0x64, 0x61, 0x74, 0x61]
const EVENT = [0x65, 0x76, 0x65, 0x6e, 0x74]
const LINE_FEED = Uint8Array.of(LF)
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/** A line that starts with `data: `, and is within the cap. */
function isPlainData(bytes: Uint8Array, start: number, end: number): boolean {
  return (
    bytes[start + 4] === COLON &&
    bytes[start + 5] === SPACE &&
    end - start < MAX_EVENT_BYTES &&
    isField(bytes, start, end, DATA)
  )
}

function isField(bytes: Uint8Array, start: number, end: number, name: readonly number[]): boolean {
  if (end - start < name.length) return false
  for (let index = 0; index < name.length; index++) if (bytes[start + index] !== name[index]) return false
  return end - start === name.length || bytes[start + name.length] === COLON
}

/** Behind the colon and one space; `end` when the line has no colon. */
function valueStart(bytes: Uint8Array, colon: number, end: number): number {
  if (colon >= end) return end
  return bytes[colon + 1] === SPACE && colon + 1 < end ? colon + 2 : colon + 1
}

function lineEnd(bytes: Uint8Array, from: number): number {
  for (let at = from; at < bytes.length; at++) {
    const byte = bytes[at]
    if (byte === LF || byte === CR) return at
  }
  return -1
}

function withLineFeeds(lines: readonly Uint8Array[]): Uint8Array[] {
  return lines.flatMap((line, index) => (index === 0 ? [line] : [LINE_FEED, line]))
}

function text(bytes: Uint8Array, start: number, end: number): string {
  return decoder.decode(bytes.subarray(start, end))
}
