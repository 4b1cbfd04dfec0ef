/** Check-digit algorithms that several identifiers share. Inputs are strings of ASCII digits unless said otherwise. */

/** Luhn's algorithm (ISO/IEC 7812-1, annex B). */
export function luhn(digits: string): boolean {
  let sum = 0
  let double = false
  for (let i = digits.length - 1; i >= 0; i--) {
    let digit = digits.charCodeAt(i) - 48
    if (double) {
      digit *= 2
      if (digit > 9) digit -= 9
    }
    sum += digit
    double = !double
  }
  return sum % 10 === 0
}

/** The sum of digits times weights, over as many digits as there are weights. */
export function weighted(digits: string, weights: readonly number[]): number {
  let sum = 0
  for (let i = 0; i < weights.length; i++) sum += (digits.charCodeAt(i) - 48) * (weights[i] ?? 0)
  return sum
}

/** The digit at `index`, or NaN past the end. */
export function digitAt(digits: string, index: number): number {
  return digits.charCodeAt(index) - 48
}

const VERHOEFF_PRODUCT = [
  '0123456789',
  '1234067895',
  '2340178956',
  '3401289567',
  '4012395678',
  '5987604321',
  '6598710432',
  '7659821043',
  '8765932104',
  '9876543210',
]
const VERHOEFF_PERMUTATION = [
  '0123456789',
  '1576283094',
  '5803796142',
  '8916043527',
  '9453126870',
  '4286573901',
  '2793806415',
  '7046913258',
]

/** Verhoeff's dihedral check (J. Verhoeff, "Error Detecting Decimal Codes", 1969). */
export function verhoeff(digits: string): boolean {
  let check = 0
  for (let i = 0; i < digits.length; i++) {
    const digit = digitAt(digits, digits.length - 1 - i)
    const permuted = digitAt(VERHOEFF_PERMUTATION[i % 8] ?? '', digit)
    check = digitAt(VERHOEFF_PRODUCT[check] ?? '', permuted)
  }
  return check === 0
}

/** ISO/IEC 7064 MOD 11,10 over all digits, the last being the check digit. */
export function mod11And10(digits: string): boolean {
  let product = 10
  for (let i = 0; i < digits.length - 1; i++) {
    let sum = (digitAt(digits, i) + product) % 10
    if (sum === 0) sum = 10
    product = (sum * 2) % 11
  }
  return (11 - product) % 10 === digitAt(digits, digits.length - 1)
}

/** The remainder by 97 of a string of digits and letters, where A is 10 and Z is 35 (ISO/IEC 7064 MOD 97-10). */
export function mod97(value: string): number {
  let remainder = 0
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i)
    if (code <= 57) remainder = (remainder * 10 + code - 48) % 97
    else remainder = (remainder * 100 + (code & 0xdf) - 55) % 97
  }
  return remainder
}

/** Weights 7, 3, 1 over digits and letters (ICAO Doc 9303), the last character being the check digit. */
export function icao(value: string): boolean {
  let sum = 0
  for (let i = 0; i < value.length - 1; i++) {
    const code = value.charCodeAt(i)
    sum += (code <= 57 ? code - 48 : (code & 0xdf) - 55) * ([7, 3, 1][i % 3] ?? 0)
  }
  return sum % 10 === digitAt(value, value.length - 1)
}

const MONTH_DAYS = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

/** Whether a month and day can occur in some year. */
export function monthAndDay(month: number, day: number): boolean {
  return month >= 1 && month <= 12 && day >= 1 && day <= (MONTH_DAYS[month - 1] ?? 0)
}

/** Whether every digit is the same: never issued, however good its checksum. */
export function uniform(digits: string): boolean {
  for (let i = 1; i < digits.length; i++) if (digits.charCodeAt(i) !== digits.charCodeAt(0)) return false
  return true
}

/** The digits of a value written with separators. */
export function digitsOf(value: string): string {
  return value.replace(/[^0-9]/g, '')
}

/** The letters and digits of a value written with separators, in upper case. */
export function compact(value: string): string {
  return value.replace(/[^0-9A-Za-z]/g, '').toUpperCase()
}
