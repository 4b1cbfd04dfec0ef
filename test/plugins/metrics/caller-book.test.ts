import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ALL, createCallerBook, NAMELESS, OTHERS } from '../../../plugins/metrics/caller-book.ts'
import type { LimitStanding } from '../../../policies/telemetry.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR

function setUp(max: number) {
  let time = 0
  const book = createCallerBook({ max, now: () => time })
  const settled = () => Object.fromEntries([...book.pages].map(([caller, { tokens }]) => [caller, tokens.settled]))
  const wait = (ms: number) => {
    time += ms
  }
  return { book, settled, wait }
}

function standing(more: Partial<LimitStanding> = {}): LimitStanding {
  return { rule: 'hourly', unit: 'total_tokens', limit: 100, used: 60, resetMs: HOUR, shared: false, ...more }
}

describe('callers', () => {
  it('are told apart up to the cap; those beyond it and those without a name share a page each', () => {
    const { book, settled } = setUp(2)
    for (const caller of ['ada', 'bob', 'eve', 'mallory', undefined]) book.count(caller, 'settled', 10)
    expect(settled()).toEqual({ ada: 10, bob: 10, [OTHERS]: 20, [NAMELESS]: 10 })
  })

  it('are not told apart at all where the cap is 0', () => {
    const { book, settled } = setUp(0)
    book.count('ada', 'settled', 10)
    expect(settled()).toEqual({ [OTHERS]: 10 })
  })

  it('make room once they have been quiet for an hour, the quietest first', () => {
    const { book, settled, wait } = setUp(2)
    book.count('ada', 'settled', 1)
    book.count('bob', 'settled', 1)
    wait(HOUR)
    book.count('ada', 'settled', 1)
    book.count('eve', 'settled', 1)
    expect(settled()).toEqual({ ada: 2, bob: 1, [OTHERS]: 1 })
    wait(1)
    book.count('eve', 'settled', 1)
    expect(settled()).toEqual({ ada: 2, eve: 1, [OTHERS]: 1 })
  })

  it('cannot take the name of a page that several share', () => {
    const { book, settled } = setUp(5)
    for (const name of [OTHERS, NAMELESS, ALL]) book.count(name, 'settled', 1)
    expect(settled()).toEqual({ [OTHERS]: 3 })
  })

  it('never have more pages than the cap, and no token is lost', () => {
    const step = fc.record({
      caller: fc.option(fc.constantFrom(...'abcdefgh'), { nil: undefined }),
      tokens: fc.nat(1_000),
      wait: fc.constantFrom(0, 0, 0, 2 * HOUR),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.nat(4), (steps, max) => {
        const { book, wait } = setUp(max)
        let lastWait = 0
        let sinceThen = 0
        for (const { caller, tokens, wait: ms } of steps) {
          if (ms > 0) {
            lastWait = [...book.pages.values()].reduce((sum, page) => sum + page.tokens.settled, 0)
            sinceThen = 0
          }
          wait(ms)
          book.count(caller, 'settled', tokens)
          sinceThen += tokens
          expect(book.pages.size).toBeLessThanOrEqual(max + 2)
        }
        const known = [...book.pages.values()].reduce((sum, page) => sum + page.tokens.settled, 0)
        // Only a page that was closed takes tokens with it, and none is closed before an hour.
        expect(known).toBeGreaterThanOrEqual(sinceThen)
        expect(known).toBeLessThanOrEqual(lastWait + sinceThen)
      }),
    )
  })

  it('count nothing for what is no positive number', () => {
    const { book, settled } = setUp(1)
    for (const tokens of [Number.NaN, Number.POSITIVE_INFINITY, -5]) book.count('ada', 'settled', tokens)
    expect(settled()).toEqual({ ada: 0 })
  })
})

describe('limits', () => {
  it('are as last seen, until all of it is free again', () => {
    const { book, wait } = setUp(1)
    book.noteLimits('ada', [standing({ used: 10 }), standing({ rule: 'daily', used: 70, resetMs: DAY })])
    book.noteLimits('ada', [standing({ used: 60 })])
    const used = () =>
      book.pages
        .get('ada')
        ?.limits()
        .map((limit) => [limit.rule, limit.used, limit.limit])
    expect(used()).toEqual([
      ['daily', 70, 100],
      ['hourly', 60, 100],
    ])
    wait(HOUR)
    expect(used()).toEqual([
      ['daily', 70, 100],
      ['hourly', 0, 100],
    ])
  })

  it('of everybody stand once; those of callers who share a page stand nowhere', () => {
    const { book } = setUp(1)
    book.noteLimits('ada', [standing(), standing({ rule: 'all', shared: true, used: 5 })])
    book.noteLimits('bob', [standing(), standing({ rule: 'all', shared: true, used: 6 })])
    book.noteLimits(undefined, [standing()])
    const rules = [...book.pages].map(([caller, page]) => [caller, page.limits().map(({ rule, used }) => [rule, used])])
    expect(Object.fromEntries(rules)).toEqual({
      ada: [['hourly', 60]],
      [ALL]: [['all', 6]],
      [OTHERS]: [],
      [NAMELESS]: [],
    })
  })

  it('are so many for a caller at most', () => {
    const { book } = setUp(1)
    for (let rule = 0; rule < 1_000; rule += 1) book.noteLimits('ada', [standing({ rule: `rule-${rule}` })])
    const rules =
      book.pages
        .get('ada')
        ?.limits()
        .map(({ rule }) => rule) ?? []
    expect(rules).toHaveLength(32)
    expect(rules.at(-1)).toBe('rule-999')
  })
})

describe('keys', () => {
  it('count by the one that is due first, of those that were used within a day', () => {
    const { book, wait } = setUp(1)
    const keys = () => book.pages.get('ada')?.keys()
    book.noteKey('ada', { dueAt: 100, endsAt: 300 })
    wait(HOUR)
    book.noteKey('ada', { dueAt: 200, endsAt: 250 })
    book.noteKey('ada', {})
    expect(keys()).toEqual({ dueAt: 100, endsAt: 250 })
    wait(DAY - HOUR)
    expect(keys()).toEqual({ dueAt: 200, endsAt: 250 })
    wait(HOUR)
    expect(keys()).toEqual({})
  })

  it('are so many for a caller at most', () => {
    const { book } = setUp(1)
    for (let dueAt = 1; dueAt <= 100; dueAt += 1) book.noteKey('ada', { dueAt })
    expect(book.pages.get('ada')?.keys()).toEqual({ dueAt: 85 })
  })
})
