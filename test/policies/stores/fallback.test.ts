import { describe, expect, it } from 'vitest'
import { createLocalShare } from '../../../policies/stores/fallback.ts'
import type { Algorithm, Claim, CounterSpec } from '../../../policies/stores/ports.ts'
import { claimWith } from '../../contract/limit-reference.ts'

const LIMIT = 1200
const WINDOW = 60

function spec(algorithm: Algorithm): CounterSpec {
  return { algorithm, limit: LIMIT, windowSeconds: WINDOW }
}

function claim(key: string, counter: CounterSpec, want: number): Claim {
  return claimWith({ key, caller: key, counter, want })
}

function setUp({ nodes = 2, usage = new Map<string, number>(), maxCounters = 1000 } = {}) {
  let now = 1_700_000_000_000
  const asked: string[] = []
  let ids = 0
  const share = createLocalShare({
    clock: { now: () => now },
    random: { fraction: () => 0.5 },
    nodes,
    usageOf(key) {
      asked.push(key)
      return usage.get(key) ?? 0
    },
    maxCounters,
  })
  const reserve = (...claims: Claim[]) => share.reserve(`r${ids++}`, claims)
  const advance = (ms: number) => {
    now += ms
  }
  return { share, reserve, advance, asked, usage }
}

describe('what the shared store is charged with after an outage', () => {
  it.each<Algorithm>(['sliding_window', 'fixed_window', 'token_bucket'])(
    'is what still counts, not all that was ever admitted: %s',
    (algorithm) => {
      const { share, reserve, advance } = setUp()
      const asked = claim('a', spec(algorithm), 100)
      let admitted = 0
      for (let second = 0; second < 20 * WINDOW; second++) {
        if (reserve(asked).admitted) admitted += 100
        advance(1000)
      }
      expect(admitted).toBeGreaterThan(9 * LIMIT)
      const amount = share.drain().reduce((sum, one) => sum + one.amount, 0)
      expect(amount).toBeGreaterThan(0)
      expect(amount).toBeLessThanOrEqual(LIMIT / 2)
    },
  )

  it('is all of it within the window, and nothing twice', () => {
    const { share, reserve, advance, usage } = setUp()
    usage.set('a', 300)
    const result = reserve(claim('a', spec('sliding_window'), 100))
    reserve(claim('a', spec('sliding_window'), 100))
    advance(1000)
    const [claimed] = result.claims
    if (claimed === undefined) throw new Error('no claim')
    const { at, epoch, reserved } = claimed
    share.settle('r0', [{ key: 'a', counter: spec('sliding_window'), at, epoch, reserved, actual: 30 }])
    expect(share.drain()).toMatchObject([{ key: 'a', amount: 130 }])
    expect(share.drain()).toEqual([])
    advance(2 * WINDOW * 1000)
    reserve(claim('a', spec('sliding_window'), 50))
    expect(share.drain()).toMatchObject([{ key: 'a', amount: 50 }])
  })

  it('is once what several claims of a request took together', () => {
    const { share, reserve, usage } = setUp()
    usage.set('a/o/other', 300)
    const spreadTo = (member: string): Claim => ({
      ...claim(`a/o/${member}`, spec('sliding_window'), 5),
      spread: { owner: 'a/o', member, overflowKey: 'a/o/other' },
    })
    for (let index = 0; index < 64; index++) reserve(spreadTo(`m${index}`))
    reserve(spreadTo('x'), spreadTo('y'), spreadTo('z'))
    expect(share.drain().find(({ key }) => key === 'a/o/other')).toMatchObject({ amount: 5 })
  })

  it('is nothing when nothing of it counts any more', () => {
    const { share, reserve, advance } = setUp()
    reserve(claim('a', spec('sliding_window'), 100))
    advance(2 * WINDOW * 1000)
    expect(share.drain()).toEqual([])
  })
})

describe('the memory of an outage', () => {
  it('holds so many counters, and forgets those that count nothing any more', () => {
    const { share, reserve, advance } = setUp({ maxCounters: 10 })
    const ask = (key: string) => reserve(claim(key, spec('fixed_window'), 1))
    for (let round = 0; round < 50; round++) {
      for (let index = 0; index < 10; index++) expect(ask(`${round}/${index}`).admitted).toBe(true)
      expect(() => ask('more')).toThrow('too many')
      // An old counter is asked all the same.
      expect(ask(`${round}/3`).admitted).toBe(true)
      advance(4 * WINDOW * 1000)
      // The first one finds those that count nothing any more.
      expect(() => ask('none')).toThrow('too many')
    }
    expect(share.drain()).toEqual([])
  })

  it('does not hold the names of counters of which nothing was ever reported', () => {
    const { reserve, asked, usage } = setUp()
    reserve(claim('a', spec('sliding_window'), 1))
    reserve(claim('a', spec('sliding_window'), 1))
    expect(asked).toEqual(['a', 'a'])
    usage.set('b', 500)
    expect(reserve(claim('b', spec('sliding_window'), 150)).admitted).toBe(false)
    expect(reserve(claim('b', spec('sliding_window'), 100)).admitted).toBe(true)
    expect(asked).toEqual(['a', 'a', 'b'])
  })
})
