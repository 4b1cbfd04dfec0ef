import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createRedactor, redactBodyWith } from '../../../policies/redaction/index.ts'
import { rememberingTexts } from '../../../policies/redaction/texts.ts'

const LONG = 'Plain words of a system prompt that comes with every request. '.repeat(20)

/** A search for the letter x, and what it was asked. */
function asked() {
  const texts: string[] = []
  const find = rememberingTexts((text) => {
    texts.push(text)
    return [...text.matchAll(/x/g)].map(({ index }) => ({ type: 'X', start: index, end: index + 1 }))
  })
  return { find, texts }
}

describe('a search that remembers texts', () => {
  it('searches a text that comes again twice, then no more', () => {
    const { find, texts } = asked()
    const results = [1, 2, 3, 4].map(() => find(`${LONG}x`))
    expect(texts).toHaveLength(2)
    for (const result of results) expect(result).toEqual([{ type: 'X', start: LONG.length, end: LONG.length + 1 }])
  })

  it('tells apart what differs in a single character, wherever it stands', () => {
    const { find } = asked()
    const at = fc.nat(LONG.length - 1)
    fc.assert(
      fc.property(fc.array(at, { minLength: 1, maxLength: 8 }), (places) => {
        for (const place of [...places, ...places, ...places]) {
          const text = `${LONG.slice(0, place)}x${LONG.slice(place + 1)}`
          expect(find(text)).toEqual([{ type: 'X', start: place, end: place + 1 }])
        }
      }),
    )
  })

  it.each([
    ['short ones', 'short x'],
    ['ones with much in them', `${LONG}${'x'.repeat(33)}`],
  ])('searches %s every time', (_name, text) => {
    const { find, texts } = asked()
    for (let time = 0; time < 4; time += 1) find(text)
    expect(texts).toHaveLength(4)
  })

  it('tells apart halves of characters', () => {
    const find = rememberingTexts((text) => [{ type: text.slice(LONG.length), start: 0, end: 1 }])
    const halves = ['\ud800', '\udfff', '\ufffd']
    for (const half of [...halves, ...halves, ...halves]) expect(find(LONG + half)[0]?.type).toBe(half)
  })

  it('forgets when there are too many', () => {
    const { find, texts } = asked()
    for (let time = 0; time < 3; time += 1) find(LONG)
    for (let other = 0; other < 4_096; other += 1) for (let time = 0; time < 2; time += 1) find(`${other} ${LONG}`)
    const before = texts.length
    find(LONG)
    expect(texts).toHaveLength(before + 1)
  })
})

it('a conversation is masked the same however often it comes', () => {
  const used = createRedactor({ key: 'a-key-of-16-bytes-or-more' })
  const secret = fc.constantFrom('marie@sorbonne.example', '4111 1111 1111 1111', 'AKIAIOSFODNN7EXAMPLE', 'nothing')
  const turn = fc.tuple(fc.nat(20), secret).map(([words, value]) => `${'word '.repeat(words * 20)}${value}. ${LONG}`)
  fc.assert(
    fc.property(fc.array(turn, { maxLength: 6 }), fc.constantFrom('team-a', 'team-b'), (turns, tenant) => {
      const body = { messages: turns.map((content) => ({ role: 'user', content })) }
      const call = { tenant, now: 0 }
      const fresh = redactBodyWith(createRedactor({ key: 'a-key-of-16-bytes-or-more' }), body, call)
      for (let time = 0; time < 3; time += 1) expect(redactBodyWith(used, body, call)).toEqual(fresh)
    }),
    { numRuns: 40 },
  )
})
