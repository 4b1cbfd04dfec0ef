import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RefusedRead } from '../../../policies/errors.ts'
import { parseJsonBody } from '../../../policies/llm/json.ts'
import { createTokenReader, readCarried, TokenRefused } from '../../../policies/scope/jwt/token.ts'
import { encode } from '../../support/jwks/issuer.ts'

const HEAD = encode({ alg: 'ES256', typ: 'JWT' })
const read = createTokenReader()
const claimsOf = (payload: string): unknown => {
  try {
    return read(`${HEAD}.${encode(payload)}.AAAA`).payload
  } catch (error) {
    if (error instanceof TokenRefused) return 'refused'
    throw error
  }
}
/** The strict reader alone. */
const strictly = (payload: string): unknown => {
  try {
    return parseJsonBody(Buffer.from(payload)).value
  } catch (error) {
    if (error instanceof RefusedRead) return 'refused'
    throw error
  }
}

describe('claims', () => {
  it.each([
    ['{"a":1,"a":1}', 'refused'],
    ['{"a":1, "a":2}', 'refused'],
    ['{"a" :1,"a":2}', 'refused'],
    ['{"a":1,"\\u0061":2}', 'refused'],
    ['{"a":{"b":1,"b":1}}', 'refused'],
    ['{"a":[{"b":1,"b":1}]}', 'refused'],
    ['{"__proto__":1,"__proto__":2}', 'refused'],
    ['{"1":1,"1":1}', 'refused'],
    ['[]', 'refused'],
    ['"x"', 'refused'],
    ['', 'refused'],
    ['{"a":1}', { a: 1 }],
    [' {"a" : 1}', { a: 1 }],
    ['{"b":1,"1":2}', { b: 1, 1: 2 }],
    ['{"a":1.0}', { a: 1 }],
    [`{"a":${'['.repeat(130)}${']'.repeat(130)}}`, 'refused'],
    [`{"a":${'['.repeat(7_000)}${']'.repeat(7_000)}}`, 'refused'],
  ])('%s', (payload, expected) => {
    expect(claimsOf(payload)).toEqual(expected)
  })

  it('are read as the strict reader reads them, whatever they are', () => {
    const key = fc.constantFrom('a', 'b', '1', '__proto__', 'toString')
    const member = fc.tuple(key, fc.jsonValue({ maxDepth: 2 }))
    const texts = fc.oneof(
      // Objects with names that may be there twice.
      fc
        .array(member, { maxLength: 5 })
        .map((all) => `{${all.map(([name, value]) => `"${name}":${JSON.stringify(value)}`).join(',')}}`),
      fc.json(),
      fc.json().map((text) => text.replaceAll(',', ', ')),
      fc.string({ unit: 'binary' }),
    )
    fc.assert(
      fc.property(texts, (text) => {
        expect(claimsOf(text)).toEqual(strictly(text))
      }),
      { numRuns: 500 },
    )
  })
})

describe('what a header carries', () => {
  it.each([
    [undefined, 'none'],
    ['', 'none'],
    ['Bearer', 'other'],
    ['Bearer ', 'other'],
    ['Basic eyJ.x.y', 'other'],
    ['Bearer sk-123', 'other'],
    ['Bearer eyJub3Rkb3Rz', 'other'],
    ['Bearer eyJ.x.y', 'token'],
    ['bearer   eyJ.x.y  ', 'token'],
    ['BEARER eyJ.', 'token'],
    ['Bearer eyJ.x.y, Bearer eyJ.x.y', 'token'],
    ['Bearer\teyJ.x.y', 'other'],
    ['eyJ.x.y', 'other'],
  ])('%j: %s', (value, type) => {
    expect(readCarried(value).type).toBe(type)
  })

  it('is told in time whatever it is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        const carried = readCarried(`Bearer ${text}`)
        if (carried.type === 'token') expect(() => read(carried.token)).toThrow(TokenRefused)
      }),
    )
    readCarried(`Bearer ${' '.repeat(100_000)}x ${' '.repeat(100_000)}y`)
  })
})
