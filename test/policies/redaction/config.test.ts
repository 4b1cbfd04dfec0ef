import { expect, test } from 'vitest'
import { checkRedaction, createRedactor, redactionFields, redactionOptions } from '../../../policies/redaction/index.ts'

const config = {
  families: ['pii', 'secret'],
  ignore: ['IP'],
  custom: [{ type: 'TICKET', pattern: 'ticket (T-\\d+)' }],
  tag_key: 'sixteen bytes or more',
  tag_rotate_seconds: 0,
  tag_length: 6,
} as const

test('a config becomes options of a redactor', () => {
  const redactor = createRedactor(redactionOptions(config))
  const { text } = redactor.redact('jane@example.com at 203.0.113.77, ticket T-77')
  expect(text).toMatch(/^\[EMAIL:[0-9a-f]{6}\] at 203\.0\.113\.77, ticket \[TICKET:[0-9a-f]{6}\]$/)
})

test('descriptions fit the bounds of a gateway', () => {
  for (const [name, field] of Object.entries(redactionFields)) {
    expect(name).toMatch(/^[a-z_]+$/)
    expect(field.description.length).toBeGreaterThanOrEqual(10)
    expect(field.description.length).toBeLessThanOrEqual(500)
  }
})

test('a pattern that RE2 does not take is an issue with its path', () => {
  expect(checkRedaction(config)).toEqual([])
  expect(checkRedaction({ ...config, custom: [{ type: 'A', pattern: '(?<=x)y' }] })).toEqual([
    { path: 'custom[0].pattern', message: 'is no RE2 pattern' },
  ])
})

test('a custom pattern cannot hang, however written', () => {
  const redactor = createRedactor({ families: ['pii'], custom: [{ type: 'EVIL', pattern: '(a+)+$' }] })
  expect(redactor.find(`${'a'.repeat(50_000)}!`)).toEqual([])
})

test.each([
  [{ type: 'lower', pattern: 'x' }, 'custom[0].type'],
  [{ type: 'A', pattern: '' }, 'custom[0].pattern'],
  [{ type: 'A', pattern: 'x'.repeat(1_001) }, 'custom[0].pattern'],
  [{ type: 'A', pattern: '(secret' }, 'custom[0].pattern'],
])('refuses %j by its place', (pattern, place) => {
  expect(() => createRedactor({ custom: [pattern] })).toThrow(place)
  expect(() => createRedactor({ custom: [pattern] })).not.toThrow('(secret')
})
