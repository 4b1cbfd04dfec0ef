/** Identifiers of northern, central and eastern Europe. */

import { compact, digitAt, digitsOf, luhn, mod11And10, monthAndDay, uniform, weighted } from '../../checksums.ts'
import type { IdRule } from './rule.ts'
import { WORDS } from './rule.ts'

/** Luhn over the last ten digits; a coordination number adds 60 to the day (Skatteverket). */
function swedish(value: string): boolean {
  const digits = digitsOf(value).slice(-10)
  const day = Number(digits.slice(4, 6))
  return monthAndDay(Number(digits.slice(2, 4)), day > 60 ? day - 60 : day) && luhn(digits)
}

function swedishCompany(value: string): boolean {
  const digits = digitsOf(value).slice(-10)
  return digitAt(digits, 2) >= 2 && luhn(digits) && !uniform(digits)
}

/** The remainder by 31 of birth date and serial picks the last character (Digital and Population Data Services). */
function finnish(value: string): boolean {
  const digits = value.slice(0, 6) + value.slice(7, 10)
  if (!monthAndDay(Number(digits.slice(2, 4)), Number(digits.slice(0, 2)))) return false
  return '0123456789ABCDEFHJKLMNPRSTUVWXY'[Number(digits) % 31] === value[10]?.toUpperCase()
}

function finnishCompany(value: string): boolean {
  const digits = digitsOf(value)
  const rest = weighted(digits, [7, 9, 10, 5, 8, 4, 2]) % 11
  return rest !== 1 && (rest === 0 ? 0 : 11 - rest) === digitAt(digits, 7)
}

function dayFirst(value: string): boolean {
  const digits = digitsOf(value)
  return monthAndDay(Number(digits.slice(2, 4)), Number(digits.slice(0, 2)))
}

/** Two remainders by 11 (Skatteetaten); D numbers add 40 to the day. */
function norwegian(value: string): boolean {
  const digits = digitsOf(value)
  const day = Number(digits.slice(0, 2))
  if (!monthAndDay(Number(digits.slice(2, 4)) % 40, day > 40 ? day - 40 : day)) return false
  return (
    weighted(digits, [3, 7, 6, 1, 8, 9, 4, 5, 2, 1]) % 11 === 0 &&
    weighted(digits, [5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]) % 11 === 0
  )
}

function icelandic(value: string): boolean {
  const digits = digitsOf(value)
  return dayFirst(value) && weighted(digits, [3, 2, 7, 6, 5, 4, 3, 2, 1]) % 11 === 0
}

/** Months carry the century: plus 80, 0, 20, 40, 60. */
function pesel(value: string): boolean {
  const digits = digitsOf(value)
  if (!monthAndDay(Number(digits.slice(2, 4)) % 20, Number(digits.slice(4, 6)))) return false
  return weighted(digits, [1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]) % 10 === 0
}

function nip(value: string): boolean {
  const digits = digitsOf(value)
  return !uniform(digits) && weighted(digits, [6, 5, 7, 2, 3, 4, 5, 6, 7]) % 11 === digitAt(digits, 9)
}

function regon(value: string): boolean {
  const check = weighted(value, [8, 9, 2, 3, 4, 5, 6, 7]) % 11
  return check % 10 === digitAt(value, 8)
}

function polishIdCard(value: string): boolean {
  const id = compact(value)
  let sum = 0
  for (const [i, weight] of [7, 3, 1, 9, 7, 3, 1, 7, 3].entries()) {
    const code = id.charCodeAt(i)
    sum += (code <= 57 ? code - 48 : code - 55) * weight
  }
  return sum % 10 === 0
}

/** Ten digits divisible by 11; women add 50 to the month, overflow adds 20. */
function czech(value: string): boolean {
  const digits = digitsOf(value)
  const month = (Number(digits.slice(2, 4)) % 50) % 20
  if (!monthAndDay(month, Number(digits.slice(4, 6)))) return false
  const rest = Number(digits.slice(0, 9)) % 11
  return digits.length === 9 || rest % 10 === digitAt(digits, 9)
}

function romanian(value: string): boolean {
  if (!monthAndDay(Number(value.slice(3, 5)), Number(value.slice(5, 7)))) return false
  const rest = weighted(value, [2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11
  return (rest === 10 ? 1 : rest) === digitAt(value, 12)
}

function bulgarian(value: string): boolean {
  if (!monthAndDay(Number(value.slice(2, 4)) % 20, Number(value.slice(4, 6)))) return false
  return (weighted(value, [2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11) % 10 === digitAt(value, 9)
}

function yugoslav(value: string): boolean {
  if (!dayFirst(value)) return false
  const check = 11 - (weighted(value, [7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11)
  return (check > 9 ? 0 : check) === digitAt(value, 12)
}

function baltic(value: string): boolean {
  if (!monthAndDay(Number(value.slice(3, 5)), Number(value.slice(5, 7)))) return false
  const first = weighted(value, [1, 2, 3, 4, 5, 6, 7, 8, 9, 1]) % 11
  const second = weighted(value, [3, 4, 5, 6, 7, 8, 9, 1, 2, 3]) % 11
  return (first < 10 ? first : second % 10) === digitAt(value, 10)
}

function greekAmka(value: string): boolean {
  return dayFirst(value) && luhn(value)
}

function greekAfm(value: string): boolean {
  return !uniform(value) && (weighted(value, [256, 128, 64, 32, 16, 8, 4, 2]) % 11) % 10 === digitAt(value, 8)
}

function hungarianTaj(value: string): boolean {
  const digits = digitsOf(value)
  return weighted(digits, [3, 7, 3, 7, 3, 7, 3, 7]) % 10 === digitAt(digits, 8)
}

function snils(value: string): boolean {
  const digits = digitsOf(value)
  const check = (weighted(digits, [9, 8, 7, 6, 5, 4, 3, 2, 1]) % 101) % 100
  return check === Number(digits.slice(9))
}

export const NORDIC_EASTERN: readonly IdRule[] = [
  {
    type: 'SE_PERSONAL',
    starts: '999999 99999999',
    pattern: '(?:19|20)?\\d{6}[-+]\\d{4}',
    check: swedish,
    certain: true,
  },
  { type: 'SE_PERSONAL', starts: '999999999999', pattern: '(?:19|20)\\d{10}', check: swedish, certain: true },
  { type: 'SE_PERSONAL', starts: '9999999999', pattern: '\\d{10}', check: swedish, context: WORDS.social },
  { type: 'SE_COMPANY', starts: '999999', pattern: '\\d{6}-\\d{4}', check: swedishCompany, certain: true },
  { type: 'SE_COMPANY', starts: '9999999999', pattern: '\\d{10}', check: swedishCompany, context: WORDS.company },
  {
    type: 'FI_PERSONAL',
    starts: '999999 999999A999X 999999A999A',
    pattern: '\\d{6}[-+A-FU-Y]\\d{3}[0-9A-FHJ-NPR-Y]',
    check: finnish,
    certain: true,
  },
  { type: 'FI_COMPANY', starts: '9999999', pattern: '\\d{7}-\\d', check: finnishCompany, certain: true },
  { type: 'DK_CPR', starts: '999999', pattern: '\\d{6}-\\d{4}', check: dayFirst, certain: true },
  { type: 'DK_CPR', starts: '9999999999', pattern: '\\d{10}', check: dayFirst, context: /\bcpr\b|personnummer/ },
  { type: 'NO_PERSONAL', starts: '99999999999 999999', pattern: '\\d{6} ?\\d{5}', check: norwegian, certain: true },
  { type: 'IS_KENNITALA', starts: '999999 9999999999', pattern: '\\d{6}-?\\d{4}', check: icelandic, context: /kennit/ },
  { type: 'PL_PESEL', starts: '99999999999', pattern: '\\d{11}', check: pesel, certain: true },
  {
    type: 'PL_NIP',
    starts: '999',
    pattern: '\\d{3}-(?:\\d{3}-\\d{2}-\\d{2}|\\d{2}-\\d{2}-\\d{3})',
    check: nip,
    certain: true,
  },
  {
    type: 'PL_NIP',
    starts: '9999999999 AA9999999999',
    pattern: '(?:PL)?\\d{10}',
    check: (value) => nip(value),
    context: /\bnip\b|podat/,
  },
  {
    type: 'PL_REGON',
    starts: '999999999 99999999999999',
    pattern: '\\d{9}(?:\\d{5})?',
    check: regon,
    context: /regon/,
  },
  {
    type: 'PL_ID_CARD',
    starts: 'AAA999999 AAA',
    pattern: '[A-Z]{3} ?\\d{6}',
    check: polishIdCard,
    context: /dow[oó]d|osobist|identity|\bid\b/,
  },
  { type: 'PL_PASSPORT', starts: 'AA9999999 AA', pattern: '[A-Z]{2} ?\\d{7}', context: WORDS.passport },
  { type: 'CZ_BIRTH', starts: '999999', pattern: '\\d{6}/\\d{3,4}', check: czech, certain: true },
  { type: 'CZ_BIRTH', starts: '9999999999', pattern: '\\d{10}', check: czech, context: /rodn[eé]/ },
  { type: 'RO_CNP', starts: '9999999999999', pattern: '[1-8]\\d{12}', check: romanian, context: WORDS.social },
  { type: 'BG_EGN', starts: '9999999999', pattern: '\\d{10}', check: bulgarian, context: /\begn\b|егн/ },
  { type: 'HR_OIB', starts: '99999999999', pattern: '\\d{11}', check: mod11And10, context: /\boib\b/ },
  { type: 'YU_JMBG', starts: '9999999999999', pattern: '\\d{13}', check: yugoslav, context: /jmbg|em[sš]o|mati[cč]n/ },
  {
    type: 'BALTIC_PERSONAL',
    starts: '99999999999',
    pattern: '[1-6]\\d{10}',
    check: baltic,
    context: /isikukood|asmens|personal code|\bid\b/,
  },
  { type: 'LV_PERSONAL', starts: '999999', pattern: '\\d{6}-[0-2]\\d{4}', check: dayFirst, certain: true },
  { type: 'GR_AMKA', starts: '99999999999', pattern: '\\d{11}', check: greekAmka, context: /amka|αμκα/ },
  { type: 'GR_AFM', starts: '999999999', pattern: '\\d{9}', check: greekAfm, context: /\bafm\b|αφμ/ },
  {
    type: 'HU_TAJ',
    starts: '999 999999999',
    pattern: '\\d{3}[ -]?\\d{3}[ -]?\\d{3}',
    check: hungarianTaj,
    context: /\btaj\b/,
  },
  { type: 'HU_TAX', starts: '9999999999', pattern: '8\\d{9}', context: /ad[oó]azonos/, notBare: true },
  { type: 'RU_SNILS', starts: '999', pattern: '\\d{3}-\\d{3}-\\d{3}[ -]\\d{2}', check: snils, certain: true },
  { type: 'RU_PASSPORT', starts: '9999 99', pattern: '\\d{2} ?\\d{2} \\d{6}', context: /паспорт|passport/ },
  {
    type: 'RU_INN',
    starts: '9999999999 999999999999',
    pattern: '\\d{10}(?:\\d{2})?',
    context: /\binn\b|инн/,
    notBare: true,
  },
]
