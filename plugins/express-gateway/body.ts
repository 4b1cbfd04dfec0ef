/** A request's body: read whole and once, up to a cap, or piped on unread. */

import { PassThrough, type Readable } from 'node:stream'
import { PortcullisError, RefusedRead } from '../../policies/errors.ts'
import type { EgRequest } from './eg.ts'

export interface RequestBody {
  /**
   * Every byte, or undefined when there is no body.
   * @throws {RefusedRead} `request_too_large` over the cap, `invalid_request` when the client left in the middle.
   * @throws {PortcullisError} `body_unreadable` when another policy took the bytes.
   */
  read(maxBytes: number): Promise<Uint8Array | undefined>
  /** Another policy put its own stream in the place of the request's. */
  replace(source: Readable): void
  /** Whether the bytes were read, so that a replacement comes too late. */
  readonly wasRead: boolean
  /** A stream for the upstream. `edited` wins over what was read. */
  forward(edited: Uint8Array | undefined): { readonly stream: PassThrough; readonly length?: number }
  /** Takes what the client still sends, for a moment, so that it can read a refusal. */
  discard(): void
}

/** How much, and for how many milliseconds, a refused client may go on sending before its connection is closed. */
const DISCARD_BYTES = 8 * 1024 * 1024
const DISCARD_MS = 2_000

export function createRequestBody(request: EgRequest, given: Readable | undefined): RequestBody {
  let source = given
  let reading: Promise<Uint8Array | undefined> | undefined
  let bytes: Uint8Array | undefined
  /** Puts back what a policy read of a body that turned out too large for it. */
  let restore: (() => void) | undefined

  function declaredLength(): number | undefined {
    const header: unknown = request.headers['content-length'] // request-transformer writes a number
    return header === undefined ? undefined : Number(header)
  }

  function isEmpty(): boolean {
    const chunked = request.headers['transfer-encoding'] !== undefined
    return declaredLength() === 0 || (declaredLength() === undefined && !chunked && source === undefined)
  }

  async function read(maxBytes: number): Promise<Uint8Array | undefined> {
    takeUp()
    reading ??= isEmpty() ? Promise.resolve(undefined) : collect(maxBytes)
    const current = reading
    let whole: Uint8Array | undefined
    try {
      whole = await current
    } catch (error) {
      // Nothing is lost: a policy that looks on may let it pass, and the next may read more.
      if (reading === current && error instanceof RefusedRead && error.code === 'request_too_large') reading = undefined
      throw error
    }
    if (whole !== undefined && whole.length > maxBytes) throw tooLarge(maxBytes)
    return whole
  }

  function takeUp(): void {
    restore?.()
    restore = undefined
  }

  async function collect(maxBytes: number): Promise<Uint8Array> {
    const expected = declaredLength()
    if (expected !== undefined && expected > maxBytes) throw tooLarge(maxBytes)
    if (source !== undefined && expected === undefined)
      throw new PortcullisError('body_unreadable', 'another policy replaced the body by one without a length')
    const from = source ?? request
    if (from === request && request.destroyed && !request.readableEnded) throw incomplete()
    if (from.readableEnded || from.destroyed)
      throw new PortcullisError('body_unreadable', 'another policy has read the body')
    bytes = await collectFrom(from, {
      maxBytes,
      length: source === undefined ? undefined : expected,
      onTooLarge(read) {
        restore = () => void from.unshift(read)
      },
    })
    return bytes
  }

  return {
    read,
    replace(stream) {
      source = stream
    },
    get wasRead() {
      return reading !== undefined
    },
    forward(edited) {
      const stream = new PassThrough()
      const known = edited ?? bytes
      if (known !== undefined || isEmpty()) {
        stream.end(known)
        return { stream, ...(known === undefined ? {} : { length: known.length }) }
      }
      takeUp()
      copy(source ?? request, stream, source === undefined ? undefined : declaredLength())
      return { stream }
    },
    discard() {
      if (!request.readableEnded) discardRest(request)
    },
  }
}

export function tooLarge(maxBytes: number): RefusedRead {
  return new RefusedRead('request_too_large', `The request body is larger than ${maxBytes} bytes.`)
}

/** Clients leave every day: that is no fault of ours. */
function incomplete(): RefusedRead {
  return new RefusedRead('invalid_request', 'The request body is not complete.')
}

interface Collecting {
  readonly maxBytes: number
  /** How many bytes to take from a stream that never ends; undefined reads to the end. */
  readonly length: number | undefined
  onTooLarge(read: Buffer): void
}

function collectFrom(from: Readable, { maxBytes, length, onTooLarge }: Collecting): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = []
    let size = 0
    const stop = (): void => {
      from.pause()
      from.off('data', onData).off('end', done).off('error', gone).off('close', gone)
    }
    const done = (): void => {
      stop()
      const whole = Buffer.concat(pieces)
      resolve(length === undefined ? whole : whole.subarray(0, length))
    }
    const gone = (): void => {
      stop()
      reject(incomplete())
    }
    const onData = (piece: Buffer): void => {
      size += piece.length
      pieces.push(piece)
      if (size > maxBytes) {
        stop()
        onTooLarge(Buffer.concat(pieces))
        reject(tooLarge(maxBytes))
        return
      }
      if (length !== undefined && size >= length) done()
    }
    // Also where an earlier reader stopped.
    from.on('data', onData).on('end', done).on('error', gone).on('close', gone).resume()
  })
}

function copy(from: Readable, to: PassThrough, length: number | undefined): void {
  let left = length ?? Number.POSITIVE_INFINITY
  const onData = (piece: Buffer): void => {
    const part = piece.length > left ? piece.subarray(0, left) : piece
    left -= part.length
    if (!to.write(part)) {
      from.pause()
      to.once('drain', () => from.resume())
    }
    if (left === 0) finish()
  }
  const finish = (): void => {
    from.off('data', onData)
    to.end()
  }
  from.on('data', onData)
  from.once('end', finish)
  from.once('close', () => {
    if (!from.readableEnded && left > 0) to.destroy()
  })
  // Also where an earlier reader stopped.
  from.resume()
  to.once('close', () => from.off('data', onData))
}

function discardRest(request: EgRequest): void {
  const { socket } = request
  const close = (): void => void socket.destroy()
  const timer = setTimeout(close, DISCARD_MS)
  timer.unref()
  let taken = 0
  request.on('data', (piece: Buffer) => {
    taken += piece.length
    if (taken > DISCARD_BYTES) close()
  })
  request.on('error', () => {}) // The client hanging up on a refusal is no news.
  request.once('close', () => clearTimeout(timer))
  request.once('end', () => clearTimeout(timer))
  request.resume()
}
