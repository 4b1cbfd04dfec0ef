/** Identifiers of the Americas. */

import { compact, digitAt, digitsOf, luhn, monthAndDay, uniform, weighted } from '../../checksums.ts'
import type { IdRule } from './rule.ts'
import { WORDS } from './rule.ts'

/** Areas, groups and serials that the Social Security Administration never issues. */
function ssn(value: string): boolean {
  const digits = digitsOf(value)
  if (uniform(digits) || digits.startsWith('000') || digits.startsWith('666') || digits.startsWith('9')) return false
  return digits.slice(3, 5) !== '00' && digits.slice(5) !== '0000'
}

/** Group ranges of the IRS for individual taxpayer numbers. */
function itin(value: string): boolean {
  const group = Number(digitsOf(value).slice(3, 5))
  return (group >= 50 && group <= 65) || (group >= 70 && group <= 88) || (group >= 90 && group !== 93)
}

/** Weights 3, 7, 1 and the Federal Reserve's prefixes (American Bankers Association). */
function routing(value: string): boolean {
  const digits = digitsOf(value)
  const prefix = Number(digits.slice(0, 2))
  const issued = prefix <= 12 || (prefix >= 21 && prefix <= 32) || (prefix >= 61 && prefix <= 72) || prefix === 80
  return issued && !uniform(digits) && weighted(digits, [3, 7, 1, 3, 7, 1, 3, 7, 1]) % 10 === 0
}

/** Luhn over 80840 and the number (45 CFR 162.406). */
function npi(value: string): boolean {
  const digits = digitsOf(value)
  return !uniform(digits.slice(0, 9)) && luhn(`80840${digits}`)
}

/** Drug Enforcement Administration: odd digits plus twice the even ones end in the check digit. */
function dea(value: string): boolean {
  const digits = value.slice(2)
  const odd = digitAt(digits, 0) + digitAt(digits, 2) + digitAt(digits, 4)
  const even = digitAt(digits, 1) + digitAt(digits, 3) + digitAt(digits, 5)
  return (odd + 2 * even) % 10 === digitAt(digits, 6)
}

function cpf(value: string): boolean {
  const digits = digitsOf(value)
  if (uniform(digits)) return false
  const first = ((weighted(digits, [10, 9, 8, 7, 6, 5, 4, 3, 2]) * 10) % 11) % 10
  const second = ((weighted(digits, [11, 10, 9, 8, 7, 6, 5, 4, 3, 2]) * 10) % 11) % 10
  return first === digitAt(digits, 9) && second === digitAt(digits, 10)
}

/** Letters count as their character code less 48 since 2026 (Receita Federal, IN 2.229/2024). */
function cnpj(value: string): boolean {
  const characters = compact(value)
  if (uniform(characters)) return false
  const check = (weights: readonly number[]) => {
    const rest = weighted(characters, weights) % 11
    return rest < 2 ? 0 : 11 - rest
  }
  const first = check([5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2])
  const second = check([6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2])
  return first === digitAt(characters, 12) && second === digitAt(characters, 13)
}

function cuit(value: string): boolean {
  const digits = digitsOf(value)
  const check = (11 - (weighted(digits, [5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11)) % 11
  return check === digitAt(digits, 10) && /^(?:2[03-7]|3[034])/.test(digits)
}

function rut(value: string): boolean {
  const characters = compact(value)
  const digits = characters.slice(0, -1)
  let sum = 0
  for (let i = 0; i < digits.length; i++) sum += digitAt(digits, digits.length - 1 - i) * (2 + (i % 6))
  const check = 11 - (sum % 11)
  return characters.endsWith(check === 11 ? '0' : check === 10 ? 'K' : String(check))
}

function dated(value: string): boolean {
  const digits = /\d{6}/.exec(value)?.[0] ?? ''
  return monthAndDay(Number(digits.slice(2, 4)), Number(digits.slice(4, 6)))
}

function sin(value: string): boolean {
  return luhn(digitsOf(value)) && !uniform(digitsOf(value))
}

const MBI_LETTER = '[AC-HJKMNP-RT-Y]'
const MBI_EITHER = '[AC-HJKMNP-RT-Y0-9]'

export const AMERICAS: readonly IdRule[] = [
  { type: 'US_SSN', starts: '999', pattern: '\\d{3}-\\d{2}-\\d{4}', check: ssn, certain: true },
  {
    type: 'US_SSN',
    starts: '999',
    pattern: '\\d{3}([ .\\u2011\\u2013])\\d{2}\\1\\d{4}',
    check: ssn,
    context: WORDS.social,
  },
  {
    type: 'US_SSN',
    starts: '99999 999',
    pattern: '(?:\\d{5}-\\d{4}|\\d{3}-\\d{6})',
    check: ssn,
    context: /social|\bssn|\bssid/,
  },
  { type: 'US_SSN', starts: '999999999', pattern: '\\d{9}', check: ssn, context: /social|\bssn|\bssid/ },
  { type: 'US_ITIN', starts: '999', pattern: '9\\d{2}([- ])\\d{2}\\1?\\d{4}', check: itin, certain: true },
  { type: 'US_ITIN', starts: '99999 999999999', pattern: '9\\d{4}[- ]?\\d{4}', check: itin, context: WORDS.tax },
  { type: 'US_PASSPORT', starts: '999999999 A99999999', pattern: '(?:\\d{9}|[A-Z]\\d{8})', context: WORDS.passport },
  {
    type: 'US_ROUTING',
    starts: '999999999 9999',
    pattern: '(?:\\d{9}|\\d{4}-\\d{4}-\\d)',
    check: routing,
    context: WORDS.routing,
  },
  { type: 'US_EIN', starts: '99', pattern: '\\d{2}-\\d{7}', context: /\bein\b|employer|federal tax|tax id|\btin\b/ },
  {
    type: 'US_MBI',
    starts: '9AX9AX9AA99 9AX9',
    pattern: `[1-9]${MBI_LETTER}${MBI_EITHER}\\d-?${MBI_LETTER}${MBI_EITHER}\\d-?${MBI_LETTER}{2}\\d{2}`,
    certain: true,
  },
  {
    type: 'US_NPI',
    starts: '9999999999 9999',
    pattern: '[12]\\d{3}[ -]?\\d{3}[ -]?\\d{3}',
    check: npi,
    context: WORDS.health,
  },
  {
    type: 'US_DEA',
    starts: 'AA9999999 A99999999',
    pattern: '[ABCDEFGHJKLMPRSTUX][A-Z9]\\d{7}',
    check: dea,
    context: WORDS.health,
  },
  {
    type: 'US_DRIVER_LICENSE',
    starts:
      'A9999 A99999 A999999 A9999999 A99999999 A999999999 A9999999999 A99999999999 A999999999999 A9999999999999 A99999999999999 AA99999 AA999999 AA9999999 999AA9999 99AAA99999 99AAA999999 9999999A 99999999A 999999999A 99999999AA AA999999A A999999A',
    pattern: '(?:[A-Z]{1,3}\\d{3,14}[A-Z]{0,2}|\\d{2,9}[A-Z]{1,3}\\d{0,6})',
    context: WORDS.licence,
  },
  {
    type: 'US_DRIVER_LICENSE',
    starts: '9999999 99999999 999999999 9999999999 99999999999 999999999999',
    pattern: '\\d{7,12}',
    context: /driver|driving|\bdln?\b|licen[cs]e n/,
    notBare: true,
  },
  {
    type: 'US_DRIVER_LICENSE',
    starts: 'A999',
    pattern: '[A-Z]\\d{3}-\\d{3,4}-\\d{2,4}(?:-\\d{3}(?:-\\d)?)?',
    context: WORDS.licence,
  },
  { type: 'CA_SIN', starts: '999', pattern: '[1-79]\\d{2}([- ])\\d{3}\\1\\d{3}', check: sin, context: WORDS.social },
  {
    type: 'CA_SIN',
    starts: '999999999',
    pattern: '[1-79]\\d{8}',
    check: sin,
    context: /\bsin\b|social insurance|assurance sociale|\bnas\b|canad/,
  },
  { type: 'BR_CPF', starts: '999', pattern: '\\d{3}\\.\\d{3}\\.\\d{3}[-.]\\d{2}', check: cpf, certain: true },
  {
    type: 'BR_CPF',
    starts: '99999999999 999999999',
    pattern: '\\d{9}-?\\d{2}',
    check: cpf,
    context: /cpf|contribu|brasil|cadastro/,
  },
  {
    type: 'BR_CNPJ',
    starts: '99 XX',
    pattern: '[A-Z0-9]{2}\\.[A-Z0-9]{3}\\.[A-Z0-9]{3}/[A-Z0-9]{4}-\\d{2}',
    check: cnpj,
    certain: true,
  },
  {
    type: 'BR_CNPJ',
    starts: '99999999999999 99999999',
    pattern: '\\d{8}/?\\d{4}-?\\d{2}',
    check: cnpj,
    context: /cnpj|empresa|pessoa jur/,
  },
  {
    type: 'BR_RG',
    starts: '99 9',
    pattern: '\\d{1,2}\\.\\d{3}\\.\\d{3}-[0-9X]',
    context: /\brg\b|identidade|registro geral/,
  },
  { type: 'AR_CUIT', starts: '99', pattern: '\\d{2}-\\d{8}-\\d', check: cuit, certain: true },
  { type: 'AR_CUIT', starts: '99999999999', pattern: '\\d{11}', check: cuit, context: /cui[tl]/ },
  {
    type: 'AR_DNI',
    starts: '99 99999999',
    pattern: '\\d{2}\\.?\\d{3}\\.?\\d{3}',
    context: /\bdni\b|documento nacional|\bd\.n\.i/,
  },
  { type: 'CL_RUT', starts: '99 9', pattern: '\\d{1,2}\\.\\d{3}\\.\\d{3}-[0-9K]', check: rut, certain: true },
  { type: 'CL_RUT', starts: '99999999 9999999', pattern: '\\d{7,8}-[0-9K]', check: rut, certain: true },
  {
    type: 'MX_CURP',
    starts: 'AAAA999999AAAAAA99 AAAA999999AAAAAAX9',
    pattern: '[A-Z]{4}\\d{6}[HMX][A-Z]{5}[A-Z0-9]\\d',
    check: dated,
    certain: true,
  },
  {
    type: 'MX_RFC',
    starts: 'AAAA999999XXX AAA999999XXX',
    pattern: '[A-Z]{3,4}\\d{6}[A-Z0-9]{3}',
    check: dated,
    certain: true,
  },
  {
    type: 'CO_CEDULA',
    starts: '9 99 999 9999999999 99999999 999999999',
    pattern: '(?:\\d{1,3}(?:\\.\\d{3}){2,3}|\\d{8,10})',
    context: /c[eé]dula|\bc\.?c\.? |\bnit\b/,
    notBare: true,
  },
]
