import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { besideHash, placeOf, slotOf } from '../../../../policies/stores/redis/keys.ts'
import { haveRedisServer } from '../../../support/redis/backends.ts'
import { type RedisServer, startRedis } from '../../../support/redis/server.ts'

describe('names of keys in Redis', () => {
  it('are injective over counters', () => {
    const text = fc.string({ unit: 'binary-ascii', minLength: 1, maxLength: 8 })
    const name = fc.record({ caller: fc.option(text, { nil: undefined }), rest: text })
    fc.assert(
      fc.property(name, name, (a, b) => {
        const [first, second] = [a, b].map(({ caller, rest }) =>
          caller === undefined ? { key: rest } : { key: `${caller}${rest}`, caller },
        )
        if (first === undefined || second === undefined) throw new Error('two names')
        const same = first.key === second.key && first.caller === second.caller
        const places = [placeOf('p:', first), placeOf('p:', second)]
        expect(JSON.stringify(places[0]) === JSON.stringify(places[1])).toBe(same)
      }),
    )
  })

  it('begin with their caller', () => {
    expect(() => placeOf('p:', { key: 'b/x', caller: 'a' })).toThrow('begins with its caller')
  })

  it('lie beside each other when they share a tag', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), (caller) => {
        const { hash } = placeOf('p:', { key: `consumer=${caller}/x`, caller: `consumer=${caller}` })
        expect(slotOf(besideHash('p:', hash, 'p'))).toBe(slotOf(hash))
      }),
    )
  })
})

describe.skipIf(!haveRedisServer('slots of keys'))('slots', () => {
  let server: RedisServer
  beforeAll(async () => {
    server = await startRedis({ args: ['--cluster-enabled', 'yes'] })
  })
  afterAll(() => server.close())

  it('are the ones that Redis finds', async () => {
    const client = server.client()
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'grapheme' }), async (key) => {
        expect(slotOf(key)).toBe(await client.cluster('KEYSLOT', key))
      }),
      { numRuns: 300, examples: [['{}a'], ['{a}'], ['a{b}{c}'], ['a{{b}}'], ['}a{'], [''], ['käse{ü}']] },
    )
  })
})
