/** Identifiers of Asia, Oceania, the Middle East and Africa. */

import { compact, digitAt, digitsOf, luhn, monthAndDay, uniform, verhoeff, weighted } from '../../checksums.ts'
import type { IdRule } from './rule.ts'
import { WORDS } from './rule.ts'

function aadhaar(value: string): boolean {
  const digits = digitsOf(value)
  const palindrome = [...digits].reverse().join('') === digits
  return digits.charCodeAt(0) >= 50 && !palindrome && verhoeff(digits)
}

const GST_ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ'

/** Base-36 Luhn of the GST Network. */
function gstin(value: string): boolean {
  const state = Number(value.slice(0, 2))
  if (!(state >= 1 && state <= 38) && state !== 97) return false
  let sum = 0
  for (let i = 0; i < 14; i++) {
    const product = GST_ALPHABET.indexOf(value[i] ?? '') * (i % 2 === 0 ? 1 : 2)
    sum += Math.floor(product / 36) + (product % 36)
  }
  return GST_ALPHABET[(36 - (sum % 36)) % 36] === value[14]
}

const INDIAN_STATES = new Set(
  'AN AP AR AS BR CG CH DD DL DN GA GJ HP HR JH JK KA KL LA LD MH ML MN MP MZ NL OD OR PB PY RJ SK TN TR TS UA UK UP WB'.split(
    ' ',
  ),
)

function indianPlate(value: string): boolean {
  return INDIAN_STATES.has(value.slice(0, 2)) && !value.endsWith('0000')
}

function nric(value: string): boolean {
  const offset = 'TG'.includes(value[0] ?? '') ? 4 : value[0] === 'M' ? 3 : 0
  const rest = (weighted(value.slice(1), [2, 7, 6, 5, 4, 3, 2]) + offset) % 11
  const letters = 'ST'.includes(value[0] ?? '') ? 'JZIHGFEDCBA' : value[0] === 'M' ? 'KLJNPQRTUWX' : 'XWUTRQPNMLK'
  return (value[0] === 'M' ? letters[10 - rest] : letters[rest]) === value[8] || letters[rest] === value[8]
}

/** ACRA's check letters for businesses, companies and other entities. */
function uen(value: string): boolean {
  if (value.length === 9) return 'XMKECAWLJDB'[weighted(value, [10, 4, 9, 3, 8, 2, 7, 1]) % 11] === value[8]
  if (/^\d/.test(value)) return 'ZKCMDNERGWH'[weighted(value, [10, 8, 6, 4, 9, 7, 5, 3, 1]) % 11] === value[9]
  const alphabet = 'ABCDEFGHJKLMNPQRSTUVWX0123456789'
  const weights = [4, 3, 5, 3, 10, 2, 2, 5, 7]
  let sum = 0
  for (const [i, weight] of weights.entries()) sum += alphabet.indexOf(value[i] ?? '') * weight
  return alphabet[(((sum - 5) % 11) + 11) % 11] === value[9]
}

function tfn(value: string): boolean {
  const digits = digitsOf(value)
  return !uniform(digits) && weighted(digits, [1, 4, 3, 7, 5, 8, 6, 9, 10]) % 11 === 0
}

function abn(value: string): boolean {
  const digits = digitsOf(value)
  return digits[0] !== '0' && (weighted(digits, [10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]) - 10) % 89 === 0
}

function acn(value: string): boolean {
  const digits = digitsOf(value)
  return !uniform(digits) && (10 - (weighted(digits, [8, 7, 6, 5, 4, 3, 2, 1]) % 10)) % 10 === digitAt(digits, 8)
}

function medicare(value: string): boolean {
  const digits = digitsOf(value)
  return weighted(digits, [1, 3, 7, 9, 1, 3, 7, 9]) % 10 === digitAt(digits, 8)
}

function korean(value: string): boolean {
  const digits = digitsOf(value)
  return monthAndDay(Number(digits.slice(2, 4)), Number(digits.slice(4, 6))) && digitAt(digits, 6) >= 1
}

function koreanChecked(value: string): boolean {
  const digits = digitsOf(value)
  const sum = weighted(digits, [2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]) % 11
  const shift = digitAt(digits, 6) >= 5 && digitAt(digits, 6) <= 8 ? 13 : 11
  return korean(value) && (shift - sum) % 10 === digitAt(digits, 12)
}

function koreanBusiness(value: string): boolean {
  const digits = digitsOf(value)
  const last = digitAt(digits, 8) * 5
  const sum = weighted(digits, [1, 3, 7, 1, 3, 7, 1, 3]) + last + Math.floor(last / 10)
  return (10 - (sum % 10)) % 10 === digitAt(digits, 9) && !uniform(digits)
}

function koreanLicence(value: string): boolean {
  const region = Number(value.slice(0, 2))
  return region >= 11 && region <= 28 && region !== 27
}

function thai(value: string): boolean {
  const digits = digitsOf(value)
  const sum = weighted(digits, [13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2])
  return digits[0] !== '0' && (11 - (sum % 11)) % 10 === digitAt(digits, 12)
}

/** GB 11643: ISO 7064 MOD 11-2 over a region, a birth date and a serial. */
function chinese(value: string): boolean {
  const sum = weighted(value, [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2])
  const year = Number(value.slice(6, 10))
  if (year < 1900 || year > 2100 || !monthAndDay(Number(value.slice(10, 12)), Number(value.slice(12, 14)))) return false
  return '10X98765432'[sum % 11] === value[17]?.toUpperCase()
}

function taiwanese(value: string): boolean {
  const order = 'ABCDEFGHJKLMNPQRSTUVXYWZIO'.indexOf(value[0] ?? '') + 10
  const sum = Math.floor(order / 10) + (order % 10) * 9 + weighted(value.slice(1), [8, 7, 6, 5, 4, 3, 2, 1, 1])
  return order >= 10 && sum % 10 === 0
}

function hongKong(value: string): boolean {
  const characters = compact(value)
  const padded = characters.length === 8 ? ` ${characters}` : characters
  let sum = 0
  for (let i = 0; i < 9; i++) {
    const code = padded.charCodeAt(i)
    sum += (code === 32 ? 36 : code <= 57 ? code - 48 : code - 55) * (9 - i)
  }
  return sum % 11 === 0
}

function japanese(value: string): boolean {
  const digits = digitsOf(value)
  const rest = weighted(digits, [6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11
  return (rest <= 1 ? 0 : 11 - rest) === digitAt(digits, 11) && !uniform(digits)
}

function birthFirst(value: string): boolean {
  const digits = digitsOf(value)
  return monthAndDay(Number(digits.slice(2, 4)), Number(digits.slice(4, 6)))
}

function southAfrican(value: string): boolean {
  const digits = digitsOf(value)
  return birthFirst(value) && digitAt(digits, 10) <= 2 && digitAt(digits, 11) >= 8 && luhn(digits)
}

function philippine(value: string): boolean {
  const digits = digitsOf(value)
  return weighted(digits, [9, 8, 7, 6, 5, 4, 3, 2]) % 11 === digitAt(digits, 8)
}

function israeli(value: string): boolean {
  return luhn(digitsOf(value)) && !uniform(digitsOf(value))
}

function turkish(value: string): boolean {
  const odd = digitAt(value, 0) + digitAt(value, 2) + digitAt(value, 4) + digitAt(value, 6) + digitAt(value, 8)
  const even = digitAt(value, 1) + digitAt(value, 3) + digitAt(value, 5) + digitAt(value, 7)
  const tenth = (((odd * 7 - even) % 10) + 10) % 10
  return tenth === digitAt(value, 9) && (odd + even + tenth) % 10 === digitAt(value, 10)
}

function emirates(value: string): boolean {
  return luhn(digitsOf(value))
}

export const ASIA_PACIFIC: readonly IdRule[] = [
  {
    type: 'IN_AADHAAR',
    starts: '9999',
    pattern: '[2-9]\\d{3}([- :])\\d{4}\\1\\d{4}(?![- :]\\d)',
    check: aadhaar,
    certain: true,
  },
  {
    type: 'IN_AADHAAR',
    starts: '999999999999',
    pattern: '[2-9]\\d{11}',
    check: aadhaar,
    context: /aadhaar|aadhar|uidai|आधार/,
  },
  { type: 'IN_PAN', starts: 'AAAAA9999A', pattern: '[A-Z]{3}[ABCEFGHJKLPT][A-Z]\\d{4}[A-Z]', certain: true },
  { type: 'IN_PAN', starts: 'AAAAA9999A', pattern: '[A-Z]{5}\\d{4}[A-Z]', context: /\bpan\b|permanent account/ },
  {
    type: 'IN_GSTIN',
    starts: '99AAAAA9999AXAX',
    pattern: '\\d{2}[A-Z]{5}\\d{4}[A-Z][A-Z0-9]Z[A-Z0-9]',
    check: gstin,
    certain: true,
  },
  {
    type: 'IN_GSTIN',
    starts: '99AAAAA9999AXAX',
    pattern: '\\d{2}[A-Z]{5}\\d{4}[A-Z][A-Z0-9]Z[A-Z0-9]',
    context: /\bgst|goods and services|tax/,
  },
  { type: 'IN_PASSPORT', starts: 'A9999999 A99', pattern: '[A-Z][1-9]\\d ?\\d{4}[1-9]', context: WORDS.passport },
  { type: 'IN_VOTER', starts: 'AAA9999999', pattern: '[A-Z]{3}\\d{7}', context: /voter|epic|election|elector/ },
  {
    type: 'IN_PLATE',
    starts: 'AA AA99 AA9 AA99A9999 AA99AA9999 AA99AAA9999 AA9A9999 AA9AA9999 AA9AAA9999',
    pattern: '[A-Z]{2}[ -]?\\d{1,2}[ -]?[A-Z]{1,3}[ -]?\\d{4}',
    check: indianPlate,
    certain: true,
  },
  { type: 'IN_PLATE', starts: '99AA9999A 99AA9999AA', pattern: '\\d{2}BH\\d{4}[A-HJ-NP-Z]{1,2}', certain: true },
  {
    type: 'IN_PLATE',
    starts: 'A9999 AA9999 AAA9999 A99999 99AA99 99AA999 999AA99 999AA999 99A999999A',
    pattern: '(?:[A-Z]{1,3}\\d{4,5}|\\d{2,3}(?:CD|CC|UN)\\d{2,3}|\\d{2}[A-Z]\\d{6}[A-Z])',
    context: /vehicle|\bplate|\brto\b/,
  },
  { type: 'SG_NRIC', starts: 'A9999999A', pattern: '[STFGM]\\d{7}[A-Z]', check: nric, certain: true },
  { type: 'SG_NRIC', starts: 'A9999999A', pattern: '[A-Z]\\d{7}[A-Z]', context: /nric|\bfin\b|\bfin#|singapore/ },
  {
    type: 'SG_UEN',
    starts: '99999999A 999999999A A99AA9999A',
    pattern: '(?:\\d{8,9}[A-Z]|[TSR]\\d{2}[A-Z]{2}\\d{4}[A-Z])',
    check: uen,
    context: WORDS.company,
  },
  { type: 'AU_TFN', starts: '999', pattern: '\\d{3}([ -])\\d{3}\\1\\d{3}', check: tfn, context: WORDS.tax },
  { type: 'AU_TFN', starts: '999999999', pattern: '\\d{9}', check: tfn, context: /\btfn\b|tax file/ },
  { type: 'AU_ABN', starts: '99', pattern: '\\d{2}([ -])\\d{3}\\1\\d{3}\\1\\d{3}', check: abn, certain: true },
  { type: 'AU_ABN', starts: '99999999999', pattern: '\\d{11}', check: abn, context: WORDS.company },
  { type: 'AU_ACN', starts: '999', pattern: '\\d{3}([ -])\\d{3}\\1\\d{3}', check: acn, context: WORDS.company },
  { type: 'AU_ACN', starts: '999999999', pattern: '\\d{9}', check: acn, context: /\bacn\b|company number/ },
  {
    type: 'AU_MEDICARE',
    starts: '9999',
    pattern: '[2-6]\\d{3}([ -])\\d{5}\\1\\d(?:[/ -]\\d)?',
    check: medicare,
    certain: true,
  },
  {
    type: 'AU_MEDICARE',
    starts: '9999999999 99999999999',
    pattern: '[2-6]\\d{9,10}',
    check: medicare,
    context: /medicare/,
  },
  { type: 'NZ_IRD', starts: '99 999', pattern: '\\d{2,3}-\\d{3}-\\d{3}', context: /\bird\b|inland revenue/ },
  { type: 'KR_RRN', starts: '999999', pattern: '\\d{6}-[1-8]\\d{6}', check: korean, certain: true },
  {
    type: 'KR_RRN',
    starts: '9999999999999',
    pattern: '\\d{6}[1-8]\\d{6}',
    check: korean,
    context: /\brrn|\bfrn|resident|foreigner|주민|외국인/,
  },
  { type: 'KR_RRN', starts: '9999999999999', pattern: '\\d{6}[1-8]\\d{6}', check: koreanChecked, certain: true },
  { type: 'KR_BRN', starts: '999', pattern: '\\d{3}-\\d{2}-\\d{5}', check: koreanBusiness, certain: true },
  { type: 'KR_BRN', starts: '9999999999', pattern: '\\d{10}', check: koreanBusiness, context: WORDS.company },
  {
    type: 'KR_PASSPORT',
    starts: 'A999A9999 A99999999',
    pattern: '[MSROD](?:\\d{3}[A-Z]\\d{4}|\\d{8})',
    context: WORDS.passport,
  },
  {
    type: 'KR_DRIVER_LICENSE',
    starts: '99',
    pattern: '\\d{2}[- ]\\d{2}[- ]\\d{6}[- ]\\d{2}',
    check: koreanLicence,
    certain: true,
  },
  {
    type: 'KR_DRIVER_LICENSE',
    starts: '999999999999',
    pattern: '\\d{12}',
    check: koreanLicence,
    context: /면허|licen[cs]e/,
  },
  { type: 'TH_ID', starts: '9', pattern: '\\d-\\d{4}-\\d{5}-\\d{2}-\\d', check: thai, certain: true },
  {
    type: 'TH_ID',
    starts: '9999999999999',
    pattern: '\\d{13}',
    check: thai,
    context: /thai|\btnin\b|ประชาชน|บัตร|national id/,
  },
  {
    type: 'CN_ID',
    starts: '999999999999999999 99999999999999999A',
    pattern: '[1-9]\\d{16}[0-9Xx]',
    check: chinese,
    certain: true,
  },
  { type: 'TW_ID', starts: 'A999999999', pattern: '[A-Z][1289]\\d{8}', check: taiwanese, context: WORDS.social },
  {
    type: 'HK_ID',
    starts: 'A999999 AA999999',
    pattern: '[A-Z]{1,2}\\d{6}\\([0-9A]\\)',
    check: hongKong,
    certain: true,
  },
  {
    type: 'JP_MY_NUMBER',
    starts: '9999',
    pattern: '\\d{4}([ -])\\d{4}\\1\\d{4}(?![ -]\\d)',
    check: japanese,
    context: WORDS.social,
  },
  {
    type: 'JP_MY_NUMBER',
    starts: '999999999999',
    pattern: '\\d{12}',
    check: japanese,
    context: /my ?number|マイナンバー|個人番号/,
  },
  { type: 'MY_MYKAD', starts: '999999', pattern: '\\d{6}-\\d{2}-\\d{4}', check: birthFirst, certain: true },
  { type: 'PK_CNIC', starts: '99999', pattern: '[1-7]\\d{4}-\\d{7}-\\d', certain: true },
  {
    type: 'PH_TIN',
    starts: '999',
    pattern: '\\d{3}-\\d{3}-\\d{3}(?:-\\d{3,5})?',
    check: philippine,
    context: WORDS.tax,
  },
  {
    type: 'PH_TIN',
    starts: '999999999 999999999999',
    pattern: '\\d{9}(?:\\d{3})?',
    check: philippine,
    context: /\btin\b|taxpayer|\bbir\b/,
  },
  {
    type: 'ID_NIK',
    starts: '9999999999999999',
    pattern: '\\d{16}',
    context: /\bnik\b|\bktp\b|kependudukan/,
    notBare: true,
  },
  { type: 'IL_ID', starts: '999999999', pattern: '\\d{9}', check: israeli, context: /teudat|israeli? id|ת\.?ז|תעודת/ },
  {
    type: 'AE_ID',
    starts: '999 999999999999999',
    pattern: '784-?(?:19|20)\\d{2}-?\\d{7}-?\\d',
    check: emirates,
    certain: true,
  },
  { type: 'SA_ID', starts: '9999999999', pattern: '[12]\\d{9}', context: /iqama|saudi|هوية/, notBare: true },
  { type: 'TR_ID', starts: '99999999999', pattern: '[1-9]\\d{10}', check: turkish, context: WORDS.social },
  {
    type: 'TR_PLATE',
    starts: '99 99A99 99A999 99A9999 99AA99 99AA999 99AA9999 99AAA99 99AAA999 99AAA9999',
    pattern: '(?:0[1-9]|[1-7]\\d|8[01])([ -]?)[A-PR-VY-Z]{1,3}\\1\\d{2,4}',
    context: WORDS.vehicle,
  },
  { type: 'ZA_ID', starts: '9999999999999', pattern: '\\d{13}', check: southAfrican, certain: true },
  { type: 'ZA_ID', starts: '999999', pattern: '\\d{6} \\d{4} \\d{2} ?\\d', check: southAfrican, certain: true },
  { type: 'NG_NIN', starts: '99999999999', pattern: '\\d{11}', context: /\bnin\b|nimc|national identi|nigeria/ },
  { type: 'NG_PLATE', starts: 'AAA AAA999AA', pattern: '[A-Z]{3}[- ]?\\d{3}[- ]?[A-Z]{2}', context: WORDS.vehicle },
  {
    type: 'EG_ID',
    starts: '99999999999999',
    pattern: '[23]\\d{13}',
    check: (value) => birthFirst(value.slice(1)),
    context: WORDS.social,
  },
]
