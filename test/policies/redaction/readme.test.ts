import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { deterministicParts, README } from '../../fixtures/redaction/report.ts'

test('the rates, labels and vendors of the README are those of the code', () => {
  const text = readFileSync(README, 'utf8')
  expect(deterministicParts(text)).toBe(text)
})
