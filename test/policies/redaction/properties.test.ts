import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createRedactor } from '../../../policies/redaction/index.ts'
import { card, ID_KINDS, iban } from '../../fixtures/redaction/identifiers.ts'
import { seeded } from '../../fixtures/redaction/random.ts'
import { fill, TOKEN_SHAPES } from '../../fixtures/redaction/secrets.ts'

const redactor = createRedactor({ families: ['pii', 'national', 'secret', 'person'], key: 'k'.repeat(32), now: 0 })

const value = fc
  .record({ seed: fc.integer({ min: 0, max: 1e6 }), kind: fc.integer({ min: 0, max: 5 }) })
  .map(({ seed, kind }) => {
    const r = seeded(seed)
    if (kind === 0) return card(r)
    if (kind === 1) return iban(r)
    if (kind === 2) return r.pick(ID_KINDS).make(r)
    if (kind === 3) return fill(r.pick(TOKEN_SHAPES), r)
    if (kind === 4) return `user${r.digits(3)}@example.com`
    return `password = "x${r.digits(4)}!q"`
  })
const noise = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.constantFrom(
    ' ',
    '\n',
    ', ',
    '"',
    '\\n',
    '%20',
    '\u200b',
    'é',
    '１',
    ': ',
    '=',
    '@',
    '-----BEGIN PRIVATE KEY-----',
    'eyJ',
    '://',
  ),
)
const text = fc.array(fc.oneof(noise, value), { maxLength: 12 }).map((parts) => parts.join(''))

describe('every text', () => {
  test('findings are sorted, inside the text, not empty, and do not overlap', () => {
    fc.assert(
      fc.property(text, (input) => {
        let last = 0
        for (const { type, start, end } of redactor.find(input)) {
          expect(type).toMatch(/^[A-Z][A-Z0-9_]*$/)
          expect(start).toBeGreaterThanOrEqual(last)
          expect(end).toBeGreaterThan(start)
          expect(end).toBeLessThanOrEqual(input.length)
          last = end
        }
      }),
      { numRuns: 400 },
    )
  })

  test('text outside the findings is kept, and each finding becomes one placeholder', () => {
    fc.assert(
      fc.property(text, (input) => {
        const { text: output, findings } = redactor.redact(input)
        let rest = output
        let at = 0
        for (const { type, start, end } of findings) {
          const kept = input.slice(at, start)
          expect(rest.startsWith(kept)).toBe(true)
          rest = rest.slice(kept.length)
          const placeholder = /^\[([A-Z][A-Z0-9_]*):[0-9a-f]{4}\]/.exec(rest)
          expect(placeholder?.[1]).toBe(type)
          rest = rest.slice(placeholder?.[0].length ?? 0)
          at = end
        }
        expect(rest).toBe(input.slice(at))
      }),
      { numRuns: 400 },
    )
  })

  test('the same text gives the same findings', () => {
    fc.assert(
      fc.property(text, (input) => {
        expect(redactor.find(input)).toEqual(redactor.find(input))
      }),
      { numRuns: 100 },
    )
  })

  test('what was masked once does not come back readable in a second pass', () => {
    fc.assert(
      fc.property(text, (input) => {
        const once = redactor.redact(input).text
        const twice = redactor.redact(once).text
        for (const { start, end } of redactor.find(input)) {
          const masked = input.slice(start, end)
          if (masked.length >= 12 && input.indexOf(masked) === input.lastIndexOf(masked))
            expect(twice).not.toContain(masked)
        }
      }),
      { numRuns: 200 },
    )
  })
})

test('texts joined by a blank line are masked as they are alone', () => {
  const sentence = value.map((made) => `We received ${made} from the customer this morning and filed it.`)
  fc.assert(
    fc.property(sentence, sentence, (first, second) => {
      const joint = '\n\n'
      const shift = first.length + joint.length
      const apart = [
        ...redactor.find(first),
        ...redactor.find(second).map(({ type, start, end }) => ({ type, start: start + shift, end: end + shift })),
      ]
      const together = redactor.find(first + joint + second)
      for (const { start, end } of apart) {
        expect(together.some((finding) => finding.start <= start && finding.end >= end)).toBe(true)
      }
    }),
    { numRuns: 200 },
  )
})
