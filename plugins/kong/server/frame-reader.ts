/** Cuts one socket's bytes into frames. */

import { FrameError, FrameScanner } from './msgpack-decode.ts'

/** An array of four: what every request of Kong begins with. */
const REQUEST_HEAD = 0x94

export class FrameReader {
  private held: Buffer | undefined
  private length = 0
  private scanner: FrameScanner
  private readonly maxBytes: number

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes
    this.scanner = new FrameScanner(maxBytes)
  }

  /**
   * Takes what the socket delivered; the frame once it is complete.
   * @throws {FrameError} when it can never be one, is too large, or more bytes follow it: Kong sends nothing before it
   *   has its answer.
   */
  push(chunk: Buffer): Buffer | undefined {
    if (this.length === 0 && chunk[0] !== REQUEST_HEAD) throw new FrameError('not the head of a request')
    const bytes = this.length === 0 ? chunk : this.append(chunk)
    const end = this.scanner.scan(bytes)
    if (end === undefined) {
      if (this.length === 0) this.append(chunk)
      return undefined
    }
    if (end < bytes.length) throw new FrameError('bytes after the end')
    this.held = undefined
    this.length = 0
    this.scanner = new FrameScanner(this.maxBytes)
    return bytes
  }

  private append(chunk: Buffer): Buffer {
    const length = this.length + chunk.length
    if (this.held === undefined || this.held.length < length) {
      // The header of a large string says how much will come; otherwise doubling keeps copying linear.
      const wanted = Math.min(Math.max(length, this.scanner.needed, 2 * this.length), this.maxBytes + chunk.length)
      const grown = Buffer.allocUnsafeSlow(wanted)
      this.held?.copy(grown, 0, 0, this.length)
      this.held = grown
    }
    chunk.copy(this.held, this.length)
    this.length = length
    return this.held.subarray(0, length)
  }
}
