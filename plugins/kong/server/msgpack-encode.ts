/**
 * MessagePack as Kong's Lua reads it best: lua-MessagePack makes a new function for every value whose size or number is
 * part of its type byte, which costs garbage and keeps LuaJIT from compiling, so those forms are not used.
 */

const MAX_DEPTH = 64
/** Kept from one message to the next; a larger one grows its own. */
const SCRATCH_BYTES = 16_384
/** Of the largest header: a type and a length of four bytes, or a number of eight. */
const MAX_HEADER = 9

const scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES)

interface Sink {
  bytes: Buffer
  length: number
}

/**
 * Encodes JSON-like values and bytes. Members that are undefined are left out, as nil would be in a Lua table.
 * @throws {TypeError} on anything else, a cycle or nesting beyond 64 included.
 */
export function encode(value: unknown): Buffer {
  const sink: Sink = { bytes: scratch, length: 0 }
  write(sink, value, 0)
  return Buffer.from(sink.bytes.subarray(0, sink.length))
}

/** Up to the first byte of the text: see {@link encodeText}. */
const TEXT_HEAD = 19

/**
 * An answer of MessagePack-RPC whose result is the length of a text and a binary of that text and what follows it. Every
 * size stands in its widest form, so that Lua can read it with two reads of a known length.
 */
export function encodeText(id: number, text: string, following: readonly Uint8Array[]): Buffer {
  const size = Buffer.byteLength(text)
  const total = following.reduce((sum, { length }) => sum + length, size)
  const answer = Buffer.allocUnsafe(TEXT_HEAD + total)
  answer[0] = 0x94
  answer[1] = 1
  answer[2] = 0xce
  answer.writeUInt32BE(id, 3)
  answer[7] = 0xc0
  answer[8] = 0x92
  answer[9] = 0xce
  answer.writeUInt32BE(size, 10)
  answer[14] = 0xc6
  answer.writeUInt32BE(total, 15)
  answer.write(text, TEXT_HEAD, size, 'utf8')
  let at = TEXT_HEAD + size
  for (const bytes of following) {
    answer.set(bytes, at)
    at += bytes.length
  }
  return answer
}

function write(sink: Sink, value: unknown, depth: number): void {
  if (depth > MAX_DEPTH) throw new TypeError('cannot encode what is nested so deep')
  switch (typeof value) {
    case 'undefined':
      put(sink, 0xc0)
      return
    case 'boolean':
      put(sink, value ? 0xc3 : 0xc2)
      return
    case 'number':
      number(sink, value)
      return
    case 'string':
      text(sink, value)
      return
    case 'object':
      object(sink, value, depth)
      return
    default:
      throw new TypeError(`cannot encode a ${typeof value}`)
  }
}

function object(sink: Sink, value: object | null, depth: number): void {
  if (value === null) {
    put(sink, 0xc0)
  } else if (value instanceof Uint8Array) {
    header(sink, value.length, 0xc4, 0xc5, 0xc6)
    reserve(sink, value.length)
    sink.bytes.set(value, sink.length)
    sink.length += value.length
  } else if (Array.isArray(value)) {
    header(sink, value.length, undefined, 0xdc, 0xdd)
    for (const element of value) write(sink, element, depth + 1)
  } else {
    const members = value as Readonly<Record<string, unknown>>
    const keys = Object.keys(members).filter((key) => members[key] !== undefined)
    header(sink, keys.length, undefined, 0xde, 0xdf)
    for (const key of keys) {
      text(sink, key)
      write(sink, members[key], depth + 1)
    }
  }
}

function text(sink: Sink, value: string): void {
  const length = Buffer.byteLength(value)
  header(sink, length, 0xd9, 0xda, 0xdb)
  reserve(sink, length)
  sink.length += sink.bytes.write(value, sink.length, length, 'utf8')
}

function header(sink: Sink, size: number, type8: number | undefined, type16: number, type32: number): void {
  if (type8 !== undefined && size < 0x100) unsigned(sink, type8, size, 1)
  else if (size < 0x10000) unsigned(sink, type16, size, 2)
  else unsigned(sink, type32, size, 4)
}

function number(sink: Sink, value: number): void {
  if (!Number.isSafeInteger(value)) {
    put(sink, 0xcb)
    reserve(sink, 8)
    sink.length = sink.bytes.writeDoubleBE(value, sink.length)
  } else if (value >= 0) {
    if (value < 0x100) unsigned(sink, 0xcc, value, 1)
    else if (value < 0x10000) unsigned(sink, 0xcd, value, 2)
    else if (value < 0x100000000) unsigned(sink, 0xce, value, 4)
    else wide(sink, 0xcf, value)
  } else if (value >= -0x20) {
    put(sink, value & 0xff)
  } else if (value >= -0x80000000) {
    put(sink, 0xd2)
    reserve(sink, 4)
    sink.length = sink.bytes.writeInt32BE(value, sink.length)
  } else wide(sink, 0xd3, value)
}

function unsigned(sink: Sink, type: number, value: number, length: 1 | 2 | 4): void {
  put(sink, type)
  reserve(sink, length)
  sink.length = sink.bytes.writeUIntBE(value, sink.length, length)
}

/** Two's complement in eight bytes, of a safe integer. */
function wide(sink: Sink, type: number, value: number): void {
  put(sink, type)
  reserve(sink, 8)
  sink.length = sink.bytes.writeBigInt64BE(BigInt(value), sink.length)
}

function put(sink: Sink, byte: number): void {
  reserve(sink, 1)
  sink.bytes[sink.length] = byte
  sink.length += 1
}

function reserve(sink: Sink, more: number): void {
  const needed = sink.length + more
  if (needed <= sink.bytes.length) return
  const grown = Buffer.allocUnsafeSlow(Math.max(2 * sink.bytes.length, needed + MAX_HEADER))
  sink.bytes.copy(grown, 0, 0, sink.length)
  sink.bytes = grown
}
