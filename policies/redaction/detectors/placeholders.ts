/** Tells a secret from what stands for one, and from words. */

const STANDING_FOR =
  /^(?:<.*>|\$\{.*|\{\{.*|\{.*\}|\[.*\]|%[({]?\w*[)}]?[sd]?%?|\$\(.*|\$[A-Z_][A-Z0-9_]*|\*+|x+|\.{2,}|#+|-+|_+|•+|null|none|nil|undefined|true|false|empty|string|str|text|todo|tbd|n\/a|redacted|removed|hidden|masked|optional|required|number|boolean)$/i
const SAYS_SO =
  /(?:your[-_ ]|[-_ ]here$|^my[-_]?(?:secret|token|password|key|api)|^the[-_ ]|example|placeholder|change[-_ ]?me|change[-_ ]this|replace|insert|dummy|sample|xxxx|\*\*\*|\.\.\.|<[a-z]|redacted|goes[-_]here|put[-_])/i

/** Whether a value stands for a secret instead of being one. */
export function isPlaceholder(value: string): boolean {
  return STANDING_FOR.test(value) || SAYS_SO.test(value)
}

const counts = new Uint16Array(256)

/** Shannon entropy in bits a character, of at most the first 4,096. */
export function entropy(value: string): number {
  counts.fill(0)
  const length = Math.min(value.length, 4_096)
  for (let i = 0; i < length; i++) counts[value.charCodeAt(i) & 255] = (counts[value.charCodeAt(i) & 255] as number) + 1
  let bits = 0
  for (let i = 0; i < 256; i++) {
    const count = counts[i] as number
    if (count > 0) bits -= (count / length) * Math.log2(count / length)
  }
  return bits
}

const VOWEL = /[aeiouy]/i

/** The share of a value that reads as words: letters-only pieces, split at case changes, with vowels in them. */
export function wordiness(value: string): number {
  const pieces = value.match(/[A-Z]?[a-z]+|[A-Z]+(?![a-z])/g) ?? []
  let read = 0
  for (const piece of pieces) {
    if (piece.length >= 3 && VOWEL.test(piece) && !/[^aeiouy]{5}|[aeiou]{4}|q[^u]|(.)\1\1|[jqxz]{2}/i.test(piece))
      read += piece.length
  }
  return value.length === 0 ? 0 : read / value.length
}

/** How often letters and digits take turns: random strings do, names with a number at their end do not. */
export function turns(value: string): number {
  return value.match(/[A-Za-z](?=\d)|\d(?=[A-Za-z])/g)?.length ?? 0
}

/** Whether a value reads as words rather than as random characters. */
export function isWordy(value: string, most: number): boolean {
  return wordiness(value) > most && (value.length < 12 || turns(value) < 4)
}

/** Whether a value is a run in the alphabet or on the keyboard, or one character over and over. */
export function isSequence(value: string): boolean {
  const lower = value.toLowerCase()
  if (/^(.{1,3})\1+$/.test(lower)) return true
  return 'abcdefghijklmnopqrstuvwxyz0123456789abcdef'.includes(lower) || '01234567890123456789'.includes(lower)
}
