/** Settlements of one turn of the event loop, which go to Redis together. */

import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Claim, CounterSpec, ReserveResult, SettleEntry } from '../../../../policies/stores/ports.ts'
import { placeOf } from '../../../../policies/stores/redis/keys.ts'
import { markOf } from '../../../../policies/stores/redis/settlements.ts'
import { haveRedisServer } from '../../../support/redis/backends.ts'
import { onEachRedis } from '../../../support/redis/on-each.ts'
import { type LossyProxy, startProxy } from '../../../support/redis/proxy.ts'
import { type RedisServer, startRedis } from '../../../support/redis/server.ts'
import {
  collectStoreEvents,
  type OpenedStore,
  openRedisStore,
  type StoreSettings,
} from '../../../support/redis/store.ts'
import { claimOf, entryOf, HOUR, remainingOf, reserve, until } from './helpers.ts'

const LIMIT = 1000
const ALGORITHMS = ['sliding_window', 'fixed_window', 'token_bucket'] as const
const specOf = (algorithm: CounterSpec['algorithm']): CounterSpec => ({
  algorithm,
  limit: LIMIT,
  windowSeconds: 24 * HOUR,
})
const sliding = specOf('sliding_window')

/** One reservation of each caller. */
interface Held {
  readonly asked: Claim
  readonly entry: (actual: number) => SettleEntry
}

async function hold(store: OpenedStore['store'], count: number, want: number, counter = sliding): Promise<Held[]> {
  const held: Held[] = []
  for (let index = 0; index < count; index++) {
    const asked = claimOf(`consumer=4:${1000 + index}`, counter, want)
    const result = await reserve(store, asked)
    held.push({ asked, entry: (actual) => entryOf(asked, result, actual) })
  }
  return held
}

/** From here on Redis knows the scripts: one that it does not know yet is sent twice. */
async function warm(store: OpenedStore['store']): Promise<void> {
  const asked = claimOf('consumer=4:warm', sliding, 2)
  await store.settle({ id: 'warm', entries: [entryOf(asked, await reserve(store, asked), 1)] })
}

async function evaluations(server: RedisServer): Promise<number> {
  return Number(/cmdstat_evalsha:calls=(\d+)/.exec(await server.client().info('commandstats'))?.[1] ?? 0)
}

describe('the mark of a settlement', () => {
  it('is made of SHA-256', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.boolean(), (id, shared) => {
        const digest = createHash('sha256').update(id).digest()
        expect(markOf(id, shared)).toEqual([
          digest.readUInt8(31) % (shared ? 256 : 16),
          digest.toString('base64url', 0, 6),
        ])
      }),
    )
  })
})

onEachRedis('settlements of one turn', (backend) => {
  let server: RedisServer
  let watched = collectStoreEvents()
  const opened: OpenedStore[] = []

  beforeEach(async () => {
    server = await startRedis({ backend })
    watched = collectStoreEvents()
  })
  afterEach(async () => {
    watched.stop()
    for (const { store } of opened.splice(0)) await store.close()
    await server.close()
  })

  async function open(
    redis: Record<string, unknown> = {},
    settings: StoreSettings = {},
  ): Promise<OpenedStore['store']> {
    const made = openRedisStore({ port: server.port, command_timeout_ms: 1000, ...redis }, { nodes: 1, ...settings })
    opened.push(made)
    await made.store.ready()
    return made.store
  }

  const left = (store: OpenedStore['store'], held: readonly Held[]) =>
    Promise.all(held.map(({ asked }) => remainingOf(store, asked)))

  it.each(ALGORITHMS)('leave together, and each is counted (%s)', async (algorithm) => {
    const store = await open()
    const held = await hold(store, 100, 500, specOf(algorithm))
    await warm(store)
    const before = await evaluations(server)
    const counted = await Promise.all(
      held.map(({ entry }, index) => store.settle({ id: `s${index}`, entries: [entry(10 * index)] })),
    )
    expect((await evaluations(server)) - before).toBe(4)
    expect(counted.every((each) => each)).toBe(true)
    expect(await left(store, held)).toEqual(held.map((_, index) => LIMIT - 10 * index))
    // Every counter again: by now nothing about any of them is unusual.
    const again = await hold(store, 100, 1, specOf(algorithm))
    await Promise.all(again.map(({ entry }, index) => store.settle({ id: `t${index}`, entries: [entry(index % 3)] })))
    const used = again.map((_, index) => 10 * index + (index % 3))
    expect(await left(store, again)).toEqual(used.map((each) => Math.max(0, LIMIT - each)))
  })

  it('of several rules, some of everybody: as one after the other', async () => {
    const store = await open()
    const { caller: _, ...shared } = claimOf('/rule=all', { ...sliding, limit: 100 * LIMIT }, 100)
    const rules = (caller: string): Claim[] => [
      ...ALGORITHMS.map((algorithm) => claimOf(caller, specOf(algorithm), 100)),
      { ...shared, key: '/rule=all' },
    ]
    for (const round of [1, 2]) {
      const settling: Promise<boolean>[] = []
      const held = []
      for (let index = 0; index < 10; index++)
        held.push({
          claims: rules(`consumer=2:${10 + index}`),
          result: await reserve(store, ...rules(`consumer=2:${10 + index}`)),
        })
      for (const [index, { claims, result }] of held.entries()) {
        const entries = claims.map((asked, which) => {
          const taken = result.claims[which]
          if (taken === undefined) throw new Error('nothing taken')
          return entryOf(asked, { ...result, claims: [taken] }, index < 5 ? 40 : 130)
        })
        settling.push(Promise.resolve(store.settle({ id: `${round}-${index}`, entries })))
      }
      expect(await Promise.all(settling)).toEqual(held.map(() => true))
      for (const [index, { claims }] of held.entries()) {
        const seen = await reserve(store, ...claims.map((asked) => ({ ...asked, want: 0 })))
        const used = round * (index < 5 ? 40 : 130)
        expect(seen.claims.map(({ remaining }) => remaining)).toEqual([
          ...ALGORITHMS.map(() => LIMIT - used),
          100 * LIMIT - round * 5 * (40 + 130),
        ])
      }
    }
  })

  it('are known when they come twice, in the order in which they came', async () => {
    const store = await open()
    const [held] = await hold(store, 1, 100)
    if (held === undefined) throw new Error('nothing held')
    const settle = (id: string, actual: number) => store.settle({ id, entries: [held.entry(actual)] })
    expect(
      await Promise.all([settle('x', 30), settle('x', 900), settle('y', 140), settle('x', 0), settle('y', 0)]),
    ).toEqual([true, false, true, false, false])
    expect(await remainingOf(store, held.asked)).toBe(LIMIT - 30 - 40)
  })

  it('reach Redis before whatever is asked behind them', async () => {
    const store = await open()
    const [held] = await hold(store, 1, LIMIT)
    if (held === undefined) throw new Error('nothing held')
    await warm(store)
    const settling = store.settle({ id: 'x', entries: [held.entry(250)] })
    const next = reserve(store, { ...held.asked, want: 750 })
    const shown = store.show('consumer=4:1000')
    expect([await settling, (await next).admitted]).toEqual([true, true])
    expect(await shown).toMatchObject([{ used: LIMIT }])
  })

  it('one of which meets what is no counter: the others are counted, and it changes nothing', async () => {
    const store = await open()
    const held = await hold(store, 12, 100)
    const client = server.client()
    const placed = (index: number) => placeOf('portcullis:', held[index]?.asked ?? { key: '' })
    await client.set(placed(3).hash, 'a string')
    await client.hset(placed(5).hash, placed(5).field, Buffer.from([0xc1]))
    await client.hset(placed(7).hash, placed(7).field, Buffer.from([0x93, 0xc0, 0xc0, 0xc0]))
    const { caller: _, ...shared } = claimOf('/rule=all', sliding, 0)
    const broken = { ...shared, key: '/rule=all' }
    await client.set(placeOf('portcullis:', broken).hash, 'a string')
    const both = [held[9]?.entry(500), { ...broken, at: 1, epoch: 1, reserved: 0, actual: 50 }]
    const outcomes = await Promise.allSettled(
      held.map(({ entry }, index) =>
        store.settle({
          id: `s${index}`,
          entries: index === 9 ? (both as SettleEntry[]) : [entry(index < 6 ? 10 : 120)],
        }),
      ),
    )
    const bad = [3, 5, 7, 9]
    expect(outcomes.map(({ status }) => status)).toEqual(
      held.map((_, index) => (bad.includes(index) ? 'rejected' : 'fulfilled')),
    )
    expect(outcomes.filter(({ status }) => status === 'rejected')).toMatchObject(
      bad.map(() => ({ reason: { code: 'store_fault' } })),
    )
    expect(outcomes[3]).toMatchObject({ reason: { message: 'Redis refused a command: WRONGTYPE.' } })
    const whole = held.filter((_, index) => ![3, 5, 7].includes(index))
    expect(await left(store, whole)).toEqual(
      held.flatMap((_, index) =>
        [3, 5, 7].includes(index) ? [] : [LIMIT - (index === 9 ? 100 : index < 6 ? 10 : 120)],
      ),
    )
    // It is not marked as settled either.
    await client.del(placeOf('portcullis:', broken).hash)
    expect(await store.settle({ id: 's9', entries: both as SettleEntry[] })).toBe(true)
    expect(watched.events).toEqual([])
  })

  it('all of which meet it: each says so', async () => {
    const store = await open()
    const held = await hold(store, 3, 100)
    for (const { asked } of held) await server.client().set(placeOf('portcullis:', asked).hash, 'a string')
    const outcomes = await Promise.allSettled(
      held.map(({ entry }, index) => store.settle({ id: `s${index}`, entries: [entry(10)] })),
    )
    expect(outcomes).toMatchObject(
      held.map(() => ({ reason: { code: 'store_fault', message: 'Redis refused a command: WRONGTYPE.' } })),
    )
  })

  it('one of which nobody could write down: the others are counted', async () => {
    const store = await open()
    const [first, second, third] = await hold(store, 3, 100)
    if (first === undefined || second === undefined || third === undefined) throw new Error('nothing held')
    const odd = { ...second.entry(10), caller: 'consumer=1:z' }
    const endless = { ...third.entry(10), actual: Number.NaN }
    const outcomes = await Promise.allSettled([
      store.settle({ id: 'a', entries: [first.entry(10)] }),
      store.settle({ id: 'b', entries: [odd] }),
      store.settle({ id: 'c', entries: [endless] }),
      store.settle({ id: 'd', entries: [second.entry(10)] }),
    ])
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled'])
    expect(await left(store, [first, second, third])).toEqual([LIMIT - 10, LIMIT - 10, LIMIT - 100])
  })

  it('of callers and models with any characters in their names', async () => {
    const store = await open()
    const names = ['\ud800', '\udfff\ud800', '\u0000', '"', '\\', '{}', '\r\n', '𝕏', 'é']
    const claims = names.map((name) => claimOf(`consumer=${name.length}:${name}`, sliding, 100, {}))
    const odd = claims.map((asked, index) => ({ ...asked, key: `${asked.key}/model=${names[index]}` }))
    const results: ReserveResult[] = []
    for (const asked of odd) results.push(await reserve(store, asked))
    const settled = await Promise.all(
      odd.map((asked, index) => {
        const result = results[index]
        if (result === undefined) throw new Error('nothing held')
        return store.settle({ id: `s${index}`, entries: [entryOf(asked, result, 25)] })
      }),
    )
    expect(settled).toEqual(odd.map(() => true))
    // Names that are no text look alike in Redis, as they do when reserving.
    for (const asked of odd.slice(2)) expect(await remainingOf(store, asked)).toBe(LIMIT - 25)
  })

  it('after SCRIPT FLUSH: the script is loaded again', async () => {
    const store = await open()
    const held = await hold(store, 40, 100)
    await server.client().script('FLUSH')
    const settled = await Promise.all(
      held.map(({ entry }, index) => store.settle({ id: `s${index}`, entries: [entry(30)] })),
    )
    expect(settled).toEqual(held.map(() => true))
    expect(await left(store, held)).toEqual(held.map(() => LIMIT - 30))
    expect(watched.events).toEqual([])
  })

  it('when memory is full: none is counted, and each is once there is room', async () => {
    const store = await open({}, { nodes: 2 })
    const held = await hold(store, 40, 100)
    const client = server.client()
    await client.config('SET', 'maxmemory', '1')
    const actual = (index: number) => (index % 2 === 0 ? 30 : 170)
    const settled = await Promise.all(
      held.map(({ entry }, index) => store.settle({ id: `s${index}`, entries: [entry(actual(index))] })),
    )
    expect(settled).toEqual(held.map(() => true))
    expect(watched.events).toMatchObject([{ state: 'down', reason: 'OOM' }])
    for (const { asked } of held) {
      const { hash } = placeOf('portcullis:', asked)
      expect((await client.hkeys(hash)).filter((field) => field.startsWith('m'))).toEqual([])
    }
    await client.config('SET', 'maxmemory', '0')
    await until(() => watched.events.some(({ state }) => state === 'up'))
    expect(await left(store, held)).toEqual(held.map((_, index) => LIMIT - actual(index)))
  })

  it('while the connection is gone: what waits opens the breaker, and is counted when Redis is back', async () => {
    const store = await open()
    const held = await hold(store, 8, 100)
    await server.kill()
    const settled = await Promise.all(
      held.map(({ entry }, index) => store.settle({ id: `s${index}`, entries: [entry(index % 2 === 0 ? 30 : 170)] })),
    )
    expect(settled).toEqual(held.map(() => true))
    expect(watched.events).toMatchObject([{ state: 'down' }])
    await server.restart()
    await until(() => watched.events.some(({ state }) => state === 'up'))
    // A refund finds no counter of its life; a charge makes one.
    expect(await left(store, held)).toEqual(held.map((_, index) => (index % 2 === 0 ? LIMIT : LIMIT - 70)))
  })

  it('while Redis stands still: nobody waits for it to go on, and none is counted twice', async () => {
    const store = await open()
    const held = await hold(store, 40, 100)
    await warm(store)
    await server.freeze()
    const settled = await Promise.all(
      held.map(({ entry }, index) => store.settle({ id: `s${index}`, entries: [entry(index % 2 === 0 ? 30 : 170)] })),
    )
    expect(settled).toEqual(held.map(() => true))
    expect(watched.events).toMatchObject([{ state: 'down', reason: 'timeout' }])
    await server.thaw()
    await until(() => watched.events.some(({ state }) => state === 'up'))
    expect(await left(store, held)).toEqual(held.map((_, index) => LIMIT - (index % 2 === 0 ? 30 : 170)))
  })

  it('that nobody waited for when the store was closed', async () => {
    const store = await open()
    const other = await open()
    const held = await hold(store, 3, 100)
    const settling = held.map(({ entry }, index) => store.settle({ id: `s${index}`, entries: [entry(30)] }))
    await store.close()
    await Promise.all(settling)
    await until(async () => (await left(other, held)).every((remaining) => remaining === LIMIT - 30))
  })
})

describe.skipIf(!haveRedisServer('replies that are lost'))('a reply that is lost after many were settled', () => {
  let server: RedisServer
  let proxy: LossyProxy
  let behind: OpenedStore
  let direct: OpenedStore

  beforeEach(async () => {
    server = await startRedis()
    proxy = await startProxy(server)
    behind = openRedisStore({ port: proxy.port, command_timeout_ms: 1000 }, { nodes: 1 })
    direct = openRedisStore({ port: server.port, command_timeout_ms: 1000 }, { nodes: 1 })
    await Promise.all([behind.store.ready(), direct.store.ready()])
    await warm(behind.store)
  })
  afterEach(async () => {
    await Promise.all([behind.store.close(), direct.store.close()])
    await proxy.close()
    await server.close()
  })

  it.each(ALGORITHMS)('refunds are given back once, charges counted once (%s)', async (algorithm) => {
    const held = await hold(behind.store, 40, 300, specOf(algorithm))
    const before = await evaluations(server)
    const actual = (index: number) => (index % 2 === 0 ? 100 : 450)
    proxy.loseNextReply()
    const settled = await Promise.all(
      held.map(({ entry }, index) => behind.store.settle({ id: `s${index}`, entries: [entry(actual(index))] })),
    )
    expect(settled).toEqual(held.map(() => true))
    // Every charge is asked about alone.
    await until(async () => (await evaluations(server)) >= before + 1 + held.length / 2)
    const remaining = await Promise.all(held.map(({ asked }) => remainingOf(direct.store, asked)))
    for (const [index, { asked }] of held.entries()) {
      // The second of two script runs may not have reached Redis: then its refunds are forgotten.
      const ran = remaining[index] === LIMIT - actual(index)
      expect([asked.key, remaining[index]]).toEqual([asked.key, ran ? LIMIT - actual(index) : LIMIT - 300])
      if (index % 2 === 1 || index < 32) expect(ran).toBe(true)
    }
  })
})
