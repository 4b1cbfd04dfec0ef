/** Spans of time as an operator types them: `90s`, `15m`, `12h`, `60d`, `8w`. */

import { PortcullisError } from '../../../policies/errors.ts'

const UNITS: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
}

/** Ten years: more is a typing error. */
const LONGEST_MS = 3_653 * 86_400_000

/** Milliseconds. @throws {PortcullisError} `invalid_argument` */
export function parseDuration(text: string, option: string): number {
  const [, digits = '', unit = ''] = /^(\d{1,9})([smhdw])$/.exec(text) ?? []
  const ms = Number(digits) * (UNITS[unit] ?? Number.NaN)
  if (digits === '' || !(ms <= LONGEST_MS))
    throw new PortcullisError('invalid_argument', `${option}: give a whole number with s, m, h, d or w, such as 60d`)
  return ms
}

/** Whole days, rounded down. */
export function daysOf(ms: number): number {
  return Math.floor(ms / 86_400_000)
}
