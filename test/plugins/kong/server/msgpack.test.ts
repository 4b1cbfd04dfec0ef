import { decode as referenceDecode, encode as referenceEncode } from '@msgpack/msgpack'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FrameReader } from '../../../../plugins/kong/server/frame-reader.ts'
import { decode, FrameError, FrameScanner } from '../../../../plugins/kong/server/msgpack-decode.ts'
import { encode } from '../../../../plugins/kong/server/msgpack-encode.ts'
import { DEFAULT_MAX_FRAME_BYTES } from '../../../../plugins/kong/server/serve.ts'
import { fields as audit } from '../../../../policies/audit/config.ts'
import { fields as scope } from '../../../../policies/scope/config.ts'
import { fields as tokenLimit } from '../../../../policies/token-limit/config.ts'

const key = fc.string({ maxLength: 40 }).filter((name) => name !== '__proto__')
const leaf = fc.oneof(
  fc.constant(null),
  fc.boolean(),
  fc.maxSafeInteger(),
  fc.double({ noNaN: true, noDefaultInfinity: true }).filter((value) => !Object.is(value, -0)),
  fc.string({ unit: 'grapheme', maxLength: 400 }),
  fc.uint8Array({ maxLength: 400 }),
)
const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    leaf,
    fc.array(tie('value'), { maxLength: 20 }),
    fc.dictionary(key, tie('value'), { maxKeys: 20, noNullPrototype: true }),
  ),
}))

describe('MessagePack', () => {
  test('decodes what the reference encodes', () => {
    fc.assert(
      fc.property(value, (item) => {
        expect(plain(decode(Buffer.from(referenceEncode(item))))).toEqual(plain(item))
      }),
    )
  })

  test('encodes what the reference decodes', () => {
    fc.assert(
      fc.property(value, (item) => {
        expect(plain(referenceDecode(encode(item)))).toEqual(plain(item))
      }),
    )
  })

  test.each([0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 48, Number.MAX_SAFE_INTEGER])(
    'integer border %d, both signs',
    (integer) => {
      for (const signed of [integer, -integer, -integer - 1].filter(Number.isSafeInteger)) {
        expect(referenceDecode(encode(signed))).toBe(signed === 0 ? 0 : signed)
        expect(decode(Buffer.from(referenceEncode(signed)))).toBe(signed === 0 ? 0 : signed)
      }
    },
  )

  test.each([0, 31, 32, 255, 256, 65_535, 65_536])('lengths around %d', (length) => {
    const items = ['a'.repeat(length), Buffer.alloc(length, 1), Array.from({ length }, () => 1)]
    for (const item of items) {
      expect(plain(referenceDecode(encode(item)))).toEqual(plain(item))
      expect(plain(decode(Buffer.from(referenceEncode(item))))).toEqual(plain(item))
    }
  })

  test('leaves undefined members out', () => {
    expect(referenceDecode(encode({ a: undefined, b: 1 }))).toEqual({ b: 1 })
  })

  test('an overlong slash is no slash', () => {
    expect(decode(Buffer.of(0xa2, 0xc0, 0xaf))).toBe('\ufffd\ufffd')
  })

  test('a key never reaches the prototype', () => {
    const bytes = Buffer.concat([Buffer.of(0x81, 0xa9), Buffer.from('__proto__'), Buffer.of(1)])
    expect(() => decode(bytes)).toThrow(FrameError)
  })

  test('refuses what cannot be exact, deep nests, extension types, and a wrong end', () => {
    expect(() => decode(Buffer.of(0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))).toThrow(FrameError)
    expect(() => decode(Buffer.concat([Buffer.alloc(100_000, 0x91), Buffer.of(0xc0)]))).toThrow(FrameError)
    expect(() => decode(Buffer.of(0xd4, 1, 1))).toThrow(FrameError)
    expect(() => decode(Buffer.of(0xc1))).toThrow(FrameError)
    expect(() => decode(Buffer.of(1, 1))).toThrow(FrameError)
    expect(() => decode(Buffer.of(0xa5, 0x61))).toThrow(FrameError)
    expect(() => decode(Buffer.of())).toThrow(FrameError)
  })

  test('never fails with anything but a FrameError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          decode(Buffer.from(bytes))
        } catch (error) {
          expect(error).toBeInstanceOf(FrameError)
        }
      }),
    )
  })
})

describe('FrameScanner', () => {
  test('finds the end wherever the bytes are split', () => {
    fc.assert(
      fc.property(value, fc.array(fc.nat(), { maxLength: 6 }), (item, cuts) => {
        const bytes = encode(item)
        const scanner = new FrameScanner(1_000_000)
        const ends = cuts.map((cut) => cut % bytes.length).sort((a, b) => a - b)
        for (const end of ends) {
          expect(scanner.scan(bytes.subarray(0, end))).toBeUndefined()
          expect(scanner.needed).toBeLessThanOrEqual(bytes.length)
        }
        expect(scanner.scan(Buffer.concat([bytes, Buffer.of(1, 2, 3)]))).toBe(bytes.length)
      }),
    )
  })

  test.each([
    ['a string', Buffer.of(0xdb, 0xff, 0xff, 0xff, 0xff)],
    ['a binary', Buffer.of(0xc6, 0x7f, 0xff, 0xff, 0xff)],
    ['an array', Buffer.of(0xdd, 0xff, 0xff, 0xff, 0xff)],
    ['a map', Buffer.of(0xdf, 0xff, 0xff, 0xff, 0xff)],
    ['nested arrays', Buffer.concat(Array.from({ length: 20 }, () => Buffer.of(0xdc, 0xff, 0xff)))],
  ])('refuses %s larger than the cap by its header alone', (_name, bytes) => {
    expect(() => new FrameScanner(1_000).scan(bytes)).toThrow(FrameError)
  })
})

test('the largest body that a policy may read fits into a frame, with all that may come with it', () => {
  const sizes = [audit, scope, tokenLimit].map(({ max_body_bytes: { type } }) => type.max ?? 0)
  expect(Math.min(...sizes)).toBeGreaterThan(0)
  // Of a request up to its body: method and argument, the facts, and how long the body is.
  const head = Buffer.alloc(7 + 200_000, 0x20)
  head.set([0x93, 0xa1, 0x78, 0xdb])
  head.writeUInt32BE(head.length - 13, 4)
  head.set([0xc6], head.length - 5)
  head.writeUInt32BE(Math.max(...sizes), head.length - 4)
  expect(new FrameScanner(DEFAULT_MAX_FRAME_BYTES).scan(head)).toBeUndefined()
  expect(() => new FrameScanner(64 * 1_048_576).scan(head)).toThrow(FrameError)
})

describe('FrameReader', () => {
  const frame = Buffer.from(referenceEncode([0, 7, 'plugin.Step', [{ EventId: 2 ** 48, Data: Buffer.alloc(300, 5) }]]))

  test('gives a frame that comes byte by byte', () => {
    const reader = new FrameReader(10_000)
    for (const byte of frame.subarray(0, -1)) expect(reader.push(Buffer.of(byte))).toEqual([])
    expect(reader.partial).toBe(true)
    expect(reader.push(frame.subarray(-1))).toEqual([frame])
    expect(reader.partial).toBe(false)
    expect(reader.push(frame)).toEqual([frame])
  })

  test('gives a frame split at any place', () => {
    for (let cut = 1; cut < frame.length; cut++) {
      const reader = new FrameReader(10_000)
      expect(reader.push(frame.subarray(0, cut))).toEqual([])
      expect(reader.push(frame.subarray(cut))).toEqual([frame])
    }
  })

  test('gives frames that come together, wherever they are split', () => {
    const three = Buffer.concat([frame, frame, frame])
    for (let cut = 1; cut < three.length; cut++) {
      const reader = new FrameReader(10_000)
      const first = reader.push(three.subarray(0, cut))
      expect(reader.partial).toBe(cut % frame.length !== 0)
      expect([...first, ...reader.push(three.subarray(cut))]).toEqual([frame, frame, frame])
    }
  })

  test('refuses a wrong head, of a second frame too, and one over the cap', () => {
    expect(() => new FrameReader(10_000).push(Buffer.concat([frame, Buffer.of(0x93)]))).toThrow(FrameError)
    expect(() => new FrameReader(10_000).push(Buffer.from('GET / HTTP/1.1\r\n\r\n'))).toThrow(FrameError)
    expect(() => new FrameReader(200).push(frame)).toThrow(FrameError)
  })

  test('copies a large frame a bounded number of times', () => {
    const large = Buffer.from(
      referenceEncode([0, 7, 'plugin.Step', [{ EventId: 1, Data: Buffer.alloc(8 * 1_048_576, 1) }]]),
    )
    const reader = new FrameReader(16 * 1_048_576)
    let held: ArrayBufferLike | undefined
    let moves = 0
    let frames = 0
    for (let at = 0; at < large.length; at += 65_536) {
      const result = reader.push(large.subarray(at, at + 65_536))
      const buffer = (reader as unknown as { held: Buffer | undefined }).held?.buffer ?? held
      if (buffer !== held) moves += 1
      held = buffer
      for (const whole of result) expect(whole.equals(large)).toBe(true)
      frames += result.length
    }
    expect(frames).toBe(1)
    expect(moves).toBeLessThan(4)
  })
})

/** Buffers and typed arrays alike. */
function plain(item: unknown): unknown {
  if (item instanceof Uint8Array) return { bytes: [...item] }
  if (Array.isArray(item)) return item.map(plain)
  if (typeof item !== 'object' || item === null) return item
  return Object.fromEntries(Object.entries(item).map(([name, member]) => [name, plain(member)]))
}
