/** The cost table of the estimator: a small state machine over UTF-16 units, built once. */

/**
 * Tokens of a character by its place in a run, the last cost holding for the rest of the run. Letters of one script
 * form a run, so a word costs a little for its start and a little for its length; a run is over at an upper-case
 * letter after a lower-case one. No cost is zero: a text cannot be long and free.
 */
export const COSTS = {
  other: [1.05, 2.91],
  lower: [0.51, 0.14, 0.14, 0.14, 0.05, 0.05, 0.09, 0.09, 0.09, 0.31],
  rare: [1.05, 1.05, 1.05, 1.05, 1.05, 1.05, 0.69],
  upper: [0.56, 0.25],
  latin: [2.1, 0.91],
  vietnamese: [0.77, 0.3],
  cyrillic: [0.72, 0.05, 0.05, 0.05, 0.05, 0.36],
  slavic: [1.61],
  greek: [0.4, 0.41],
  arabic: [0.4, 0.35],
  hebrew: [0.4, 0.48],
  indic: [0.4, 0.38],
  thai: [0.4, 0.43],
  asian: [0.4, 0.36],
  scarce: [3.51, 1.7],
  han: [0.75],
  kana: [0.85, 0.71],
  hangul: [0.4, 0.87],
  wide: [0.4, 1.39],
  digit: [1.74, 0.05, 0.05, 0.33],
  space: [0.06, 0.02],
  newline: [1.19, 0.06],
  carriageReturn: [0.29],
  prose: [0.55, 0.27],
  code: [0.65, 0.22],
  repeated: [0.02],
  typographic: [0.78],
  mark: [1.02, 1.65],
  symbol: [3.2, 2.1],
  surrogate: [0.93],
  control: [1.19],
} as const satisfies Record<string, readonly number[]>

export type ClassName = keyof typeof COSTS

/** Inclusive ranges of UTF-16 units, later ones over earlier ones. What is in none is `other`. */
const RANGES: readonly (readonly [ClassName, number, number])[] = [
  ['control', 0x00, 0x1f],
  ['code', 0x21, 0x7e],
  ['digit', 0x30, 0x39],
  ['upper', 0x41, 0x5a],
  ['lower', 0x61, 0x7a],
  ['control', 0x7f, 0x9f],
  ['typographic', 0xa0, 0xbf],
  ['latin', 0xc0, 0x24f],
  ['mark', 0x300, 0x36f],
  ['greek', 0x370, 0x3ff],
  ['slavic', 0x400, 0x52f],
  ['cyrillic', 0x410, 0x44f],
  ['asian', 0x530, 0x58f],
  ['hebrew', 0x590, 0x5ff],
  ['arabic', 0x600, 0x6ff],
  ['scarce', 0x700, 0x74f],
  ['arabic', 0x750, 0x77f],
  ['scarce', 0x780, 0x8ff],
  ['indic', 0x900, 0xdff],
  ['thai', 0xe00, 0xe7f],
  ['scarce', 0xe80, 0xfff],
  ['asian', 0x1000, 0x10ff],
  ['scarce', 0x1200, 0x177f],
  ['asian', 0x1780, 0x17ff],
  ['scarce', 0x1800, 0x1cff],
  ['vietnamese', 0x1e00, 0x1eff],
  ['greek', 0x1f00, 0x1fff],
  ['mark', 0x2000, 0x206f],
  ['typographic', 0x2010, 0x2027],
  ['symbol', 0x2070, 0x2bff],
  ['wide', 0x3000, 0x303f],
  ['kana', 0x3040, 0x30ff],
  ['symbol', 0x3100, 0x33ff],
  ['han', 0x4e00, 0x9fff],
  ['scarce', 0xa000, 0xabff],
  ['hangul', 0xac00, 0xd7a3],
  ['surrogate', 0xd800, 0xdfff],
  ['mark', 0xfe00, 0xfe0f],
  ['wide', 0xff00, 0xffef],
]

/** Single characters, over the ranges. */
const SINGLES: readonly (readonly [ClassName, string])[] = [
  ['space', ' \t'],
  ['newline', '\n'],
  ['carriageReturn', '\r'],
  ['rare', 'jkqxz'],
  ['prose', '.,\'"-!?:;'],
  ['cyrillic', 'Ёё'],
  ['symbol', '×÷'],
]

/** Of these, many in a row are one token. */
const CHEAP_REPEATED = '#*-./=_!%+~:;'

const WORD: readonly ClassName[] = ['lower', 'rare', 'upper', 'latin', 'vietnamese']
const FAMILIES: readonly (readonly ClassName[])[] = [
  WORD,
  ['cyrillic', 'slavic'],
  ['prose', 'code', 'repeated'],
  ['newline', 'carriageReturn'],
]

/** Classes in the order of their numbers. */
export const NAMES = Object.keys(COSTS) as ClassName[]
/** Places in a run that are told apart. */
export const PLACES = Math.max(...Object.values(COSTS).map((costs) => costs.length))
/** Room for a class in an index, as a shift. */
export const CLASS_BITS = 5

/** Class of a UTF-16 unit. */
export const CLASS_OF = classTable()
/** Class of a unit that equals the one before it. */
export const CLASS_OF_REPEATED = repeatedTable(CLASS_OF)
/** The state after a state and a class, at `(state << CLASS_BITS) | class`. A state is a class and a place in its run. */
export const NEXT_STATE = stateTable()
/** Tokens that the last character of a state costs. */
export const STATE_COST = costTable()
export const FIRST_STATE = stateOf('newline', 0)

function stateOf(name: ClassName, place: number): number {
  return NAMES.indexOf(name) * PLACES + place
}

function classTable(): Uint8Array {
  const table = new Uint8Array(0x10000).fill(NAMES.indexOf('other'))
  for (const [name, from, to] of RANGES) table.fill(NAMES.indexOf(name), from, to + 1)
  for (const [name, characters] of SINGLES)
    for (const character of characters) table[character.charCodeAt(0)] = NAMES.indexOf(name)
  return table
}

function repeatedTable(classes: Uint8Array): Uint8Array {
  const table = classes.slice()
  for (const character of CHEAP_REPEATED) table[character.charCodeAt(0)] = NAMES.indexOf('repeated')
  return table
}

function stateTable(): Uint16Array {
  const table = new Uint16Array((NAMES.length * PLACES) << CLASS_BITS)
  for (const from of NAMES) {
    for (let place = 0; place < PLACES; place++) {
      for (const to of NAMES) {
        const nextPlace = continuesRun(from, to) ? Math.min(place + 1, PLACES - 1) : 0
        table[(stateOf(from, place) << CLASS_BITS) | NAMES.indexOf(to)] = stateOf(to, nextPlace)
      }
    }
  }
  return table
}

function continuesRun(from: ClassName, to: ClassName): boolean {
  if (to === 'upper') return from === 'upper'
  return from === to || FAMILIES.some((family) => family.includes(from) && family.includes(to))
}

function costTable(): Float64Array {
  const table = new Float64Array(NAMES.length * PLACES)
  for (const name of NAMES) {
    const costs: readonly number[] = COSTS[name]
    for (let place = 0; place < PLACES; place++)
      table[stateOf(name, place)] = costs[Math.min(place, costs.length - 1)] ?? 0
  }
  return table
}
