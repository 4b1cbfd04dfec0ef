/** Fuzzing of redaction: no input throws, hangs, or lets a value through that stands alone in it. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createRedactor, redactBody } from '../../policies/redaction/index.ts'
import { hostileShapes } from '../fixtures/redaction/hostile.ts'
import { seeded } from '../fixtures/redaction/random.ts'
import { fill, TOKEN_SHAPES } from '../fixtures/redaction/secrets.ts'

const redactor = createRedactor({ families: ['pii', 'national', 'secret', 'person'], key: 'k'.repeat(32), now: 0 })
const units = [...hostileShapes(60).values()]

/** Runs of the units that hostile strings are made of, mixed with arbitrary characters. */
const hostile = fc
  .array(
    fc.oneof(
      fc
        .tuple(fc.constantFrom(...units), fc.integer({ min: 1, max: 40 }))
        .map(([unit, times]) => unit.slice(0, 12).repeat(times)),
      fc.string({ unit: 'binary', maxLength: 30 }),
      fc.string({ maxLength: 30 }),
    ),
    { maxLength: 12 },
  )
  .map((parts) => parts.join(''))

test('any text is redacted without a fault', () => {
  fc.assert(
    fc.property(hostile, (text) => {
      const { text: output, findings } = redactor.redact(text)
      expect(typeof output).toBe('string')
      for (const { start, end } of findings) expect(end - start).toBeGreaterThan(0)
    }),
    { numRuns: 300 },
  )
})

test('any JSON value is redacted without a fault, and stays JSON', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
      const { body } = redactBody(value)
      expect(JSON.stringify(JSON.parse(JSON.stringify(body)))).toBe(JSON.stringify(body))
    }),
    { numRuns: 200 },
  )
})

test('a token between spaces is masked whatever surrounds it', () => {
  fc.assert(
    fc.property(hostile, hostile, fc.integer({ min: 0, max: 1e9 }), (before, after, seed) => {
      const r = seeded(seed)
      const value = fill(
        r.pick(TOKEN_SHAPES.filter((shape) => /^(?:ghp_|AKIA|sk_live|glpat|npm_|xoxb|hvs|dop_v1|shpat)/.test(shape))),
        r,
      )
      const { text } = redactor.redact(`${before} ${value} ${after}`)
      expect(text).not.toContain(value)
    }),
    { numRuns: 200 },
  )
})

test('work on random mixtures grows no faster than their length', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...units), { minLength: 2, maxLength: 4 }), (chosen) => {
      const unit = chosen.map((part) => part.slice(0, 10)).join('')
      const small = countReads(unit.repeat(Math.ceil(6_000 / unit.length)))
      const large = countReads(unit.repeat(Math.ceil(24_000 / unit.length)))
      expect(large).toBeLessThanOrEqual(small * 1.4 + 4)
    }),
    { numRuns: 60 },
  )
})

/** Characters read for each character of a text. */
function countReads(text: string): number {
  const { charCodeAt } = String.prototype
  let reads = 0
  String.prototype.charCodeAt = function (at) {
    reads++
    return charCodeAt.call(this, at)
  }
  try {
    redactor.find(text)
  } finally {
    String.prototype.charCodeAt = charCodeAt
  }
  return reads / text.length
}
