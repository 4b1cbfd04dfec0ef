import { Buffer } from 'node:buffer'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { correctRatio, estimateDelivered, estimateTokens, loadTokenizer } from '../../../policies/llm/estimate.ts'
import { estimateErrors } from './estimate-error.ts'
import { KINDS, unseenTexts } from './estimate-texts.ts'

const texts = unseenTexts()
const anyText = fc.string({ unit: 'binary', maxLength: 300 })

describe('estimateTokens on texts that it was not fitted to', () => {
  it.each(KINDS)('%s: median error under 30 %, and under 15 % after five calls', async (kind) => {
    expect(texts[kind]).toHaveLength(50)
    const { before, corrected } = await estimateErrors(texts[kind])
    expect(before).toBeLessThan(0.3)
    expect(corrected).toBeLessThan(0.15)
  })
})

describe('estimateTokens', () => {
  it('costs nothing for nothing', () => {
    expect(estimateTokens([])).toBe(0)
    expect(estimateTokens(['', ''])).toBe(0)
  })

  it('costs at least one token for any text, and at most three and a half a UTF-16 unit', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const tokens = estimateTokens([text])
        expect(tokens).toBeGreaterThanOrEqual(text === '' ? 0 : 1)
        expect(tokens).toBeLessThanOrEqual(Math.ceil(text.length * 3.6))
      }),
    )
  })

  it('adds up over texts', () => {
    fc.assert(
      fc.property(fc.array(anyText, { maxLength: 5 }), (several) => {
        const sum = several.reduce((tokens, text) => tokens + estimateTokens([text]), 0)
        expect(Math.abs(estimateTokens(several) - sum)).toBeLessThanOrEqual(several.length)
      }),
    )
  })

  it('does not care where a long text is cut into blocks', () => {
    const unit = 'The quick brown fox — 1234567, 漢字かな 😀 \n'
    const once = estimateTokens([unit.repeat(100)])
    expect(estimateTokens([unit.repeat(10_000)]) / (once * 100)).toBeCloseTo(1, 2)
  })

  const random = (count: number, make: (index: number) => string) =>
    Array.from({ length: count }, (_, i) => make(i)).join('')
  const scattered = (from: number, size: number) => (index: number) =>
    String.fromCodePoint(from + (((index * 2_654_435_761) % 4_294_967_296) % size))
  const hostile: readonly (readonly [string, string])[] = [
    ['random letters', random(2000, scattered(0x61, 26))],
    ['random words', random(2000, (i) => (i % 6 === 5 ? ' ' : scattered(0x61, 26)(i)))],
    ['capitals', random(2000, scattered(0x41, 26))],
    ['punctuation', random(2000, scattered(0x21, 15))],
    ['digits', random(2000, scattered(0x30, 10))],
    ['rare ideographs', random(1000, scattered(0x4e00, 0x51ff))],
    ['astral ideographs', random(500, scattered(0x20000, 0xa6d6))],
    ['Cyrillic gibberish', random(2000, (i) => (i % 7 === 6 ? ' ' : scattered(0x430, 32)(i)))],
    ['Arabic gibberish', random(1000, scattered(0x620, 0x2a))],
    ['Ethiopic', random(1000, scattered(0x1200, 0x17f))],
    ['private use', random(1000, scattered(0xe000, 0x18ff))],
    ['combining marks', random(1000, scattered(0x300, 0x6f))],
    ['emoji', random(500, scattered(0x1f300, 0x34f))],
    ['line ends', '\r\n\t \r \n'.repeat(300)],
    ['closing brackets', '}'.repeat(2000)],
    ['zero width', '\u200b\u200d\u2060'.repeat(300)],
    ['spaces', ' '.repeat(4000)],
    ['one letter', 'q'.repeat(2000)],
  ]
  it.each(hostile)('is within what a correction can mend for hostile text: %s', async (_, text) => {
    const actual = await (await loadTokenizer('o200k_base')).count([text])
    const ratio = actual / estimateTokens([text])
    expect(ratio).toBeLessThan(4.5)
    expect(ratio).toBeGreaterThan(1 / 8)
  })
})

describe('estimateDelivered', () => {
  it('is near the estimate of the text itself', () => {
    for (const kind of ['english', 'german', 'chinese', 'code'] as const) {
      const text = texts[kind].join('\n')
      const characters: [number, number, number, number] = [0, 0, 0, 0]
      for (const character of text) {
        const length = Buffer.byteLength(character)
        characters[length - 1] = (characters[length - 1] ?? 0) + 1
      }
      const ratio = estimateDelivered({ characters }) / estimateTokens([text])
      expect(ratio).toBeGreaterThan(0.7)
      expect(ratio).toBeLessThan(1.4)
    }
  })

  it('costs nothing for nothing, and something for one character', () => {
    expect(estimateDelivered({ characters: [0, 0, 0, 0] })).toBe(0)
    expect(estimateDelivered({ characters: [1, 0, 0, 0] })).toBe(1)
  })
})

describe('correctRatio', () => {
  const settle = (pairs: readonly (readonly [number, number])[], start?: number) =>
    pairs.reduce<number | undefined>((ratio, [estimated, actual]) => correctRatio(ratio, estimated, actual), start)

  it('comes near a steady ratio within five calls, from above and from below', () => {
    for (const truth of [0.5, 0.9, 1.5, 3]) {
      const ratio = settle(Array(5).fill([400, 400 * truth])) ?? 0
      expect(Math.abs(ratio / truth - 1)).toBeLessThan(0.1)
    }
  })

  it('learns little from a message of a few tokens, which is mostly overhead', () => {
    const ratio = settle(Array(5).fill([2, 10])) ?? 0
    expect(ratio).toBeLessThan(1.1)
  })

  it('stays within its bounds and finite, whatever it is told', () => {
    const figure = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(0, -1, 1e308, Number.NaN, Number.MIN_VALUE))
    fc.assert(
      fc.property(fc.array(fc.tuple(figure, figure)), (pairs) => {
        const ratio = settle(pairs) ?? 1
        expect(ratio).toBeGreaterThanOrEqual(0.25)
        expect(ratio).toBeLessThanOrEqual(4)
      }),
    )
  })

  it('learns nothing from what is no positive figure', () => {
    for (const [estimated, actual] of [
      [0, 5],
      [5, 0],
      [-1, 5],
      [5, Number.NaN],
      [Number.POSITIVE_INFINITY, 5],
    ] as const) {
      expect(correctRatio(undefined, estimated, actual)).toBe(1)
      expect(correctRatio(1.5, estimated, actual)).toBeCloseTo(1.5, 12)
    }
  })

  it('moves between what it knew and what it sees', () => {
    const positive = fc.double({ min: 0.001, max: 1e9, noNaN: true })
    fc.assert(
      fc.property(fc.double({ min: 0.25, max: 4, noNaN: true }), positive, positive, (before, estimated, actual) => {
        const seen = Math.min(4, Math.max(0.25, actual / estimated))
        const ratio = correctRatio(before, estimated, actual)
        expect(ratio).toBeGreaterThanOrEqual(Math.min(before, seen) - 1e-9)
        expect(ratio).toBeLessThanOrEqual(Math.max(before, seen) + 1e-9)
      }),
    )
  })
})
