/** Identifiers of western and southern Europe. */

import {
  compact,
  digitAt,
  digitsOf,
  icao,
  luhn,
  mod11And10,
  mod97,
  monthAndDay,
  uniform,
  weighted,
} from '../../checksums.ts'
import type { IdRule } from './rule.ts'
import { WORDS } from './rule.ts'

/** Bundeszentralamt für Steuern: ISO 7064 MOD 11,10, and no digit more than three times among the first ten. */
function germanTaxId(value: string): boolean {
  const digits = digitsOf(value)
  if (digits[0] === '0' || !mod11And10(digits)) return false
  const counts = new Array<number>(10).fill(0)
  for (let i = 0; i < 10; i++) counts[digitAt(digits, i)] = (counts[digitAt(digits, i)] ?? 0) + 1
  return Math.max(...counts) <= 3
}

function crossSum(digits: string, weights: readonly number[]): number {
  let sum = 0
  for (const [i, weight] of weights.entries()) {
    const product = digitAt(digits, i) * weight
    sum += Math.floor(product / 10) + (product % 10)
  }
  return sum
}

function letterNumber(letter: string): string {
  return String(letter.charCodeAt(0) - 64).padStart(2, '0')
}

/** VKVV section 4: area, birth date (day plus 50 for a supplement), initial, serial, check digit. */
function germanPension(value: string): boolean {
  const id = compact(value)
  const day = Number(id.slice(2, 4)) % 50
  const month = Number(id.slice(4, 6))
  if (day < 1 || day > 31 || month < 1 || month > 12) return false
  const digits = id.slice(0, 8) + letterNumber(id[8] ?? 'A') + id.slice(9, 11)
  return crossSum(digits, [2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1]) % 10 === digitAt(id, 11)
}

function germanHealth(value: string): boolean {
  const digits = letterNumber(value[0] ?? 'A') + value.slice(1, 9)
  return crossSum(digits, [1, 2, 1, 2, 1, 2, 1, 2, 1, 2]) % 10 === digitAt(value, 9)
}

function germanDocument(value: string): boolean {
  return /\d/.test(value) && (/^[A-Z]\d{8}$/.test(value) || icao(value) || value.length === 9)
}

function germanDoctor(value: string): boolean {
  return (10 - (weighted(value, [4, 9, 4, 9, 4, 9]) % 10)) % 10 === digitAt(value, 6)
}

/** INSEE: 97 less the remainder by 97, Corsica's 2A and 2B counting as 19 and 18. */
function frenchNir(value: string): boolean {
  const id = compact(value)
  const digits = id.replace('2A', '19').replace('2B', '18')
  const key = Number(digits.slice(13, 15))
  return 97 - mod97(digits.slice(0, 13)) === key
}

function luhnDigits(value: string): boolean {
  return luhn(digitsOf(value)) && !uniform(digitsOf(value))
}

const SPANISH_LETTERS = 'TRWAGMYFPDXBNJZSQVHLCKE'

function spanishNif(value: string): boolean {
  const id = compact(value)
  return SPANISH_LETTERS[Number(id.slice(0, -1)) % 23] === id.at(-1)
}

function spanishNie(value: string): boolean {
  const id = compact(value)
  return SPANISH_LETTERS[Number(`${'XYZ'.indexOf(id[0] ?? '')}${id.slice(1, -1)}`) % 23] === id.at(-1)
}

function spanishCif(value: string): boolean {
  const id = compact(value)
  const digits = id.slice(1, 8)
  const even = digitAt(digits, 1) + digitAt(digits, 3) + digitAt(digits, 5)
  let odd = 0
  for (const i of [0, 2, 4, 6]) odd += Math.floor((digitAt(digits, i) * 2) / 10) + ((digitAt(digits, i) * 2) % 10)
  const check = (10 - ((even + odd) % 10)) % 10
  return id[8] === String(check) || id[8] === 'JABCDEFGHI'[check]
}

const ITALIAN_ODD = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23]

/** Decree of 23 December 1976: odd and even positions count by different tables. */
function italianCode(value: string): boolean {
  const id = value.toUpperCase()
  let sum = 0
  for (let i = 0; i < 15; i++) {
    const code = id.charCodeAt(i)
    const order = code <= 57 ? code - 48 : code - 65
    sum += i % 2 === 0 ? (ITALIAN_ODD[order] ?? 0) : order
  }
  return id.charCodeAt(15) - 65 === sum % 26
}

function portugueseNif(value: string): boolean {
  const digits = digitsOf(value)
  const rest = weighted(digits, [9, 8, 7, 6, 5, 4, 3, 2]) % 11
  return /^[1235689]/.test(digits) && (rest < 2 ? 0 : 11 - rest) === digitAt(digits, 8)
}

/** Letters count from 10, every second character doubles (Instituto dos Registos e do Notariado). */
function portugueseCard(value: string): boolean {
  const id = compact(value)
  let sum = 0
  for (let i = 0; i < id.length; i++) {
    const code = id.charCodeAt(id.length - 1 - i)
    let number = code <= 57 ? code - 48 : code - 55
    if (i % 2 === 1) {
      number *= 2
      if (number > 9) number -= 9
    }
    sum += number
  }
  return sum % 10 === 0
}

/** The Dutch eleven test: weights 9 to 2, and -1. */
function dutchBsn(value: string): boolean {
  const digits = digitsOf(value).padStart(9, '0')
  return !uniform(digits) && weighted(digits, [9, 8, 7, 6, 5, 4, 3, 2, -1]) % 11 === 0
}

/** 97 less the remainder of nine digits, preceded by a 2 for births since 2000. */
function belgian(value: string): boolean {
  const digits = digitsOf(value)
  const check = Number(digits.slice(9))
  const month = Number(digits.slice(2, 4)) % 20
  if (month > 12) return false
  return 97 - mod97(digits.slice(0, 9)) === check || 97 - mod97(`2${digits.slice(0, 9)}`) === check
}

function belgianCompany(value: string): boolean {
  const digits = digitsOf(value)
  return 97 - mod97(digits.slice(0, 8)) === Number(digits.slice(8)) && /^[01]/.test(digits)
}

/** GS1's check digit over 756 and the number. */
function swissAhv(value: string): boolean {
  const digits = digitsOf(value)
  const sum = weighted(digits, [1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3])
  return (10 - (sum % 10)) % 10 === digitAt(digits, 12)
}

function austrianSocial(value: string): boolean {
  const digits = digitsOf(value)
  if (!monthAndDay(Number(digits.slice(6, 8)), Number(digits.slice(4, 6)))) return false
  return weighted(digits, [3, 7, 9, 0, 5, 8, 4, 2, 1, 6]) % 11 === digitAt(digits, 3)
}

function germanVat(value: string): boolean {
  return mod11And10(digitsOf(value))
}

const ICAO_LETTER = '[CFGHJKLMNPRTVWXYZ]'
const ICAO_EITHER = '[CFGHJKLMNPRTVWXYZ0-9]'

export const EUROPE: readonly IdRule[] = [
  {
    type: 'DE_TAX_ID',
    starts: '99',
    pattern: '[1-9]\\d([ ])\\d{3}\\1\\d{3}\\1\\d{3}',
    check: germanTaxId,
    certain: true,
  },
  { type: 'DE_TAX_ID', starts: '99999999999', pattern: '[1-9]\\d{10}', check: germanTaxId, context: WORDS.tax },
  {
    type: 'DE_TAX_NUMBER',
    starts: '999 99',
    pattern: '\\d{2,3}/\\d{3,4}/\\d{4,5}',
    context: /steuer|\bst\.?-? ?nr|finanzamt/,
  },
  {
    type: 'DE_TAX_NUMBER',
    starts: '9999999999999',
    pattern: '(?:0[1-9]|1[0-6])\\d{11}',
    context: /steuer|\bst\.?-? ?nr|finanzamt/,
  },
  {
    type: 'DE_PENSION',
    starts: '99999999A999 99',
    pattern: '\\d{2} ?\\d{6} ?[A-Z] ?\\d{3}',
    check: germanPension,
    certain: true,
  },
  { type: 'DE_PENSION', starts: '99999999A999 99', pattern: '\\d{2} ?\\d{6} ?[A-Z] ?\\d{3}', context: WORDS.social },
  { type: 'DE_HEALTH', starts: 'A999999999', pattern: '[A-Z]\\d{9}', check: germanHealth, context: WORDS.health },
  {
    type: 'DE_ID_CARD',
    starts: 'XXXXXXXXX XXXXXXXXXX',
    pattern: `(?:${ICAO_LETTER}${ICAO_EITHER}{7,8}\\d|T\\d{8,9})`,
    check: germanDocument,
    context: /ausweis|identity card|\bnpa\b|personal|reisepass|\bpass|dokument|serien/,
  },
  {
    type: 'DE_DRIVER_LICENSE',
    starts: 'AA99999999X A99XXXXXX9X',
    pattern: '(?:[A-Z]{2}\\d{8}[A-Z0-9]|[A-Z]\\d{2}[A-Z0-9]{6}\\d[A-Z0-9])',
    context: WORDS.licence,
  },
  { type: 'DE_DOCTOR', starts: '999999999', pattern: '\\d{9}', check: germanDoctor, context: /arzt|\blanr|rezept/ },
  { type: 'DE_PRACTICE', starts: '999999999', pattern: '\\d{9}', context: /\bbsnr|betriebsst[aä]tt|praxis/ },
  {
    type: 'DE_COMPANY',
    starts: 'AAA AAA9 AAA99 AAA999 AAA9999 AAA99999 AAA999999',
    pattern: 'HR[AB] ?\\d{1,6}',
    certain: true,
  },
  {
    type: 'DE_PLATE',
    starts: 'A AA AAA',
    pattern: '[A-ZÄÖÜ]{1,3}(?:-[A-Z]{1,2}[ -]|[ ][A-Z]{1,2} ?)\\d{1,4}[EH]?',
    context: WORDS.vehicle,
  },
  {
    type: 'POSTAL_CODE',
    starts: '99999',
    pattern: '\\d{5}(?:-\\d{4})?',
    context: /\bplz\b|postleitzahl|\bzip\b|code postal|c[oó]digo postal|\bcap\b/,
  },
  {
    type: 'DE_VAT',
    starts: 'AA999999999 AA',
    pattern: 'DE[ .-]?\\d{3}[ .-]?\\d{3}[ .-]?\\d{3}',
    check: germanVat,
    certain: true,
  },
  { type: 'DE_VAT', starts: 'AA999999999 AA', pattern: 'DE[ .-]?\\d{3}[ .-]?\\d{3}[ .-]?\\d{3}', context: WORDS.tax },
  {
    type: 'FR_NIR',
    starts: '9 999999999999999 9999999999999 99999A99999999',
    pattern: '[1-478] ?\\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\\d) ?(?:\\d{2}|2[AB]) ?\\d{3} ?\\d{3} ?\\d{2}',
    check: frenchNir,
    certain: true,
  },
  {
    type: 'FR_NIR',
    starts: '9999999999999',
    pattern: '[12]\\d{2}(?:0[1-9]|1[0-2])\\d{8}',
    context: /s[eé]cu|\bnir\b|\binsee\b/,
    notBare: true,
  },
  {
    type: 'FR_SIRET',
    starts: '999 99999999999999',
    pattern: '\\d{3} ?\\d{3} ?\\d{3} ?\\d{5}',
    check: luhnDigits,
    context: /sire[nt]|entreprise|soci[eé]t[eé]|établissement/,
  },
  {
    type: 'FR_SIREN',
    starts: '999 999999999',
    pattern: '\\d{3} ?\\d{3} ?\\d{3}',
    check: luhnDigits,
    context: /siren|\brcs\b/,
  },
  { type: 'FR_PASSPORT', starts: '99AA99999', pattern: '\\d{2}[A-Z]{2}\\d{5}', context: WORDS.passport },
  {
    type: 'FR_ID_CARD',
    starts: '999999999999 99999999AAA9',
    pattern: '\\d{12}',
    context: /carte (?:nationale )?d.identit|\bcni\b|permis de conduire/,
  },
  {
    type: 'FR_TAX',
    starts: '9999999999999 99',
    pattern: '[0-3]\\d ?\\d{2} ?\\d{3} ?\\d{3} ?\\d{3}',
    context: /fiscal|imp[oô]t|\bspi\b/,
    notBare: true,
  },
  {
    type: 'FR_VAT',
    starts: 'AA99999999999 AAXX999999999 AA',
    pattern: 'FR ?[A-Z0-9]{2} ?\\d{3} ?\\d{3} ?\\d{3}',
    certain: true,
  },
  {
    type: 'ES_NIF',
    starts: '99999999A 99999999 9999999A 9999999 99',
    pattern: '(?:\\d{7,8}[- ]?[A-Z]|\\d{2}\\.\\d{3}\\.\\d{3}[- ]?[A-Z])',
    check: spanishNif,
    certain: true,
  },
  {
    type: 'ES_NIE',
    starts: 'A9999999A A A9999999 A99999999A',
    pattern: '[XYZ][- ]?\\d{7,8}[- ]?[A-Z]',
    check: spanishNie,
    certain: true,
  },
  {
    type: 'ES_CIF',
    starts: 'A99999999 A9999999A A A9999999',
    pattern: '[ABCDEFGHJNPQRSUVW]-?\\d{7}-?[0-9A-J]',
    check: spanishCif,
    context: WORDS.tax,
  },
  { type: 'ES_PASSPORT', starts: 'AAA999999', pattern: '[A-Z]{3}\\d{6}', context: WORDS.passport },
  {
    type: 'ES_SOCIAL',
    starts: '99 999999999999',
    pattern: '\\d{2}[ /-]?\\d{8}[ /-]?\\d{2}',
    context: /seguridad social|\bnuss\b|afiliaci/,
  },
  {
    type: 'IT_FISCAL_CODE',
    starts: 'AAAAAA99A99A999A AAAAAAXXAXXAXXXA',
    pattern: '[A-Z]{6}[0-9LMNPQRSTUV]{2}[ABCDEHLMPRST][0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{3}[A-Z]',
    check: italianCode,
    certain: true,
  },
  {
    type: 'IT_VAT',
    starts: '99999999999 99 999 AA99999999999',
    pattern: '(?:IT)?\\d(?:[ _]?\\d){10}',
    check: (value) => luhnDigits(value),
    context: WORDS.tax,
  },
  {
    type: 'IT_ID_CARD',
    starts: 'AA99999AA AA9999999 9999999AA AA',
    pattern: '(?:[A-Z]{2}\\d{5}[A-Z]{2}|[A-Z]{2} ?\\d{7}|\\d{7}[A-Z]{2})',
    context: /carta|identit|elettronica|\bcie\b|documento|riconosc|passaport|viaggi/,
  },
  {
    type: 'IT_DRIVER_LICENSE',
    starts: 'AA9999999A AAXXXXXXXA',
    pattern: '(?:[A-Z]{2}\\d{7}[A-Z]|U1[BCDFGHLJKMNPRSTUWYXZ0-9]{7}[A-Z])',
    context: WORDS.licence,
  },
  {
    type: 'PT_NIF',
    starts: '999999999 999',
    pattern: '\\d{3} ?\\d{3} ?\\d{3}',
    check: portugueseNif,
    context: /\bnif\b|contribuinte|fiscal/,
  },
  {
    type: 'PT_CITIZEN_CARD',
    starts: '99999999 999999999AA9 999999999XX9',
    pattern: '\\d{8} ?\\d ?[A-Z0-9]{2}\\d',
    check: portugueseCard,
    context: WORDS.social,
  },
  {
    type: 'PT_SOCIAL',
    starts: '99999999999',
    pattern: '[12]\\d{10}',
    context: /\bniss\b|seguran[cç]a social/,
    notBare: true,
  },
  {
    type: 'NL_BSN',
    starts: '999999999 9999 999',
    pattern: '(?:\\d{9}|\\d{4}[. ]\\d{2}[. ]\\d{3}|\\d{3}([. -])\\d{3}\\1\\d{3})',
    check: dutchBsn,
    context: /\bbsn\b|burgerservice|sofi|citizen/,
  },
  { type: 'NL_VAT', starts: 'AA999999999A99', pattern: 'NL\\d{9}B\\d{2}', certain: true },
  { type: 'NL_PASSPORT', starts: 'AAXXXXXX9', pattern: '[A-NP-Z]{2}[A-NP-Z0-9]{6}\\d', context: WORDS.passport },
  {
    type: 'BE_NATIONAL',
    starts: '99',
    pattern: '\\d{2}\\.\\d{2}\\.\\d{2}-\\d{3}[.-]\\d{2}',
    check: belgian,
    certain: true,
  },
  { type: 'BE_NATIONAL', starts: '99999999999', pattern: '\\d{11}', check: belgian, context: WORDS.social },
  {
    type: 'BE_COMPANY',
    starts: '9999 AA9999999999',
    pattern: '(?:BE ?)?[01]\\d{3}\\.?\\d{3}\\.?\\d{3}',
    check: belgianCompany,
    certain: true,
  },
  {
    type: 'CH_AHV',
    starts: '999 9999999999999',
    pattern: '756\\.?\\d{4}\\.?\\d{4}\\.?\\d{2}',
    check: swissAhv,
    certain: true,
  },
  { type: 'CH_VAT', starts: 'AAA', pattern: 'CHE-\\d{3}\\.\\d{3}\\.\\d{3}', certain: true },
  {
    type: 'AT_SOCIAL',
    starts: '9999 9999999999',
    pattern: '[1-9]\\d{3}[ -]?\\d{6}',
    check: austrianSocial,
    context: WORDS.social,
  },
  {
    type: 'LU_NATIONAL',
    starts: '9999999999999',
    pattern: '(?:19|20)\\d{11}',
    context: /matricule|luxemb/,
    notBare: true,
  },
  {
    type: 'EU_VAT',
    starts: 'AAA99999999 AA9999999999 AA99999999 AA999999999 AA99999999999 AA999999999999',
    pattern:
      '(?:ATU\\d{8}|(?:BE[01]|PL)\\d{9,10}|(?:DK|FI|HU|LU|MT|SI)\\d{8}|(?:EL|EE|PT|ES[A-Z])\\d{8,9}|SE\\d{10}01|(?:CZ|SK|RO|HR|IT|LV)\\d{8,11})',
    context: WORDS.tax,
  },
]
