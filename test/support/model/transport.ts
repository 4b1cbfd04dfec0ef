/** Puts a reply on the wire, with every way a real upstream goes wrong there. */

import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { createGzip, constants as zlib } from 'node:zlib'
import type { Frame } from './api.ts'
import type { Knobs } from './knobs.ts'

export interface Wire {
  readonly response: ServerResponse
  readonly knobs: Knobs
  readonly acceptsGzip: boolean
  /** The stand-in itself is about to cut the connection. */
  onBreak(): void
}

const LINE_ENDS = { lf: '\n', crlf: '\r\n', cr: '\r' } as const

export function* sseText(frames: Iterable<Frame>, knobs: Knobs): Iterable<string> {
  const end = LINE_ENDS[knobs.ending]
  for (const frame of frames) {
    if (frame.data === '[DONE]' && knobs.done === 0) continue
    const comment = knobs.comments === 1 ? `: keep-alive${end}${end}` : ''
    const event = frame.event === undefined ? '' : `event: ${frame.event}${end}`
    yield `${comment}${event}data: ${frame.data}${end}${end}`
  }
}

/** Gemini without `alt=sse`. */
export function* arrayText(frames: Iterable<Frame>): Iterable<string> {
  let lead = '['
  for (const frame of frames) {
    yield lead + frame.data
    lead = ',\r\n'
  }
  yield lead === '[' ? '[]' : ']'
}

/** The frames up to the `error` knob, then the API's own error event. */
export function* failing(frames: Iterable<Frame>, after: number, failure: Iterable<Frame>): Iterable<Frame> {
  let sent = 0
  for (const frame of frames) {
    if (sent++ === after) {
      yield* failure
      return
    }
    yield frame
  }
}

/** A JSON reply in four pieces when a knob needs somewhere to act, else in one. */
export function jsonPieces(text: string, knobs: Knobs): string[] {
  const whole = knobs.break < 0 && knobs.hang < 0 && knobs.pace === 0 && knobs.framing !== 'chunked'
  if (whole) return [text]
  const size = Math.max(1, Math.ceil(text.length / 4))
  return Array.from({ length: Math.ceil(text.length / size) }, (_, at) => text.slice(at * size, (at + 1) * size))
}

export async function send(
  wire: Wire,
  status: number,
  headers: Readonly<Record<string, string>>,
  pieces: Iterable<string>,
  knownLength: boolean,
): Promise<void> {
  const { response, knobs } = wire
  if (knobs.delay > 0) await sleep(knobs.delay)
  if (knobs.hang === 0) return
  if (knobs.break === 0) return cut(wire)
  const gzip = knobs.gzip === 1 || wire.acceptsGzip
  const type = knobs.type === '' ? headers['content-type'] : knobs.type
  const all: Record<string, string> = { ...headers, 'content-type': type ?? 'application/json' }
  if (gzip) all['content-encoding'] = 'gzip'
  const withLength = knobs.framing === 'length' || (knobs.framing === 'auto' && knownLength)
  if (withLength && !gzip) {
    const held = [...pieces]
    all['content-length'] = String(held.reduce((sum, piece) => sum + Buffer.byteLength(piece), 0))
    pieces = held
  }
  response.writeHead(status, all)
  await (gzip ? writeCompressed(wire, pieces) : writePieces(wire, pieces, (bytes) => write(response, bytes)))
}

async function writeCompressed(wire: Wire, pieces: Iterable<string>): Promise<void> {
  const gzip = createGzip()
  let pending: Buffer[] = []
  gzip.on('data', (bytes: Buffer) => pending.push(bytes))
  const drain = async (): Promise<void> => {
    const ready = pending
    pending = []
    for (const bytes of ready) await write(wire.response, bytes)
  }
  await writePieces(
    wire,
    pieces,
    async (bytes) => {
      gzip.write(bytes)
      await new Promise<void>((done) => gzip.flush(zlib.Z_SYNC_FLUSH, done))
      await drain()
    },
    async () => {
      gzip.end()
      await once(gzip, 'end')
      await drain()
    },
  )
}

async function writePieces(
  wire: Wire,
  pieces: Iterable<string>,
  put: (bytes: Buffer) => Promise<void>,
  last?: () => Promise<void>,
): Promise<void> {
  const { response, knobs } = wire
  let sent = 0
  for (const piece of pieces) {
    if (sent > 0 && knobs.pace > 0) await sleep(knobs.pace)
    if (response.destroyed) return
    const bytes = Buffer.from(piece)
    const step = knobs.cut > 0 ? knobs.cut : Math.max(1, bytes.length)
    for (let at = 0; at < bytes.length; at += step) await put(bytes.subarray(at, at + step))
    sent += 1
    if (sent === knobs.hang) return
    if (sent === knobs.break) return cut(wire)
  }
  await last?.()
  response.end()
}

async function cut(wire: Wire): Promise<void> {
  const { response } = wire
  wire.onBreak()
  // What was said before must reach the other side: destroying a socket throws its unsent bytes away.
  await new Promise<void>((done) => {
    if (response.headersSent && response.socket !== null) response.socket.write('', () => done())
    else done()
  })
  response.socket?.destroy()
}

async function write(response: ServerResponse, bytes: Buffer): Promise<void> {
  if (response.destroyed || response.write(bytes)) return
  // `close` never comes as an event of its own kind to `once`: race the two.
  await new Promise<void>((done) => {
    const settle = (): void => {
      response.off('drain', settle)
      response.off('close', settle)
      done()
    }
    response.on('drain', settle)
    response.on('close', settle)
  })
}
