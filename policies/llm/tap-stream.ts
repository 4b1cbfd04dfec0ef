/** Reads a reply as it passes through a gateway that runs in this process. */

import { createJsonReader } from './json-stream.ts'
import { addPiece } from './pieces.ts'
import type { Protocol } from './protocol.ts'
import { createSseParser, parseSse } from './sse.ts'
import type { TapPlan } from './tap.ts'
import type { TapResult } from './tap-report.ts'
import { createTapState, type TapState } from './tap-state.ts'

export interface ReplyTap {
  /** Takes what the upstream sent; returns what to forward now, in order. Nothing once the stream is cut. */
  push(chunk: Uint8Array): readonly Uint8Array[]
  /** The upstream has ended; returns what was still held back. */
  end(): readonly Uint8Array[]
  /** The stream was ended early: finish the reply and close the upstream. */
  readonly cut: boolean
  result(): TapResult
}

/** Reads one kind of reply. */
interface Reader {
  push(chunk: Uint8Array): readonly Uint8Array[]
  end(): readonly Uint8Array[]
  readonly cut: boolean
}

const CR = 0x0d
const LF = 0x0a
const NOTHING = new Uint8Array(0)

/**
 * A tap for one reply. What the reply is, it tells from the first byte: an upstream may lie about its content type,
 * and errors answer a stream with plain JSON.
 */
export function createTap(plan: TapPlan, protocol: Protocol): ReplyTap {
  const state = createTapState(plan, protocol)
  let reader: Reader | undefined

  function push(chunk: Uint8Array): readonly Uint8Array[] {
    if (reader !== undefined) return reader.cut || chunk.length === 0 ? [] : reader.push(chunk)
    const start = significantByte(chunk)
    if (start === -1) return chunk.length === 0 ? [] : [chunk]
    reader = isOpening(chunk[start]) ? jsonReader(state, protocol.usageMember) : eventReader(state, plan.withholdUsage)
    if (start === 0) return reader.push(chunk)
    return [chunk.subarray(0, start), ...reader.push(chunk.subarray(start))]
  }

  return {
    push,
    end: () => (reader === undefined || reader.cut ? [] : reader.end()),
    get cut() {
      return reader?.cut ?? false
    },
    result: () => state.result(reader?.cut ?? false),
  }
}

/**
 * Server-sent events. With `withhold`, an event is held back until it is complete, since it may be the one to drop; so it
 * is where the stream may be cut, since it may turn out too large to be counted.
 */
function eventReader(state: TapState, withhold: boolean): Reader {
  const holds = withhold || state.endsUnread
  /** Pieces of the block that was open when the last chunk ended. */
  let held: Uint8Array[] = []
  let out: Uint8Array[] = []
  let chunk: Uint8Array = NOTHING
  /** Start of what is not forwarded yet, and end of the last block that may be. */
  let from = 0
  let passed = 0
  let cut = false
  /** A block ended with the CR that ended the chunk: a line feed that comes next belongs to it. */
  let strayLf: 'none' | 'passed' | 'dropped' = 'none'

  const parser = createSseParser({
    event(bytes, start, end, offset) {
      if (cut) return true
      if (state.event(bytes, start, end)) {
        drop(offset)
        return false
      }
      pass(offset)
      if (state.overBudget()) {
        forward(offset)
        endEarly()
      }
      return cut
    },
    block(offset) {
      if (!cut) pass(offset)
    },
    dropped(offset) {
      if (state.endsUnread) endUnread()
      else pass(offset)
    },
  })

  function endEarly(): void {
    cut = true
    out.push(encode(state.finalEvents()))
  }

  /** Without the event that nobody can count. */
  function endUnread(): void {
    if (cut) return
    held = []
    forward(passed)
    endEarly()
  }

  function release(): void {
    out.push(...held)
    held = []
  }

  function pass(offset: number): void {
    release()
    passed = offset
    strayLf = endsInCr(offset) ? 'passed' : 'none'
  }

  function drop(offset: number): void {
    held = []
    forward(passed)
    from = offset
    passed = offset
    strayLf = endsInCr(offset) ? 'dropped' : 'none'
  }

  function endsInCr(offset: number): boolean {
    return offset === chunk.length && chunk[offset - 1] === CR
  }

  function forward(to: number): void {
    if (to > from) out.push(from === 0 && to === chunk.length ? chunk : chunk.subarray(from, to))
    from = to
  }

  function begin(next: Uint8Array): void {
    chunk = next
    const stray = next[0] === LF ? strayLf : 'none'
    from = stray === 'dropped' ? 1 : 0
    passed = stray === 'none' ? 0 : 1
    strayLf = 'none'
    out = []
  }

  return {
    push(next) {
      begin(next)
      parser.push(next)
      if (!cut && parser.over && state.endsUnread) endUnread()
      if (cut) return out
      if (holds && parser.open && !parser.over) {
        forward(passed)
        if (from < next.length) addPiece(held, next.subarray(from))
      } else {
        release()
        forward(next.length)
      }
      return out
    },
    end() {
      begin(NOTHING)
      parser.end()
      release()
      return out
    },
    get cut() {
      return cut
    },
  }
}

/** A whole JSON object, or a list of events. */
function jsonReader(state: TapState, usageMember: string): Reader {
  let out: Uint8Array[] = []
  let chunk: Uint8Array = NOTHING
  let cut = false
  const reading = createJsonReader(usageMember, {
    member: state.member,
    element(json, offset) {
      state.event(json, 0, json.length)
      if (!state.overBudget()) return false
      cut = true
      const events = parseSse(encode(state.finalEvents()))
      out = [chunk.subarray(0, offset), encode(`${events.map((event) => `,${event.data}`).join('')}]`)]
      return true
    },
    done: state.finish,
  })
  return {
    push(next) {
      chunk = next
      out = [next]
      reading.push(next)
      if (state.endsUnread && reading.over) {
        // In the middle of an element there is no proper end.
        cut = true
        out = []
      }
      return out
    },
    end: () => [],
    get cut() {
      return cut
    },
  }
}

/** Index of the first byte that is neither white space nor part of a byte order mark; -1 when there is none. */
function significantByte(chunk: Uint8Array): number {
  return chunk.findIndex((byte) => byte > 0x20 && byte !== 0xef && byte !== 0xbb && byte !== 0xbf)
}

function isOpening(byte: number | undefined): boolean {
  return byte === 0x7b || byte === 0x5b
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}
