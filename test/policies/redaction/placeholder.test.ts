import { createHmac } from 'node:crypto'
import { expect, test } from 'vitest'
import { createRedactor, redact } from '../../../policies/redaction/index.ts'
import { hmacSha256 } from '../../../policies/redaction/placeholder.ts'

const DAY = 86_400_000
const key = 'a key of more than sixteen bytes'
const text = 'jane@example.com, bob@example.com, jane@example.com'
const tags = (options: Parameters<typeof redact>[1]) => redact(text, options).text.match(/[0-9a-f]+(?=\])/g) ?? []

test('equal values have equal tags, others differ', () => {
  const [first, second, third] = tags({ key, now: 0 })
  expect(first).toMatch(/^[0-9a-f]{4}$/)
  expect(third).toBe(first)
  expect(second).not.toBe(first)
})

test('tags differ across tenants, keys and periods, and stay within one', () => {
  const base = { key, tenant: 'a', now: DAY, tagLength: 16 }
  const [tag] = tags(base)
  expect(tags({ ...base, now: 2 * DAY - 1 })[0]).toBe(tag)
  expect(tags({ ...base, now: 2 * DAY })[0]).not.toBe(tag)
  expect(tags({ ...base, tenant: 'b' })[0]).not.toBe(tag)
  expect(tags({ ...base, key: `${key}!` })[0]).not.toBe(tag)
  expect(tags({ ...base, rotateSeconds: 0, now: DAY })[0]).toBe(tags({ ...base, rotateSeconds: 0, now: 900 * DAY })[0])
})

test('the same value under another label has another tag', () => {
  const redactor = createRedactor({ key, now: 0, custom: [{ type: 'CUSTOMER', pattern: 'jane@example\\.com' }] })
  const [, label, tag] = /^\[(\w+):(\w+)\]/.exec(redactor.redact(text).text) ?? []
  expect(label).toBe('CUSTOMER')
  expect(tag).not.toBe(tags({ key, now: 0 })[0])
})

test('tenant and clock may come with the call', () => {
  const redactor = createRedactor({ key, now: 0, tagLength: 8 })
  const first = redactor.redact(text, { tenant: 'a', now: 5 * DAY }).text
  expect(redactor.redact(text, { tenant: 'a', now: 5 * DAY }).text).toBe(first)
  expect(redactor.redact(text, { tenant: 'b', now: 5 * DAY }).text).not.toBe(first)
  expect(redactor.redact(text, { tenant: 'a', now: 6 * DAY }).text).not.toBe(first)
})

test('without a key there is no tag', () => {
  expect(redact('jane@example.com').text).toBe('[EMAIL]')
})

test('bad options are refused without showing the key', () => {
  for (const options of [
    { key: 'short', now: 0 },
    { key, now: 0, tagLength: 3 },
    { key, now: 0, rotateSeconds: -1 },
    { key, tagLength: 2.5, now: 0 },
  ]) {
    expect(() => createRedactor(options)).toThrow(expect.objectContaining({ code: 'invalid_options' }))
  }
  expect(() => createRedactor({ key }).redact(text)).toThrow(expect.objectContaining({ code: 'invalid_options' }))
  expect(() => createRedactor({ key: 'short', now: 0 })).toThrow(
    expect.not.objectContaining({ message: expect.stringContaining('short') }),
  )
  expect(() => createRedactor({ families: ['nope' as 'pii'] })).toThrow(
    expect.objectContaining({ code: 'invalid_options' }),
  )
})

test('text is cut after redaction, never through a placeholder or a character', () => {
  const redactor = createRedactor()
  const long = 'Grüße 😀 an jane@example.com und bob@example.com'
  const whole = redactor.redact(long).text
  for (let maxBytes = 0; maxBytes <= Buffer.byteLength(whole) + 2; maxBytes++) {
    const cut = redactor.redact(long, { maxBytes })
    expect(Buffer.byteLength(cut.text)).toBeLessThanOrEqual(maxBytes)
    expect(whole.startsWith(cut.text)).toBe(true)
    expect(cut.text).not.toMatch(/\[[A-Z]*$/)
    expect(cut.text).not.toMatch(/[\uD800-\uDBFF]$/)
    expect(cut.truncated).toBe(cut.text !== whole)
  }
})

test('the short way to an HMAC gives what node:crypto gives', () => {
  for (const message of ['', 'EMAIL:jane@example.com', 'Grüße 😀', 'x'.repeat(1_000)]) {
    for (const bytes of [Buffer.alloc(32, 7), Buffer.from(key), Buffer.alloc(64, 255)]) {
      expect(hmacSha256(bytes)(message)).toBe(createHmac('sha256', bytes).update(message).digest('hex'))
    }
  }
})
