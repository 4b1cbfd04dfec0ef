import { describe, expect, test } from 'vitest'
import { createRedactor } from '../../../policies/redaction/index.ts'
import { ID_KINDS } from '../../fixtures/redaction/identifiers.ts'
import { seeded } from '../../fixtures/redaction/random.ts'

const redactor = createRedactor({ families: ['national'] })

function masks(text: string, value: string): boolean {
  const start = text.indexOf(value)
  return redactor.find(text).some((finding) => finding.start <= start && finding.end >= start + value.length)
}

describe.each(ID_KINDS)('$type', ({ make, says, type }) => {
  test('is found alone and where a word announces it', () => {
    const r = seeded(type.length * 7919)
    for (let i = 0; i < 25; i++) {
      const value = make(r)
      expect(masks(value, value), value).toBe(true)
      const announced = `Please note: ${says} ${value} (see the form).`
      expect(masks(announced, value), announced).toBe(true)
    }
  })
})

/** Kinds whose check digits let them be found without a word beside them. */
const CERTAIN = [
  'ES_NIF',
  'IT_FISCAL_CODE',
  'FR_NIR',
  'PL_PESEL',
  'CH_AHV',
  'BE_NATIONAL',
  'NO_PERSONAL',
  'SG_NRIC',
  'CN_ID',
  'CL_RUT',
  'AR_CUIT',
  'BR_CNPJ',
  'IE_PPS',
  'DE_PENSION',
  'CZ_BIRTH',
  'AU_ABN',
  'KR_BRN',
]

describe.each(CERTAIN)('%s', (type) => {
  const kind = ID_KINDS.find((candidate) => candidate.type === type)
  const make = kind?.make ?? (() => '')

  test('is found in plain prose, but not with a wrong check character', () => {
    const r = seeded(42)
    let wrong = 0
    for (let i = 0; i < 20; i++) {
      const value = make(r)
      const text = `The reference we got yesterday was ${value} and nothing else.`
      expect(masks(text, value), value).toBe(true)
      const last = value.at(-1) ?? ''
      const other = /\d/.test(last)
        ? String((Number(last) + 1) % 10)
        : String.fromCharCode(((last.charCodeAt(0) - 64) % 26) + 65)
      const broken = value.slice(0, -1) + other
      if (masks(text.replace(value, broken), broken)) wrong++
    }
    // A few schemes give two check characters for one body, or read a wrong number as another scheme's right one.
    expect(wrong).toBeLessThanOrEqual(4)
  })
})

test.each([
  ['numbers without a word that announces them', 'We counted 123456789 rows and 4155550132 bytes in 20240131 seconds.'],
  ['a number inside a word', 'user_123456789 and build-987654321 and v12345678Z9'],
  ['versions and dates', 'Released 2024-01-31 as 10.15.7.1234 (build 20240131).'],
  ['git hashes and UUIDs', 'commit 9fceb02d0ae598e95dc970b74767f19372d61af8, id 123e4567-e89b-12d3-a456-426614174000'],
  ['time stamps', 'at 1612345678901 and 1612345678 the job ran'],
  ['never issued social security numbers', 'The codes 000-12-3456, 666-12-3456, 900-12-3456 and 123-00-4567 are void.'],
])('leaves alone: %s', (_, text) => {
  expect(redactor.find(text)).toEqual([])
})
