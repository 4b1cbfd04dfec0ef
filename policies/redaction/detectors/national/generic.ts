/** Numbers that only a word beside them, or nothing beside them at all, tells from any other number. */

import type { IdRule } from './rule.ts'

const DIGITS = Array.from({ length: 12 }, (_, i) => '9'.repeat(i + 7)).join(' ')
const MIXED = Array.from({ length: 8 }, (_, i) => 'X'.repeat(i + 7)).join(' ')

function isMixed(value: string): boolean {
  return /\d{4}/.test(value) && /[A-Z]/.test(value) && !/[A-Z]{5}/.test(value)
}

export const GENERIC: readonly IdRule[] = [
  {
    type: 'ACCOUNT_NUMBER',
    starts: DIGITS,
    pattern: '\\d{7,18}',
    context:
      /account (?:number|no|num|#|is)|\bacct|\ba\/c\b|bank account|kontonummer|konto-?nr|num[eé]ro de compte|n[uú]mero de cuenta|numero di conto|rekeningnummer|numer konta|n[uú]mero da conta|checking|savings account/,
    check: (value) => !/^(\d)\1+$/.test(value),
  },
  {
    type: 'DOCUMENT_NUMBER',
    starts: MIXED,
    pattern: '[A-Z0-9]{7,14}',
    check: isMixed,
    context:
      /passport|reisepass|passeport|pasaporte|passaport|paspoort|paszport|identity card|\bid card|ausweis|carte d.identit|carta d.identit|documento|dow[oó]d osobist|driver.?s? licen[cs]e|driving licen[cs]e|f[uü]hrerschein|permis de conduire|permiso de conducir|patente|rijbewijs|prawo jazdy|carta de condu/,
  },
]
