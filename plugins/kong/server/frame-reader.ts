/** Cuts one socket's bytes into frames. */

import { FrameError, FrameScanner } from './msgpack-decode.ts'

/** An array of four: what every request of Kong begins with. */
const REQUEST_HEADS: readonly number[] = [0x94]
/** What an answer of a plugin server begins with, in either form. */
export const ANSWER_HEADS: readonly number[] = [0x94, 0xdc]

export class FrameReader {
  private held: Buffer | undefined
  private length = 0
  private scanner: FrameScanner
  private readonly maxBytes: number
  private readonly heads: readonly number[]

  constructor(maxBytes: number, heads = REQUEST_HEADS) {
    this.maxBytes = maxBytes
    this.heads = heads
    this.scanner = new FrameScanner(maxBytes)
  }

  /**
   * Takes what the socket delivered; the frames that are complete.
   * @throws {FrameError} when it can never be one, or is too large.
   */
  push(chunk: Buffer): Buffer[] {
    const frames: Buffer[] = []
    let rest: Buffer | undefined = chunk
    while (rest !== undefined) {
      if (this.length === 0 && !this.heads.includes(Number(rest[0]))) throw new FrameError('not the head of a request')
      const bytes: Buffer = this.length === 0 ? rest : this.append(rest)
      const end = this.scanner.scan(bytes)
      if (end === undefined) {
        if (this.length === 0) this.append(rest)
        return frames
      }
      frames.push(end === bytes.length ? bytes : bytes.subarray(0, end))
      rest = end === bytes.length ? undefined : bytes.subarray(end)
      this.held = undefined
      this.length = 0
      this.scanner = new FrameScanner(this.maxBytes)
    }
    return frames
  }

  /** Whether a frame has begun that is not complete. */
  get partial(): boolean {
    return this.length > 0
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
