import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Claim, CounterSpec } from '../../../../policies/stores/ports.ts'
import { placeOf, slotOf } from '../../../../policies/stores/redis/keys.ts'
import { limitStoreContract } from '../../../contract/limit-store.ts'
import { haveRedisServer } from '../../../support/redis/backends.ts'
import { type RedisCluster, startCluster } from '../../../support/redis/cluster.ts'
import { sleep } from '../../../support/redis/server.ts'
import {
  collectStoreEvents,
  type OpenedStore,
  openRedisStore,
  type StoreSettings,
} from '../../../support/redis/store.ts'
import { claimOf, entryOf, HOUR, reserve, startLoad, until } from './helpers.ts'

const LIMIT = 1000
const sliding: CounterSpec = { algorithm: 'sliding_window', limit: LIMIT, windowSeconds: HOUR }
const wide: CounterSpec = { ...sliding, limit: 100 * LIMIT }

describe.skipIf(!haveRedisServer('Redis Cluster'))('several nodes', () => {
  let world: RedisCluster
  let stores = 0
  beforeAll(async () => {
    world = await startCluster()
  }, 120_000)
  afterAll(() => world.close())

  const open = (redis: Record<string, unknown> = {}, settings: StoreSettings = {}): OpenedStore =>
    openRedisStore({ cluster_nodes: world.nodes, key_prefix: `t${stores++}:`, ...redis }, settings)

  limitStoreContract(
    'Redis Cluster',
    async ({ now }) => {
      let t = now
      const { store } = open({ command_timeout_ms: 10_000 }, { on_store_error: 'deny', now: () => t })
      await store.ready()
      return {
        store,
        setTime(to) {
          t = to
        },
        close: () => store.close(),
      }
    },
    { runs: 25 },
  )

  describe('Redis Cluster', () => {
    const opened: OpenedStore[] = []
    afterEach(async () => {
      for (const { store } of opened.splice(0)) await store.close()
    })
    function use(redis: Record<string, unknown> = {}, settings: StoreSettings = {}): OpenedStore {
      const made = open(redis, settings)
      opened.push(made)
      return made
    }

    const shared = (name: string, counter: CounterSpec, want: number, parts: Partial<Claim> = {}): Claim => {
      const { caller: _, ...claim } = claimOf(`/rule=${name}`, counter, want, parts)
      return claim
    }

    async function left(store: OpenedStore['store'], ...claims: Claim[]): Promise<number[]> {
      const seen: number[] = []
      for (const claim of claims) {
        const { claims: results } = await reserve(store, { ...claim, input: 0, want: 0, clip: false })
        seen.push(results[0]?.remaining ?? Number.NaN)
      }
      return seen
    }

    it('keeps all counters of a caller in one slot', () => {
      const slots = ['x', 'y', 'a long rule with {braces} in it'].map((rule) =>
        slotOf(placeOf('p:', { key: `consumer=5:a{b}c/${rule}`, caller: 'consumer=5:a{b}c' }).hash),
      )
      expect(new Set(slots).size).toBe(1)
    })

    it('takes from all slots, or gives everything back', async () => {
      const { store } = use()
      const own = claimOf('consumer=1:a', sliding, 300)
      const narrow = shared('narrow', { ...sliding, limit: 2 * LIMIT }, 300)
      const widest = shared('widest', wide, 300)
      const first = await reserve(store, widest, narrow, own)
      expect(first.claims.map(({ reserved, remaining }) => [reserved, remaining])).toEqual([
        [300, 100 * LIMIT - 300],
        [300, 2 * LIMIT - 300],
        [300, LIMIT - 300],
      ])
      // The widest has no room: what the others took is given back.
      const full = shared('full', { ...wide, limit: 300 * LIMIT }, 301 * LIMIT)
      const refused = await reserve(store, full, narrow, own)
      expect(refused.admitted).toBe(false)
      expect(refused.claims.map(({ reserved }) => reserved)).toEqual([0, 0, 0])
      expect(refused.claims.map(({ retryAfterMs }) => retryAfterMs)).toEqual([Infinity, undefined, undefined])
      expect(refused.claims.slice(1).map(({ remaining }) => remaining)).toEqual([2 * LIMIT - 300, LIMIT - 300])
      expect(await left(store, own, narrow, widest)).toEqual([LIMIT - 300, 2 * LIMIT - 300, 100 * LIMIT - 300])
    })

    it('gives back once what several claims took together', async () => {
      const { store } = use()
      const spreadTo = (member: string, want: number): Claim => ({
        ...claimOf('consumer=1:s', sliding, want),
        key: `consumer=1:s/o/${member}`,
        spread: { owner: 'consumer=1:s/o', member, overflowKey: 'consumer=1:s/o/other' },
      })
      for (let index = 0; index < 64; index++) await reserve(store, spreadTo(`m${index}`, 1))
      await reserve(store, spreadTo('x', 500))
      const full = shared('full', wide, 101 * LIMIT)
      const refused = await reserve(store, full, spreadTo('y', 200), spreadTo('z', 200))
      expect(refused.admitted).toBe(false)
      expect((await reserve(store, spreadTo('x', 0))).claims[0]?.remaining).toBe(LIMIT - 500)
    })

    it('never asks a shared counter for a caller who is refused', async () => {
      const { store } = use({ key_prefix: 'untouched:' })
      const own = claimOf('consumer=1:a', sliding, LIMIT + 1)
      const global = shared('global', wide, LIMIT + 1)
      const { admitted, claims } = await reserve(store, global, own)
      expect(admitted).toBe(false)
      expect(claims[0]).toMatchObject({ reserved: 0, remaining: 100 * LIMIT })
      const { hash } = placeOf('untouched:', global)
      expect(await world.ownerOf(slotOf(hash)).client().exists(hash)).toBe(0)
    })

    it('clips to the least room of any slot', async () => {
      const { store } = use()
      const clip = { clip: true, floor: 10, input: 50 }
      const own = claimOf('consumer=1:a', { ...sliding, limit: 850 }, 2000, clip)
      const global = shared('global', { ...wide, limit: 450 }, 2000, clip)
      const result = await reserve(store, own, global)
      expect(result).toMatchObject({ admitted: true, clippedTo: 400 })
      expect(result.claims.map(({ reserved, remaining }) => [reserved, remaining])).toEqual([
        [450, 400],
        [450, 0],
      ])
      expect(await left(store, own, global)).toEqual([400, 0])
      expect(await store.settle({ id: 'x', entries: [own, global].map((claim, index) => settled(claim, index)) })).toBe(
        true,
      )
      expect(await left(store, own, global)).toEqual([790, 390])

      function settled(claim: Claim, index: number) {
        const taken = result.claims[index]
        if (taken === undefined) throw new Error('nothing taken')
        return entryOf(claim, { ...result, claims: [taken] }, 60)
      }
    })

    it('settles what ends in one turn on whatever node it lies', async () => {
      const { store } = use({ command_timeout_ms: 1000 })
      const { store: other } = use({ key_prefix: `t${stores - 1}:`, command_timeout_ms: 1000 })
      const global = shared('global', wide, 100)
      const callers = Array.from({ length: 20 }, (_, index) => claimOf(`consumer=2:${index + 10}`, sliding, 100))
      const settlements = []
      for (const [index, own] of [...callers, ...callers].entries()) {
        const { claims } = await reserve(store, own, global)
        const entries = [own, global].map((claim, which) => {
          const taken = claims[which]
          if (taken === undefined) throw new Error('nothing taken')
          return entryOf(claim, { admitted: true, claims: [taken] }, index < callers.length ? 40 : 130)
        })
        settlements.push({ id: `s${index}`, entries })
      }
      expect(await Promise.all(settlements.map(store.settle))).toEqual(settlements.map(() => true))
      expect(await left(other, ...callers, global)).toEqual([...callers.map(() => LIMIT - 170), 100 * LIMIT - 20 * 170])
      expect(await Promise.all(settlements.map(other.settle))).toEqual(settlements.map(() => false))
    })

    it('moves a slot under load without anybody noticing', async () => {
      const { store } = use({ key_prefix: 'moving:' })
      await store.ready()
      const asked = claimOf('consumer=6:moving', sliding, 1)
      const { hash } = placeOf('moving:', asked)
      const slot = slotOf(hash)
      const from = world.ownerOf(slot)
      const to = world.servers.find((server) => server !== from)
      if (to === undefined) throw new Error('one server only')
      const watched = collectStoreEvents()
      const load = startLoad(store, 8, () => asked, 10)
      await until(() => load.admitted > 50)
      await world.beginMove(slot, to)
      const migrating = load.admitted
      await until(() => load.admitted > migrating + 50)
      expect(await world.moveKeys(slot, to)).toBe(1)
      // The source asks to ASK now.
      const asking = load.admitted
      await until(() => load.admitted > asking + 50)
      await world.endMove(slot, to)
      // And to go where it MOVED.
      const moved = load.admitted
      await until(() => load.admitted > moved + 50)
      await until(() => load.refused > 16)
      await load.stop()
      watched.stop()
      expect(load.faults).toEqual([])
      expect(watched.events).toEqual([])
      expect(load.admitted).toBe(LIMIT)
      expect(await to.client().exists(hash)).toBe(1)
    })

    it('does without one node only where that node is needed', async () => {
      const { store, lines } = use({ key_prefix: 'partly:' }, { nodes: 2 })
      await store.ready()
      const [dead] = world.servers
      if (dead === undefined) throw new Error('no servers')
      const callers = Array.from({ length: 30 }, (_, index) => claimOf(`consumer=2:${index + 10}`, sliding, 100))
      const isOn = (claim: Claim) => world.ownerOf(slotOf(placeOf('partly:', claim).hash)) === dead
      const on = callers.filter(isOn)
      const off = callers.filter((claim) => !isOn(claim))
      const [lost] = on
      const [kept] = off
      if (lost === undefined || kept === undefined) throw new Error('all callers on one node')
      await reserve(store, lost)
      await reserve(store, kept)
      const watched = collectStoreEvents()
      await dead.freeze()
      try {
        let admitted = 0
        for (let index = 0; index < 12; index++) {
          if ((await reserve(store, lost)).admitted) admitted++
          expect((await reserve(store, kept)).claims[0]?.epoch).toBeGreaterThan(0)
          await sleep(1)
        }
        // The share is 500, of which 100 are used.
        expect(admitted).toBe(4)
        expect(watched.events.map(({ state, node }) => [state, node])).toEqual([['down', `127.0.0.1:${dead.port}`]])
      } finally {
        await dead.thaw()
      }
      await until(() => watched.events.some(({ state }) => state === 'up'))
      watched.stop()
      // What timed out may have been taken as well.
      const [used] = (await left(store, lost)).map((remaining) => LIMIT - remaining)
      expect(used).toBeGreaterThanOrEqual(500)
      expect(used).toBeLessThanOrEqual(500 + 5 * 100)
      expect(lines.filter(({ message }) => message === 'limit store up')).toHaveLength(1)
    })

    it('knows a settlement of another process, and shows, grants and forgets', async () => {
      const one = use({ key_prefix: 'two:' })
      const two = use({ key_prefix: 'two:' })
      const asked = claimOf('consumer=1:a', sliding, 100)
      const result = await reserve(one.store, asked)
      const settlement = { id: 'x', entries: [entryOf(asked, result, 40)] }
      expect(await two.store.settle(settlement)).toBe(true)
      expect(await one.store.settle(settlement)).toBe(false)
      expect(await one.store.show('consumer=1:a')).toMatchObject([{ key: asked.key, used: 40 }])
      await one.store.grant(asked.key, asked.caller, 15)
      expect(await two.store.show('consumer=1:a')).toMatchObject([{ used: 25 }])
      await two.store.reset(asked.key, asked.caller)
      expect(await one.store.show('consumer=1:a')).toEqual([])
    })
  })
})
