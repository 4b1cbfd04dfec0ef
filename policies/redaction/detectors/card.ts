/** Payment cards: issuer ranges, lengths and Luhn's check digit (ISO/IEC 7812). */

import { luhn, uniform } from '../checksums.ts'

/** Lengths that an issuer range uses; the ranges are those that the card networks publish. */
function lengthsOf(digits: string): readonly number[] {
  const two = Number(digits.slice(0, 2))
  const four = Number(digits.slice(0, 4))
  if (digits.startsWith('4')) return [13, 16, 19]
  if ((two >= 51 && two <= 55) || (four >= 2221 && four <= 2720)) return [16]
  if (two === 34 || two === 37) return [15]
  if ((four >= 3000 && four <= 3059) || four === 3095 || two === 36 || two === 38 || two === 39) return [14, 16, 19]
  if (four === 6011 || two === 64 || two === 65) return [16, 19]
  if (four >= 3528 && four <= 3589) return [16, 19]
  if (two === 62 || two === 81) return [16, 17, 18, 19]
  if (four >= 2200 && four <= 2204) return [16, 19]
  if (two === 50 || (two >= 56 && two <= 59) || two === 60 || two === 61 || two === 63 || (two >= 66 && two <= 69)) {
    return [13, 14, 15, 16, 17, 18, 19]
  }
  if (four === 1800 || four === 2131) return [15]
  return []
}

/** Whether digits without separators can be a card number. */
export function isCard(digits: string): boolean {
  return luhn(digits) && !uniform(digits) && lengthsOf(digits).includes(digits.length)
}
