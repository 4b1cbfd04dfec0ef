/** Identifiers of the United Kingdom and Ireland. */

import { compact, digitAt, digitsOf, uniform, weighted } from '../../checksums.ts'
import type { IdRule } from './rule.ts'
import { WORDS } from './rule.ts'

/** NHS Data Dictionary: weights 10 to 2, remainder by 11. */
function nhs(value: string): boolean {
  const digits = digitsOf(value)
  const check = (11 - (weighted(digits, [10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11)) % 11
  return check === digitAt(digits, 9) && !uniform(digits)
}

/** Prefixes that HMRC never allocates (NIM39110). */
function nino(value: string): boolean {
  const letters = compact(value)
  if (/^(?:BG|GB|NK|KN|NT|TN|ZZ)/.test(letters)) return false
  return /^[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]?$/.test(letters)
}

/** The Revenue Commissioners' modulus 23 with a weighted ninth letter. */
function pps(value: string): boolean {
  const letters = 'WABCDEFGHIJKLMNOPQRSTUV'
  const second = value[8] === undefined || value[8] === 'W' ? 0 : value.charCodeAt(8) - 64
  const sum = weighted(value, [8, 7, 6, 5, 4, 3, 2]) + 9 * second
  return letters[sum % 23] === value[7]
}

/** Surname padded with nines, then birth date and initials (DVLA). */
function drivingLicence(value: string): boolean {
  const month = Number(value.slice(6, 8)) % 50
  const day = Number(value.slice(8, 10))
  return /^[A-Z]+9*$/.test(value.slice(0, 5)) && month >= 1 && month <= 12 && day >= 1 && day <= 31
}

/** Age identifiers in use: 02 to 29 and 51 to 79. */
function plate(value: string): boolean {
  const age = Number(value.slice(2, 4))
  return (age >= 2 && age <= 29) || (age >= 51 && age <= 79)
}

const INWARD = '[0-9][ABD-HJLNP-UW-Z]{2}'

export const BRITISH: readonly IdRule[] = [
  { type: 'UK_NHS', starts: '999', pattern: '\\d{3}([- ])\\d{3}\\1\\d{4}', check: nhs, context: WORDS.health },
  { type: 'UK_NHS', starts: '9999999999', pattern: '\\d{10}', check: nhs, context: WORDS.health },
  {
    type: 'UK_NINO',
    starts: 'AA999999A AA AA99',
    pattern: '[A-Z]{2}[ -]?\\d{2}[ -]?\\d{2}[ -]?\\d{2}[ -]?[A-D]',
    check: nino,
    certain: true,
  },
  { type: 'UK_PASSPORT', starts: 'AA9999999 999999999', pattern: '(?:[A-Z]{2}\\d{7}|\\d{9})', context: WORDS.passport },
  {
    type: 'UK_DRIVING_LICENCE',
    starts: 'XXXXX999999XXXXX',
    pattern: '[A-Z9]{5}\\d{6}[A-Z9]{2}[A-Z0-9][A-Z]{2}',
    check: drivingLicence,
    certain: true,
  },
  {
    type: 'UK_PLATE',
    starts: 'AA99 AA99AAA',
    pattern: '[A-HJ-PR-Y]{2}\\d{2}[- ]?[A-HJ-PR-Z]{3}',
    check: plate,
    context: WORDS.vehicle,
  },
  {
    type: 'UK_PLATE',
    starts: 'A999 A99 A9 A999AAA A99AAA A9AAA',
    pattern: '[A-HJ-NPR-TV-Y]\\d{1,3}[- ]?[A-HJ-PR-Y][A-HJ-PR-Z]{2}',
    context: WORDS.vehicle,
  },
  {
    type: 'UK_PLATE',
    starts: 'AAA AAA999A AAA99A AAA9A AAA999',
    pattern: '[A-HJ-PR-Z]{3}[- ]?\\d{1,3}[- ]?[A-HJ-NPR-TV-Y]',
    context: WORDS.vehicle,
  },
  {
    type: 'UK_POSTCODE',
    starts: 'A9 A99 AA9 AA99 A9A AA9A A99AA A999AA AA99AA AA999AA A9A9AA AA9A9AA',
    pattern: `[A-PR-UWYZ](?:[A-HK-Y]?\\d{1,2}|[A-HK-Y]?\\d[A-HJKPSTUWABEHMNPRVWXY])[ ]?${INWARD}`,
    context: WORDS.postal,
  },
  {
    type: 'UK_UTR',
    starts: '9999999999 99999',
    pattern: '\\d{5} ?\\d{5}',
    context: /\butr\b|taxpayer reference|self assessment/,
  },
  { type: 'UK_SORT_CODE', starts: '99', pattern: '\\d{2}-\\d{2}-\\d{2}', context: /sort ?code/ },
  { type: 'UK_VAT', starts: 'AA999999999 AA', pattern: 'GB ?\\d{3} ?\\d{4} ?\\d{2}', context: WORDS.tax },
  { type: 'IE_PPS', starts: '9999999A 9999999AA', pattern: '\\d{7}[A-W][A-IW]?', check: pps, certain: true },
]
