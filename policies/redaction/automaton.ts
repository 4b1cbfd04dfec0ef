/**
 * A keyword automaton over case- and accent-folded text (Aho and Corasick, "Efficient string matching", 1975), as one
 * dense Uint16Array. States with output have the highest numbers, so a single comparison tells a hit.
 */

/** Bits of a character class; the table of one state has `1 << CLASS_BITS` entries. */
export const CLASS_BITS = 6
const WIDTH = 1 << CLASS_BITS

/** Classes below this one start detectors that need no keyword. */
export const TRIGGER_CLASSES = 15
export const CLASS_AT = 10
export const CLASS_COLON = 11
export const CLASS_PERCENT = 12
export const CLASS_BACKSLASH = 13
/** A character that may hide others: invisible, or another form of a plain one. No keyword contains one. */
export const CLASS_HIDING = 14
/** A character that no keyword contains. */
export const CLASS_OTHER = WIDTH - 1

/** Characters from here on are never part of a keyword. */
export const FOLD_LIMIT = 0x180

const SOFT_HYPHEN = 0xad
const NO_BREAK_SPACE = 0xa0
const SYMBOLS = '_-./~=<>+"\'# $|,;!&?'

export interface Automaton {
  /** Class of a UTF-16 code unit below {@link FOLD_LIMIT}. */
  readonly classes: Uint8Array
  /** Next state of `(state << CLASS_BITS) | class`. */
  readonly next: Uint16Array
  /** States from here on have output. */
  readonly firstOutput: number
  /** Indexes of the keywords that end in state `firstOutput + i`. */
  readonly outputs: readonly Uint16Array[]
}

function foldedClasses(): Uint8Array {
  const classes = new Uint8Array(FOLD_LIMIT).fill(CLASS_OTHER)
  for (let digit = 0; digit < 10; digit++) classes[48 + digit] = digit
  classes[64] = CLASS_AT
  classes[58] = CLASS_COLON
  classes[37] = CLASS_PERCENT
  classes[92] = CLASS_BACKSLASH
  classes[SOFT_HYPHEN] = CLASS_HIDING
  classes[NO_BREAK_SPACE] = CLASS_HIDING
  const letterBase = TRIGGER_CLASSES
  for (let i = 0; i < 26; i++) {
    classes[97 + i] = letterBase + i
    classes[65 + i] = letterBase + i
  }
  for (let i = 0; i < SYMBOLS.length; i++) classes[SYMBOLS.charCodeAt(i)] = letterBase + 26 + i
  for (let code = 0xc0; code < FOLD_LIMIT; code++) {
    const base = String.fromCharCode(code).normalize('NFD').charCodeAt(0)
    if ((base >= 97 && base <= 122) || (base >= 65 && base <= 90)) classes[code] = classes[base] ?? CLASS_OTHER
  }
  classes[0x142] = classes[0x141] = letterBase + 11 // l with stroke
  classes[0xdf] = letterBase + 18 // sharp s, as one s
  classes[0xf8] = classes[0xd8] = letterBase + 14 // o with stroke
  return classes
}

/**
 * Builds the automaton of `keywords`; hits report the index of a keyword in that list.
 * @throws {RangeError} for an empty keyword, one with a character outside ASCII and Latin, or too many states.
 */
export function buildAutomaton(keywords: readonly string[]): Automaton {
  const classes = foldedClasses()
  const children: Map<number, number>[] = [new Map()]
  const ends: number[][] = [[]]
  for (const [index, keyword] of keywords.entries()) {
    if (keyword === '') throw new RangeError('empty keyword')
    let node = 0
    for (let i = 0; i < keyword.length; i++) {
      const code = keyword.charCodeAt(i)
      const cls = code < FOLD_LIMIT ? (classes[code] ?? CLASS_OTHER) : CLASS_OTHER
      if (cls === CLASS_OTHER || cls === CLASS_HIDING)
        throw new RangeError(`keyword ${index} has a character that is never matched`)
      let child = children[node]?.get(cls)
      if (child === undefined) {
        child = children.length
        children.push(new Map())
        ends.push([])
        children[node]?.set(cls, child)
      }
      node = child
    }
    ends[node]?.push(index)
  }
  const count = children.length
  if (count > 0xffff) throw new RangeError('too many keywords')

  const fail = new Int32Array(count)
  const wide = new Int32Array(count * WIDTH)
  const order: number[] = [0]
  for (let head = 0; head < order.length; head++) {
    const node = order[head] ?? 0
    const failed = fail[node] ?? 0
    if (node !== 0) ends[node]?.push(...(ends[failed] ?? []))
    for (let cls = 0; cls < WIDTH; cls++) {
      const child = children[node]?.get(cls)
      const fallback = node === 0 ? 0 : (wide[failed * WIDTH + cls] ?? 0)
      if (child === undefined) {
        wide[node * WIDTH + cls] = fallback
        continue
      }
      fail[child] = fallback
      wide[node * WIDTH + cls] = child
      order.push(child)
    }
  }

  const silent = order.filter((node) => ends[node]?.length === 0)
  const loud = order.filter((node) => ends[node]?.length !== 0)
  const renamed = new Int32Array(count)
  for (const [id, node] of [...silent, ...loud].entries()) renamed[node] = id
  const next = new Uint16Array(count * WIDTH)
  for (let node = 0; node < count; node++) {
    const base = (renamed[node] ?? 0) * WIDTH
    for (let cls = 0; cls < WIDTH; cls++) next[base + cls] = renamed[wide[node * WIDTH + cls] ?? 0] ?? 0
  }
  return {
    classes,
    next,
    firstOutput: silent.length,
    outputs: loud.map((node) => Uint16Array.from(ends[node] ?? [])),
  }
}
