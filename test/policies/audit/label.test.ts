import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createLabeller } from '../../../policies/audit/label.ts'
import { createRedactor } from '../../../policies/redaction/index.ts'
import { seeded } from '../../fixtures/redaction/random.ts'
import { fill, TOKEN_SHAPES } from '../../fixtures/redaction/secrets.ts'

const redactor = createRedactor({ families: ['pii', 'national', 'secret'] })
const options = { models: [], custom: false, now: () => 0 }
const label = createLabeller(redactor, options)
/** Looks closely at every id, since a pattern of the operator's own might match it. */
const careful = createLabeller(redactor, { ...options, custom: true })

const BASE62 = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'
const bytes = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((array) => Buffer.from(array))

/** As Express Gateway makes them: a UUID in base 62. */
function uuid62(random: Buffer): string {
  let rest = BigInt(`0x${random.toString('hex')}`)
  let text = ''
  for (; text.length < 22; rest /= 62n) text = (BASE62[Number(rest % 62n)] ?? '') + text
  return text
}

describe('a request’s id', () => {
  it.each<[string, fc.Arbitrary<string>]>([
    ['Kong', bytes.map((random) => random.toString('hex'))],
    ['Express Gateway', bytes.map(uuid62)],
    ['an SDK', fc.uuid({ version: 4 })],
    ['OpenAI', bytes.map((random) => `req_${random.toString('hex')}`)],
  ])('of %s stays as the caller sees it', (_name, ids) => {
    let masked = 0
    fc.assert(
      fc.property(ids, (id) => {
        if (label.id(id) !== id) masked += 1
      }),
      { numRuns: 500 },
    )
    // A random text may by chance be a date or a passport's number.
    expect(masked).toBeLessThan(5)
  })

  it('is judged at a glance only where a close look says the same', () => {
    const digits = fc.stringMatching(/^\d{1,32}$/)
    const letters = fc.stringMatching(/^[a-f]{1,32}$/)
    const telling = fc.constantFrom(
      'bc1',
      'acca',
      '4b1d',
      'aaaa',
      'eaaa',
      'eaac',
      'acdb',
      '00d',
      'ac',
      'fc',
      'dec',
      'feb',
    )
    const made = fc
      .array(fc.oneof(digits, letters, telling, fc.stringMatching(/^[0-9a-f]{1,8}$/)), { minLength: 1, maxLength: 8 })
      .map((parts) => parts.join('').padEnd(32, 'a7').slice(0, 32))
    fc.assert(
      fc.property(fc.oneof(made, digits, letters), (id) => {
        expect(label.id(id), id).toBe(careful.id(id))
      }),
      { numRuns: 3_000 },
    )
  })

  it.each(['1'.repeat(32), '4111111111111111'.repeat(2), '3'.padEnd(32, 'a7')])(
    'that may be something else is looked at closely: %s',
    (id) => {
      expect(label.id(id)).toBe(careful.id(id))
    },
  )

  it('is a placeholder when it is a crypto address by its checksum', () => {
    expect(label.id('bc15556676e73fa94a062edc0e595e52')).toBe('[ID]')
  })

  it('that a pattern of the operator’s own matches is a placeholder', () => {
    const own = createRedactor({ custom: [{ type: 'OWN', pattern: '^a7{3}' }] })
    const id = `a777${'0'.repeat(28)}`
    expect(createLabeller(own, { ...options, custom: true }).id(id)).toBe('[ID]')
    expect(label.id(id)).toBe(id)
  })

  it('is a placeholder when it is a known kind of secret, or a person’s', () => {
    const random = seeded(7)
    const secrets = TOKEN_SHAPES.map((shape) => fill(shape, random)).filter((secret) => /^[\w.:-]{1,128}$/.test(secret))
    expect(secrets.length).toBeGreaterThan(100)
    for (const secret of [...secrets, '4111111111111111', '192.0.2.17', '078-05-1120', 'DE89370400440532013000'])
      expect(label.id(secret), secret).toBe('[ID]')
  })

  it('is a placeholder when it does not look like one', () => {
    for (const text of ['two words', 'x'.repeat(129), '{"a":1}', 'marie.curie@sorbonne.example', ''])
      expect(label.id(text), text).toBe('[ID]')
    expect(label.id(undefined)).toBeUndefined()
  })
})
