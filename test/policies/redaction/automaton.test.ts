import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Automaton } from '../../../policies/redaction/automaton.ts'
import { buildAutomaton, CLASS_BITS, CLASS_OTHER, FOLD_LIMIT } from '../../../policies/redaction/automaton.ts'

function hits(automaton: Automaton, text: string): [number, number][] {
  const found: [number, number][] = []
  let state = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    const cls = code < FOLD_LIMIT ? (automaton.classes[code] ?? CLASS_OTHER) : CLASS_OTHER
    state = automaton.next[(state << CLASS_BITS) | cls] ?? 0
    if (state >= automaton.firstOutput) {
      for (const keyword of automaton.outputs[state - automaton.firstOutput] ?? []) found.push([keyword, i + 1])
    }
  }
  return found
}

test('finds every keyword at every place, as searching for each alone does', () => {
  const keyword = fc.string({ unit: fc.constantFrom('a', 'b', 'c', '_', '1'), minLength: 1, maxLength: 4 })
  const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c', '_', '1', 'x', ' '), maxLength: 60 })
  fc.assert(
    fc.property(fc.uniqueArray(keyword, { minLength: 1, maxLength: 12 }), text, (keywords, input) => {
      const expected: [number, number][] = []
      for (let end = 1; end <= input.length; end++) {
        for (const [index, word] of keywords.entries()) {
          if (input.slice(0, end).endsWith(word)) expected.push([index, end])
        }
      }
      const order = (a: [number, number], b: [number, number]) => a[1] - b[1] || a[0] - b[0]
      expect(hits(buildAutomaton(keywords), input).sort(order)).toEqual(expected.sort(order))
    }),
  )
})

test('folds case and accents', () => {
  const automaton = buildAutomaton(['ne le', 'password', 'strase'])
  expect(hits(automaton, 'NÉ LE')).toEqual([[0, 5]])
  expect(hits(automaton, 'PassWord')).toEqual([[1, 8]])
  expect(hits(automaton, 'Straße')).toEqual([[2, 6]])
})

test('refuses keywords that could never match', () => {
  expect(() => buildAutomaton([''])).toThrow(RangeError)
  expect(() => buildAutomaton(['鍵'])).toThrow(RangeError)
})
