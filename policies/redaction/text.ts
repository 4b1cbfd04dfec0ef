/** Small readings of a text around an offset. All are bounded. */

export function isDigit(code: number): boolean {
  return code >= 48 && code <= 57
}

export function isLetter(code: number): boolean {
  const folded = code | 32
  return (folded >= 97 && folded <= 122) || (code >= 0xc0 && code <= 0x24f && code !== 0xd7 && code !== 0xf7)
}

export function isAlphanumeric(code: number): boolean {
  return isDigit(code) || isLetter(code)
}

/** Letters, digits and the underscore. */
export function isWord(code: number): boolean {
  return isAlphanumeric(code) || code === 95
}

export function isSpace(code: number): boolean {
  return code === 32 || (code >= 9 && code <= 13) || code === 0xa0 || code === 0x202f || code === 0x2009
}

/** Whether the character before `at` is the letter of an escape such as `\n`, and so no part of a word. */
export function afterEscape(text: string, at: number): boolean {
  if (text.charCodeAt(at - 2) !== 92) return false
  const code = text.charCodeAt(at - 1)
  return code === 110 || code === 114 || code === 116
}

/** Whether a token may start at `at`: no letter or digit before it. */
export function tokenStartsAt(text: string, at: number): boolean {
  return at === 0 || !isAlphanumeric(text.charCodeAt(at - 1)) || afterEscape(text, at)
}

/**
 * Whether a number or identifier may start at `at`: not inside a word, a path, a dashed or dotted token, a variable.
 */
export function identifierStartsAt(text: string, at: number): boolean {
  if (at === 0) return true
  const before = text.charCodeAt(at - 1)
  if (isWord(before)) return afterEscape(text, at)
  if (before === 45 || before === 46 || before === 47 || before === 92) {
    return at < 2 || !isWord(text.charCodeAt(at - 2))
  }
  return before !== 0x24 && before !== 0xa3 && before !== 0x20ac
}

/** Whether a number or identifier may end before `at`. */
export function identifierEndsAt(text: string, at: number): boolean {
  if (at >= text.length) return true
  const next = text.charCodeAt(at)
  if (isWord(next) || next === 37 || next === 64) return false
  if (next === 45 || next === 46 || next === 47 || next === 58 || next === 92) {
    const second = text.charCodeAt(at + 1)
    if (next === 92) return true
    if (next === 58) return !isDigit(second)
    return !isAlphanumeric(second) || (next === 46 && !isDigit(second) && isLetter(second) && second < 97)
  }
  return true
}

/** The lower-case text around a range, for context words: `reach` characters before it and half of that after. */
export function surroundings(text: string, start: number, end: number, reach: number): string {
  const before = text.slice(Math.max(0, start - reach), start)
  const after = text.slice(end, Math.min(text.length, end + (reach >> 1)))
  return `${before}\u0001${after}`.toLowerCase()
}

const BARE_LIMIT = 200
const TOKEN = /[^\s,;|()[\]{}<>"'`=]{1,200}/g
const PROSE = /\p{L}{3}/u
const MONTH = /^(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\p{L}{0,6}$/iu
/** A field's name before its value: at most three words. */
const LABEL = /^\s*\p{L}{2,20}(?: \p{L}{1,20}){0,2}:\s/u

/**
 * Whether a text is nothing but values: short and without a word of prose after a label, as a form field or a tool argument is. Then
 * nothing around a value can confirm or contradict it, and the doubtful ones are masked.
 */
export function isBare(text: string): boolean {
  if (text.length > BARE_LIMIT || text.length < 3 || /\n\s*\S|\]\(|^\s*[#*>-] /.test(text)) return false
  for (const [token] of text.replace(LABEL, '').matchAll(TOKEN)) {
    const word = token.replace(/^[:.\-_*!?]+|[:.\-_*!?]+$/g, '')
    if (/[\d.@:/]/.test(word) || !PROSE.test(word)) continue
    if (!/^\p{Lu}{3}$/u.test(word) && !MONTH.test(word)) return false
  }
  return true
}
