import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createStreamRedactor, redact } from '../../../policies/redaction/index.ts'

const WORDS = 'The quick brown fox jumps over a lazy dog while nobody is watching it closely. '
const KEY = `-----BEGIN PRIVATE KEY-----\n${`${'MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ7c'.repeat(1)}\n`.repeat(60)}-----END PRIVATE KEY-----`
const SECRETS = [
  'jane.doe@example.com',
  '4242 4242 4242 4242',
  `ghp_${'aB3dE5fG7hI9'.repeat(3)}`,
  '+1 415 555 0132',
  'GB82 WEST 1234 5698 7654 32',
  KEY,
]

function streamed(text: string, sizes: readonly number[]): string {
  const redactor = createStreamRedactor()
  let output = ''
  let at = 0
  for (let i = 0; at < text.length; i++) {
    const size = sizes[i % sizes.length] ?? 1
    output += redactor.push(text.slice(at, at + size))
    at += size
  }
  return output + redactor.end()
}

test('a stream cut anywhere is masked as the whole text is', () => {
  const part = fc.oneof(
    fc.integer({ min: 1, max: 40 }).map((times) => WORDS.repeat(times)),
    fc.constantFrom(...SECRETS).map((secret) => `and ${secret} then `),
  )
  fc.assert(
    fc.property(
      fc.array(part, { minLength: 1, maxLength: 12 }),
      fc.array(fc.integer({ min: 1, max: 900 }), { minLength: 1, maxLength: 6 }),
      (parts, sizes) => {
        const text = parts.join('')
        expect(streamed(text, sizes)).toBe(redact(text).text)
      },
    ),
    { numRuns: 60 },
  )
})

test('text goes out while the stream runs, and little is held back', () => {
  const redactor = createStreamRedactor()
  let out = 0
  let most = 0
  let given = 0
  for (let i = 0; i < 500; i++) {
    const text = redactor.push(WORDS)
    out += text.length
    given += WORDS.length
    most = Math.max(most, given - out)
  }
  expect(most).toBeLessThan(6_000)
  expect(out + redactor.end().length).toBe(given)
})

test('memory stays bounded and nothing leaks when a key never ends', () => {
  const redactor = createStreamRedactor()
  let output = redactor.push('log: -----BEGIN PRIVATE KEY-----\n')
  for (let i = 0; i < 3_000; i++)
    output += redactor.push(`${'MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ7cVJTUt9Us8cKj'}\n`)
  output += redactor.push('-----END PRIVATE KEY-----\ndone and dusted\n')
  output += redactor.end()
  expect(output).toContain('log: [PRIVATE_KEY]')
  expect(output).not.toContain('MIIEv')
  expect(output).toContain('done and dusted')
})

test('characters one at a time', () => {
  const text = `${WORDS.repeat(50)}mail jane.doe@example.com or call +1 415 555 0132. ${WORDS.repeat(50)}`
  expect(streamed(text, [1])).toBe(redact(text).text)
})
