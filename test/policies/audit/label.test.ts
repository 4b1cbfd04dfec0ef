import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createLabeller } from '../../../policies/audit/label.ts'
import { modelLabel } from '../../../policies/llm/model-names.ts'
import { createRedactor } from '../../../policies/redaction/index.ts'
import { card, ID_KINDS, iban } from '../../fixtures/redaction/identifiers.ts'
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

const MODELS = [
  'gpt-4o-mini-2024-07-18 gpt-4.1-2025-04-14 gpt-5-2025-08-07 gpt-4-0125-preview gpt-3.5-turbo-16k-0613 o1-2024-12-17 o3',
  'o4-mini-deep-research-2025-06-26 gpt-4o-realtime-preview-2024-12-17 omni-moderation-2024-09-26 gpt-oss-120b whisper-1',
  'claude-3-5-sonnet-20241022 claude-opus-4-1-20250805 us.anthropic.claude-3-5-sonnet-20241022-v2:0 claude-haiku-4-5',
  'global.anthropic.claude-sonnet-4-5-20250929-v1:0 amazon.titan-embed-text-v2:0 openai/gpt-4o-2024-11-20 grok-4-0709',
  'gemini-2.0-flash-lite-preview-02-05 gemini-2.5-flash-preview-09-2025 gemini-embedding-001 imagen-3.0-generate-002',
  'meta-llama/Llama-3.3-70B-Instruct-Turbo mistralai/mixtral-8x22b-instruct-v0.1 codestral-2501 ministral-8b-2410',
  'qwen3-235b-a22b-instruct-2507 qwen/qwen3-coder-480b-a35b-instruct deepseek-r1-0528 deepseek-chat-v3-0324 phi-4',
  'kimi-k2-0905-preview command-r7b-12-2024 olmo-2-1124-13b-instruct llama3.2:3b-instruct-q4_K_M falcon-180b-chat',
].flatMap((line) => line.split(' '))

describe('a model’s name', () => {
  it.each(MODELS)('stays: %s', (name) => {
    expect(label.model(name)).toBe(name)
    expect(modelLabel(name)).toBe(name)
  })

  it('is a placeholder where somebody put more behind one', () => {
    const random = seeded(11)
    for (let round = 0; round < 150; round++)
      // A plate is as short as a size or a date.
      for (const value of [card(random), iban(random), random.pick(ID_KINDS).make(random)])
        for (const start of ['gpt-4o-', 'openai/gpt-4o:'])
          if (!/^[A-Z]{2}\d\d[A-Z]{2}\d{4}$/.test(value)) expect(label.model(start + value), value).toBe('[MODEL]')
    for (const value of ['4111111111111111', '4111-1111-1111-1111']) expect(modelLabel(`gpt-4o-${value}`)).toBe('other')
  })

  it('stays where the operator vouches for it', () => {
    const own = createLabeller(redactor, { ...options, models: ['acme-*'] })
    expect(own.model('acme-chat-123456789')).toBe('acme-chat-123456789')
  })
})
