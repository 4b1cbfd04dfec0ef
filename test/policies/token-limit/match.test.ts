import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Caller } from '../../../policies/policy.ts'
import type { RuleConfig } from '../../../policies/token-limit/config.ts'
import type { Facts } from '../../../policies/token-limit/keys.ts'
import { applicableRules, globMatches } from '../../../policies/token-limit/match.ts'

function names(match: RuleConfig['match'], caller: Partial<Caller> = {}, models: readonly string[] = ['gpt-4o']) {
  const config = { name: 'r', ...(match === undefined ? {} : { match }) } as RuleConfig
  const facts: Facts = { caller: { address: 'x', ...caller }, route: { id: 'r-1', name: 'chat' }, headers: new Map() }
  return applicableRules([{ config }], facts, models).map(({ model }) => model)
}

const ALICE: Partial<Caller> = {
  consumer: { id: 'c-1', username: 'alice', customId: 'A', tags: ['gold'], groups: [] },
  credential: { id: 'k', tags: ['trial'] },
}

describe('rules', () => {
  it('apply always without a match', () => {
    expect(names(undefined)).toEqual(['gpt-4o'])
    expect(names({})).toEqual(['gpt-4o'])
  })

  it('match consumers by id, user name or custom id', () => {
    for (const consumers of [['c-1'], ['alice'], ['A'], ['x', 'alice']])
      expect(names({ consumers }, ALICE)).toHaveLength(1)
    expect(names({ consumers: ['bob'] }, ALICE)).toEqual([])
    expect(names({ consumers: ['alice'] })).toEqual([])
  })

  it('take an anonymous consumer for nobody', () => {
    const { credential: _, ...anonymous } = ALICE
    expect(names({ consumers: ['alice'] }, anonymous)).toEqual([])
    expect(names({ tags: ['gold'] }, anonymous)).toEqual([])
  })

  it('match tags of the consumer or the credential', () => {
    expect(names({ tags: ['gold'] }, ALICE)).toHaveLength(1)
    expect(names({ tags: ['other', 'trial'] }, ALICE)).toHaveLength(1)
    expect(names({ tags: ['silver'] }, ALICE)).toEqual([])
  })

  it('match every claim that is named, lists by their items', () => {
    const claims = { plan: 'pro', roles: ['a', 'b'], seats: 5, admin: true, deep: { x: 'y' } }
    for (const wanted of [
      { plan: ['pro'] },
      { roles: ['b'] },
      { seats: ['5'] },
      { admin: ['true'] },
      { 'deep.x': ['y'] },
    ])
      expect(names({ claims: wanted }, { claims })).toHaveLength(1)
    for (const wanted of [
      { plan: ['free'] },
      { plan: ['pro'], roles: ['c'] },
      { deep: ['[object Object]'] },
      { none: ['undefined'] },
    ])
      expect(names({ claims: wanted }, { claims })).toEqual([])
    expect(names({ claims: { plan: ['pro'] } })).toEqual([])
  })

  it('match routes by name or id', () => {
    expect(names({ routes: ['chat'] })).toHaveLength(1)
    expect(names({ routes: ['r-1'] })).toHaveLength(1)
    expect(names({ routes: ['other'] })).toEqual([])
  })

  it('match models without regard to case, each by itself', () => {
    expect(names({ models: ['GPT-4*'] })).toHaveLength(1)
    expect(names({ models: ['gpt-4'] })).toEqual([])
    expect(names({ models: ['gpt-*'] }, {}, ['gpt-4o', 'claude-3', 'GPT-5'])).toEqual(['gpt-4o', 'GPT-5'])
  })

  it('need everything that is set to match', () => {
    expect(names({ models: ['gpt-*'], tags: ['gold'], routes: ['chat'] }, ALICE)).toHaveLength(1)
    expect(names({ models: ['gpt-*'], tags: ['gold'], routes: ['other'] }, ALICE)).toEqual([])
  })
})

describe('a model that nobody can tell', () => {
  it('meets every rule that some model would have met', () => {
    const models = fc.constantFrom('gpt-4o', 'claude-3', 'o3', 'x')
    const config = fc.record({
      name: fc.constantFrom('a', 'b'),
      match: fc.record(
        {
          models: fc.array(fc.constantFrom('gpt-*', 'claude-3', 'o?', '*'), { minLength: 1 }),
          tags: fc.constantFrom(['trial'], ['other']),
        },
        { requiredKeys: [] },
      ),
    })
    const facts = { caller: { address: 'x', ...ALICE }, route: {}, headers: new Map() }
    fc.assert(
      fc.property(fc.array(config, { maxLength: 8 }), models, (configs, model) => {
        const rules = configs.map((one) => ({ config: one as Partial<RuleConfig> as RuleConfig }))
        const applied = (...asked: string[]) => applicableRules(rules, facts, asked).map(({ rule }) => rule)
        expect(applied('')).toEqual(expect.arrayContaining(applied(model)))
        expect(applied().every(({ config: { match } }) => match?.models === undefined)).toBe(true)
      }),
      { numRuns: 500 },
    )
  })
})

describe('globs', () => {
  for (const [glob, text, expected] of [
    ['*', '', true],
    ['', '', true],
    ['', 'a', false],
    ['a*c', 'abbbc', true],
    ['a*c', 'abbb', false],
    ['?', '', false],
    ['a?c', 'abc', true],
    ['**a', 'bba', true],
    ['a.c', 'abc', false],
    ['*ab*ab*', 'xabab', true],
    ['/v1/batches/*', '/v1/batches/x/y', true],
    ['[a]', 'a', false],
  ] as const)
    it(`${glob} ${expected ? 'matches' : 'does not match'} ${text}`, () => {
      expect(globMatches(glob, text)).toBe(expected)
    })

  it('agree with a plain recursive definition', () => {
    const naive = (glob: string, text: string): boolean => {
      if (glob === '') return text === ''
      if (glob[0] === '*') return naive(glob.slice(1), text) || (text !== '' && naive(glob, text.slice(1)))
      return text !== '' && (glob[0] === '?' || glob[0] === text[0]) && naive(glob.slice(1), text.slice(1))
    }
    const letters = (alphabet: string, maxLength: number) =>
      fc.array(fc.constantFrom(...alphabet), { maxLength }).map((all) => all.join(''))
    fc.assert(
      fc.property(letters('ab*?', 7), letters('ab', 10), (glob, text) => {
        expect(globMatches(glob, text)).toBe(naive(glob, text))
      }),
      { numRuns: 1000 },
    )
  })

  it('end soon on hostile text', () => {
    expect(globMatches(`${'a*'.repeat(30)}b`, 'a'.repeat(20_000))).toBe(false)
  })
})
