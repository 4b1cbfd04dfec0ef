/**
 * MessagePack as Kong sends it (https://github.com/msgpack/msgpack/blob/master/spec.md). Strict where a general
 * decoder is not: short strings are decoded as UTF-8 by the book (an overlong `/` must not become a `/`), nesting is
 * bounded, and a map key can never reach a prototype.
 */

const MAX_DEPTH = 64

export class FrameError extends Error {
  override name = 'FrameError'
}

/** Bytes after the type byte that tell an item's size, and what they count. */
interface Shape {
  /** Length of the size field in bytes. */
  readonly field: number
  readonly counts: 'nothing' | 'bytes' | 'items' | 'pairs'
  /** Fixed payload in bytes, after the size field. */
  readonly extra: number
}

const scalar = (extra: number): Shape => ({ field: 0, counts: 'nothing', extra })
const sized = (field: number, counts: Shape['counts'], extra = 0): Shape => ({ field, counts, extra })

/** Types 0xc0 to 0xdf in order; the one without a shape (0xc1) is never used. */
const SHAPES: ReadonlyArray<Shape | undefined> = [
  ...[scalar(0), undefined, scalar(0), scalar(0)], // nil, never used, false, true
  ...[sized(1, 'bytes'), sized(2, 'bytes'), sized(4, 'bytes')], // bin
  ...[sized(1, 'bytes', 1), sized(2, 'bytes', 1), sized(4, 'bytes', 1)], // ext
  ...[scalar(4), scalar(8)], // float
  ...[scalar(1), scalar(2), scalar(4), scalar(8)], // uint
  ...[scalar(1), scalar(2), scalar(4), scalar(8)], // int
  ...[scalar(2), scalar(3), scalar(5), scalar(9), scalar(17)], // fixext
  ...[sized(1, 'bytes'), sized(2, 'bytes'), sized(4, 'bytes')], // str
  ...[sized(2, 'items'), sized(4, 'items')], // array
  ...[sized(2, 'pairs'), sized(4, 'pairs')], // map
]

/** Finds where one item ends without decoding it, and goes on where it stopped when more bytes have come. */
export class FrameScanner {
  /** Start of the next item header, which may lie beyond the bytes that are here. */
  private position = 0
  private pending = 1
  private readonly maxBytes: number

  /** @param maxBytes of a whole frame. */
  constructor(maxBytes: number) {
    this.maxBytes = maxBytes
  }

  /** Bytes that are needed at least before the frame can be complete. */
  get needed(): number {
    return this.position + this.pending
  }

  /**
   * The frame's length once `bytes`, always the whole frame so far, holds all of it.
   * @throws {FrameError} when no frame can begin like this, or it would be larger than `maxBytes`.
   */
  scan(bytes: Buffer): number | undefined {
    while (this.pending > 0) {
      if (this.needed > this.maxBytes) throw new FrameError('larger than the cap')
      const type = bytes[this.position]
      if (type === undefined) return undefined
      if (type < 0xc0 || type > 0xdf) {
        this.step(1 + (type >= 0xa0 && type < 0xc0 ? type & 0x1f : 0), fixedChildren(type))
        continue
      }
      const shape = SHAPES[type - 0xc0]
      if (shape === undefined) throw new FrameError('a type that does not exist')
      const start = this.position + 1
      if (start + shape.field > bytes.length) return undefined
      const size = shape.field === 0 ? 0 : bytes.readUIntBE(start, shape.field)
      const payload = shape.extra + (shape.counts === 'bytes' ? size : 0)
      const children = shape.counts === 'items' ? size : shape.counts === 'pairs' ? 2 * size : 0
      this.step(1 + shape.field + payload, children)
    }
    if (this.position > this.maxBytes) throw new FrameError('larger than the cap')
    return this.position <= bytes.length ? this.position : undefined
  }

  private step(bytes: number, children: number): void {
    this.position += bytes
    this.pending += children - 1
  }
}

function fixedChildren(type: number): number {
  if (type >= 0x80 && type < 0x90) return 2 * (type & 0x0f)
  if (type >= 0x90 && type < 0xa0) return type & 0x0f
  return 0
}

/**
 * Decodes one complete item. Binaries are views of `bytes`; nil is null; extension types are refused.
 * @throws {FrameError} when the bytes are not exactly one item.
 */
export function decode(bytes: Buffer): unknown {
  const cursor: Cursor = { bytes, at: 0 }
  let value: unknown
  try {
    value = item(cursor, 0)
  } catch (error) {
    if (error instanceof RangeError) throw new FrameError('ends too early', { cause: error })
    throw error
  }
  if (cursor.at !== bytes.length) throw new FrameError('bytes after the end')
  return value
}

interface Cursor {
  readonly bytes: Buffer
  at: number
}

function item(cursor: Cursor, depth: number): unknown {
  const type = cursor.bytes.readUInt8(cursor.at)
  cursor.at += 1
  if (type < 0x80) return type
  if (type >= 0xe0) return type - 0x100
  if (type < 0x90) return map(cursor, type & 0x0f, depth)
  if (type < 0xa0) return array(cursor, type & 0x0f, depth)
  if (type < 0xc0) return text(cursor, type & 0x1f)
  switch (type) {
    case 0xc0:
      return null
    case 0xc2:
      return false
    case 0xc3:
      return true
    case 0xc4:
    case 0xc5:
    case 0xc6:
      return take(cursor, uint(cursor, 1 << (type - 0xc4)))
    case 0xca:
      return number(cursor, 4, (at) => cursor.bytes.readFloatBE(at))
    case 0xcb:
      return number(cursor, 8, (at) => cursor.bytes.readDoubleBE(at))
    case 0xcc:
    case 0xcd:
    case 0xce:
      return uint(cursor, 1 << (type - 0xcc))
    case 0xcf:
      return number(cursor, 8, (at) => safe(cursor.bytes.readBigUInt64BE(at)))
    case 0xd0:
    case 0xd1:
    case 0xd2:
      return number(cursor, 1 << (type - 0xd0), (at) => cursor.bytes.readIntBE(at, 1 << (type - 0xd0)))
    case 0xd3:
      return number(cursor, 8, (at) => safe(cursor.bytes.readBigInt64BE(at)))
    case 0xd9:
    case 0xda:
    case 0xdb:
      return text(cursor, uint(cursor, 1 << (type - 0xd9)))
    case 0xdc:
    case 0xdd:
      return array(cursor, uint(cursor, 2 << (type - 0xdc)), depth)
    case 0xde:
    case 0xdf:
      return map(cursor, uint(cursor, 2 << (type - 0xde)), depth)
    default:
      throw new FrameError('a type that Kong does not send')
  }
}

function map(cursor: Cursor, size: number, depth: number): Record<string, unknown> {
  if (depth >= MAX_DEPTH) throw new FrameError('nested too deep')
  const result: Record<string, unknown> = {}
  for (let index = 0; index < size; index++) {
    const key = item(cursor, depth + 1)
    if (typeof key !== 'string' && typeof key !== 'number') throw new FrameError('a map key of a wrong type')
    if (key === '__proto__') throw new FrameError('a map key that is not allowed')
    result[key] = item(cursor, depth + 1)
  }
  return result
}

function array(cursor: Cursor, size: number, depth: number): unknown[] {
  if (depth >= MAX_DEPTH) throw new FrameError('nested too deep')
  const result: unknown[] = []
  for (let index = 0; index < size; index++) result.push(item(cursor, depth + 1))
  return result
}

function uint(cursor: Cursor, length: number): number {
  return number(cursor, length, (at) => cursor.bytes.readUIntBE(at, length))
}

function number(cursor: Cursor, length: number, read: (at: number) => number): number {
  const value = read(cursor.at)
  cursor.at += length
  return value
}

function safe(value: bigint): number {
  const result = Number(value)
  if (!Number.isSafeInteger(result)) throw new FrameError('an integer that is not exact')
  return result
}

function text(cursor: Cursor, length: number): string {
  return take(cursor, length).toString('utf8')
}

function take(cursor: Cursor, length: number): Buffer {
  const end = cursor.at + length
  if (end > cursor.bytes.length) throw new RangeError('ends too early')
  const slice = cursor.bytes.subarray(cursor.at, end)
  cursor.at = end
  return slice
}
