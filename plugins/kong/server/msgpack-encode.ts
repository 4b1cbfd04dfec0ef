/** MessagePack as Kong's Lua reads it. */

const MAX_DEPTH = 64
const FLOAT64 = 0xcb

/**
 * Encodes JSON-like values and bytes. Members that are undefined are left out, as nil would be in a Lua table.
 * @throws {TypeError} on anything else, a cycle or nesting beyond 64 included.
 */
export function encode(value: unknown): Buffer {
  const parts: Buffer[] = []
  write(parts, value, 0)
  return Buffer.concat(parts)
}

function write(parts: Buffer[], value: unknown, depth: number): void {
  if (depth > MAX_DEPTH) throw new TypeError('cannot encode what is nested so deep')
  switch (typeof value) {
    case 'undefined':
      parts.push(Buffer.of(0xc0))
      return
    case 'boolean':
      parts.push(Buffer.of(value ? 0xc3 : 0xc2))
      return
    case 'number':
      parts.push(number(value))
      return
    case 'string':
      text(parts, value)
      return
    case 'object':
      object(parts, value, depth)
      return
    default:
      throw new TypeError(`cannot encode a ${typeof value}`)
  }
}

function object(parts: Buffer[], value: object | null, depth: number): void {
  if (value === null) {
    parts.push(Buffer.of(0xc0))
  } else if (value instanceof Uint8Array) {
    parts.push(
      header(value.length, undefined, 0xc4, 0xc5, 0xc6),
      Buffer.from(value.buffer, value.byteOffset, value.length),
    )
  } else if (Array.isArray(value)) {
    parts.push(header(value.length, [0x90, 15], undefined, 0xdc, 0xdd))
    for (const element of value) write(parts, element, depth + 1)
  } else {
    const members = Object.entries(value).filter(([, member]) => member !== undefined)
    parts.push(header(members.length, [0x80, 15], undefined, 0xde, 0xdf))
    for (const [key, member] of members) {
      text(parts, key)
      write(parts, member, depth + 1)
    }
  }
}

function text(parts: Buffer[], value: string): void {
  const bytes = Buffer.from(value, 'utf8')
  parts.push(header(bytes.length, [0xa0, 31], 0xd9, 0xda, 0xdb), bytes)
}

/** @param fixed type byte and largest size of the form that holds the size itself. */
function header(
  size: number,
  fixed: readonly [type: number, max: number] | undefined,
  type8: number | undefined,
  type16: number,
  type32: number,
): Buffer {
  if (fixed !== undefined && size <= fixed[1]) return Buffer.of(fixed[0] | size)
  if (type8 !== undefined && size < 0x100) return Buffer.of(type8, size)
  if (size < 0x10000) return Buffer.of(type16, size >>> 8, size & 0xff)
  return Buffer.of(type32, size >>> 24, (size >>> 16) & 0xff, (size >>> 8) & 0xff, size & 0xff)
}

function number(value: number): Buffer {
  if (!Number.isSafeInteger(value)) return float(value)
  if (value >= 0) {
    if (value < 0x80) return Buffer.of(value)
    if (value < 0x100) return Buffer.of(0xcc, value)
    if (value < 0x10000) return Buffer.of(0xcd, value >>> 8, value & 0xff)
    if (value < 0x100000000) return wide(0xce, 4, (buffer) => buffer.writeUInt32BE(value, 1))
    return wide(0xcf, 8, (buffer) => buffer.writeBigUInt64BE(BigInt(value), 1))
  }
  if (value >= -0x20) return Buffer.of(value & 0xff)
  if (value >= -0x80) return Buffer.of(0xd0, value & 0xff)
  if (value >= -0x80000000) return wide(0xd2, 4, (buffer) => buffer.writeInt32BE(value, 1))
  return wide(0xd3, 8, (buffer) => buffer.writeBigInt64BE(BigInt(value), 1))
}

function float(value: number): Buffer {
  return wide(FLOAT64, 8, (buffer) => buffer.writeDoubleBE(value, 1))
}

function wide(type: number, length: number, fill: (buffer: Buffer) => void): Buffer {
  const buffer = Buffer.allocUnsafe(1 + length)
  buffer[0] = type
  fill(buffer)
  return buffer
}
