/** Telephone numbers of the world: E.164, national formats, and digits beside a word that announces one. */

import { isPossiblePhoneNumber, isValidPhoneNumber } from 'libphonenumber-js'
import { PRIORITY } from '../finding.ts'
import type { Scan } from '../scan.ts'
import { isDigit, isWord } from '../text.ts'

/** Country calling codes of ITU-T E.164 by their first digits. */
const CALLING_CODE =
  /^(?:1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|21[1-8]|2[2-69]\d|35\d|37\d|38[0-25-79]|42[013]|50\d|59\d|67[02-9]|68\d|69[0-2]|80[08]|85[02356]|87\d|88[0-368]|96[0-8]|97[0-79]|99[2-68])/

/** Most digits, calling code included, where the plan is closed. */
const LONGEST: Readonly<Record<string, number>> = {
  1: 11,
  7: 11,
  31: 11,
  32: 11,
  33: 11,
  34: 11,
  41: 11,
  44: 12,
  45: 10,
  46: 13,
  47: 10,
  48: 11,
  61: 11,
  351: 12,
  353: 12,
  972: 12,
  91: 12,
  86: 13,
  81: 12,
}

const CONTEXT =
  /(?:phone|\btel\b|\btel[.:]|t[eé]l[eé]ph|telefo|\bt[eé]l[.: ]|mobil|mobiel|\bmob\b|\bcell|celular|cellulare|\bfax|handy|rufnummer|durchwahl|\bruf|erreich|anruf|\bcall|\bdial|\bring|\btext (?:me|him|her|us)|\bc?ontact|contat|cont[aá]ct|contatt|kontakt|reach|bereik|melden sie|\bn[aå]r? (?:mig|oss)|\bfale |\bfala |odezw|hotline|whats ?app|\bsms\b|\bnum[eé]ro|\bn[uú]mero|\bnummer|\bnumer|\bnumber|appel|joindre|portable|llam|m[oó]vil|chiam|\bbel(?:len|t|)\b|zadzwo|kom[oó]rk|dzwo|ligu|ligar|telem[oó]vel|contat|recapito|puhelin|zavol|sun[aă]|电话|電話|전화|телефон|هاتف|फ़ोन)/
const WEAK = /^(?:num[eé]ro|n[uú]mero|nummer|numer|number)/
const OWN = /\b(?:my|mi|mio|mon|meine?|meu|mijn|m[oó]j|mitt)\s[^.!?]{0,30}$/
/** Words that announce another kind of number. */
const OTHER =
  /(?:order|invoice|ticket|case|issue|version|build|serial|account|acct|konto|iban|card|karte|carte|tarjeta|passport|licen[cs]e|tax|steuer|fiscal|social|ssn|\bid\b|article|artikel|reference|\bref\b|tracking|zip|postal|plz|isbn|issn|port|code|size|byte|row|line)/

const REGIONS = [
  'DE',
  'FR',
  'GB',
  'IT',
  'NL',
  'SE',
  'BE',
  'CH',
  'AT',
  'AU',
  'IN',
  'IL',
  'FI',
  'TR',
  'ZA',
  'JP',
  'IE',
  'RO',
] as const

const MAX_DIGITS = 17
const MAX_LENGTH = 32
const MAX_GROUPS = 8

interface Read {
  readonly digits: string
  readonly groups: readonly number[]
  /** The separators between groups, in order. */
  readonly separators: readonly string[]
  readonly ends: readonly number[]
}

/** Reads groups of digits that separators of a telephone number join. */
function read(text: string, start: number): Read {
  let digits = ''
  const groups: number[] = []
  const separators: string[] = []
  const ends: number[] = []
  let at = start
  let open = 0
  while (at < text.length && at - start < MAX_LENGTH && groups.length < MAX_GROUPS) {
    let end = at
    while (isDigit(text.charCodeAt(end)) && end - at <= MAX_DIGITS) end++
    if (end === at) break
    if (digits.length + end - at > MAX_DIGITS) break
    digits += text.slice(at, end)
    groups.push(end - at)
    ends.push(end)
    let next = end
    while (next - end < 3 && ' .-/()\u00a0\u202f\u2011\u2013'.includes(text[next] ?? 'x')) {
      if (text[next] === '(') open++
      next++
    }
    if (next === end || !isDigit(text.charCodeAt(next))) break
    separators.push(text.slice(end, next))
    at = next
  }
  return open > 1 ? { digits: '', groups: [], separators: [], ends: [] } : { digits, groups, separators, ends }
}

/** Keeps the first groups whose digits stay within `most`. */
function fitting(groups: readonly number[], most: number): number {
  let sum = 0
  let count = 0
  for (const group of groups) {
    if (sum + group > most) break
    sum += group
    count++
  }
  return count
}

function sumOf(groups: readonly number[], count: number): number {
  let sum = 0
  for (let i = 0; i < count; i++) sum += groups[i] ?? 0
  return sum
}

const EXTENSION = /[ ,;]{0,2}(?:x|ext\.?|extension|#|poste|durchwahl)[ .:]{0,2}\d{1,6}(?!\d)/iy

function withExtension(text: string, end: number): number {
  EXTENSION.lastIndex = end
  return EXTENSION.test(text) ? EXTENSION.lastIndex : end
}

function northAmerican(digits: string): boolean {
  const national = digits.length === 11 && digits.startsWith('1') ? digits.slice(1) : digits
  return /^[2-9]\d\d[2-9]\d{6}$/.test(national) && !/^(.)\1+$/.test(national)
}

/** Ten digits in France and its neighbours, ten or eleven in Britain, German and Dutch mobiles. */
const COMMON = /^0(?:[1-9]\d{8}|[1237]\d{9}|1[5-7]\d{8,9})$/

/** Whether digits without a country are valid somewhere they are commonly written so. */
function validSomewhere(scan: Scan, digits: string): boolean {
  if (COMMON.test(digits)) return true
  for (const region of REGIONS) {
    if (scan.validations <= 0) return true
    scan.validations--
    if (isValidPhoneNumber(digits, region)) return true
  }
  return false
}

interface PhoneRange {
  readonly start: number
  readonly end: number
  readonly priority: number
}

function finish(
  text: string,
  start: number,
  ends: readonly number[],
  count: number,
  priority: number,
): PhoneRange | undefined {
  const end = ends[count - 1]
  if (end === undefined) return undefined
  const following = text.charCodeAt(end)
  if (isWord(following) && !/^[ ,;]{0,2}(?:x|ext)/i.test(text.slice(end, end + 5))) return undefined
  if (following === 37 || (following === 44 && isDigit(text.charCodeAt(end + 1)))) return undefined
  return { start, end: withExtension(text, end), priority }
}

/** The range of a telephone number whose first digit run starts at `at`, or undefined. */
export function phoneAt(scan: Scan, at: number): PhoneRange | undefined {
  const { text } = scan
  let start = at
  let plus = false
  let paren = false
  const first = text[at - 1]
  if (first === '+' || first === '\uff0b') {
    plus = true
    start = at - 1
  } else if (first === '(') {
    paren = true
    start = at - 1
    if (text[at - 2] === '+') {
      plus = true
      start = at - 2
    }
  }
  if (start > 0 && !plus && !paren && first === ' ' && text[at - 2] === '+') {
    plus = true
    start = at - 2
  }
  const before = text.charCodeAt(start - 1)
  if (start > 0 && (isWord(before) || before === 43)) return undefined
  if (start > 1 && '-./'.includes(text[start - 1] ?? '') && isWord(text.charCodeAt(start - 2))) return undefined
  if (paren && text[start - 1] === '(') start--
  if (!plus && at < scan.readUntil.table) return undefined
  const { digits, groups, separators, ends } = read(text, at)
  if (digits.length < 6) return undefined
  // Eight short groups in a row are a table or a dump.
  if (groups.length === MAX_GROUPS && digits.length <= 2 * MAX_GROUPS) scan.readUntil.table = ends[4] ?? 0

  if (plus) {
    const code = CALLING_CODE.exec(digits)?.[0]
    if (code === undefined || (first === ' ' && separators.length === 0)) return undefined
    // A trunk zero in parentheses is written but not dialled.
    const trunk = /^\D{0,2}\d{1,3}[ .-]?\(0/.test(text.slice(start, start + 10)) ? 1 : 0
    const count = fitting(groups, (LONGEST[code] ?? 15) + trunk)
    const total = sumOf(groups, count)
    if (total < 8 || total > 15 + trunk || (separators.length === 0 && total < 9)) return undefined
    return finish(text, start, ends, count, PRIORITY.checked)
  }

  const grouped = separators.length > 0
  if (separators.length === 1 && separators[0] === '.') return undefined
  if (!plus && groups[0] === 1 && digits.startsWith('0')) return undefined
  if (groups[0] === 5 && groups[1] === 4 && groups.length === 2 && !plus) return undefined
  const dotted = separators.length >= 3 && separators.every((separator) => separator === '.')
  if (dotted && groups.every((group) => group <= 3) && groups.length === 4 && !digits.startsWith('0')) return undefined

  if (digits.startsWith('00') && !digits.startsWith('000')) {
    const code = CALLING_CODE.exec(digits.slice(2))?.[0]
    if (code !== undefined) {
      const count = fitting(groups, 2 + (LONGEST[code] ?? 15))
      const total = sumOf(groups, count)
      const dump = groups.slice(0, count).every((group) => group === 4)
      if (total >= 11 && !dump && (grouped || total >= 12)) return finish(text, start, ends, count, PRIORITY.shaped)
    }
  }

  const [a = 0, b = 0, c = 0, d = 0] = groups
  const leading = groups.length >= 4 && a === 1 && digits.startsWith('1') ? 1 : 0
  const ten = leading === 1 ? [b, c, d] : [a, b, c]
  const american = ten[0] === 3 && ten[1] === 3 && ten[2] === 4
  if (american && northAmerican(digits.slice(0, 10 + leading))) {
    const marks = separators.slice(leading, leading + 2)
    const firm = paren || marks.every((mark) => mark === '-') || marks.every((mark) => mark === '.') || leading === 1
    if (firm) return finish(text, start, ends, 3 + leading, PRIORITY.shaped)
  }
  if (paren && grouped && separators[0]?.startsWith(')') && a >= 2 && a <= 5) {
    const total = sumOf(groups, fitting(groups, 12))
    if (total >= 8 && groups.slice(1).every((group) => group >= 2)) {
      return finish(text, start, ends, fitting(groups, 12), PRIORITY.shaped)
    }
  }

  const lead = text.slice(Math.max(0, start - 48), start).toLowerCase()
  const words = /[\p{L}☎]/u.test(lead) ? CONTEXT.exec(lead) : null
  const weak = words !== null && WEAK.test(words[0]) && !OWN.test(lead)
  const announced =
    words !== null &&
    !OTHER.test(weak ? lead : lead.slice(words.index + words[0].length)) &&
    !(
      weak &&
      (lead.length - words.index > 30 ||
        (!grouped && !scan.bare && digits.length < 10) ||
        /[.!?]\s/.test(lead.slice(words.index)))
    )
  if (announced && digits.length >= 7 && !/^(?:19|20)\d{6}$/.test(digits)) {
    const count = fitting(groups, 13)
    if (sumOf(groups, count) >= 7 && !looksLikeDate(text.slice(at, ends[count - 1])))
      return finish(text, start, ends, count, PRIORITY.shaped)
  }

  if (digits.startsWith('0') && grouped && !OTHER.test(lead)) {
    const count = fitting(groups, 12)
    const total = sumOf(groups, count)
    const short = groups.slice(0, count).filter((group) => group === 2).length
    const french = a === 2 && short === count && count === 5
    if (
      total >= 9 &&
      a >= 2 &&
      groups.slice(0, count).every((group) => group >= 2) &&
      count >= 2 &&
      (french || short < 4) &&
      groups.length === count
    ) {
      const value = digits.slice(0, total)
      if (/^0[1-9]/.test(value) && !looksLikeDate(text.slice(at, ends[count - 1])) && validSomewhere(scan, value)) {
        return finish(text, start, ends, count, PRIORITY.shaped)
      }
    }
  }

  if (scan.bare && digits.length >= 7 && digits.length <= 13) {
    const count = fitting(groups, 13)
    if (!looksLikeDate(text.slice(at, ends[count - 1]))) {
      const possible = isPossiblePhoneNumber(digits, 'US') || grouped || digits.length >= 9
      if (possible) return finish(text, start, ends, count, PRIORITY.guessed)
    }
  }
  return undefined
}

function looksLikeDate(value: string): boolean {
  return /^(?:\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}[./-]\d{1,2}[./-]\d{1,2})(?!\d|[./ -]\d)/.test(value)
}
