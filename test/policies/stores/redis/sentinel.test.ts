import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { CounterSpec } from '../../../../policies/stores/ports.ts'
import { haveRedisServer } from '../../../support/redis/backends.ts'
import { type RedisSentinels, startSentinels } from '../../../support/redis/sentinel.ts'
import { collectStoreEvents, type OpenedStore, openRedisStore } from '../../../support/redis/store.ts'
import { claimOf, HOUR, remainingOf, reserve, startLoad, until } from './helpers.ts'

const LIMIT = 10_000
const sliding: CounterSpec = { algorithm: 'sliding_window', limit: LIMIT, windowSeconds: HOUR }
const asked = claimOf('consumer=1:a', sliding, 1)

describe.skipIf(!haveRedisServer('Redis behind sentinels'))('Redis behind sentinels', () => {
  let world: RedisSentinels
  const opened: OpenedStore[] = []
  beforeAll(async () => {
    world = await startSentinels()
  }, 40_000)
  afterEach(async () => {
    for (const { store } of opened.splice(0)) await store.close()
  })
  afterAll(() => world.close())

  function open(name = world.name): OpenedStore {
    const made = openRedisStore({
      sentinel_master: name,
      sentinel_nodes: world.sentinels.map(({ host, port }) => ({ host, port })),
    })
    opened.push(made)
    return made
  }

  it('is down while the sentinels know no such master', async () => {
    const { store, lines } = open('nobody')
    await store.ready()
    await expect(reserve(store, asked)).rejects.toMatchObject({ code: 'store_unavailable' })
    expect(lines[0]?.fields).toMatchObject({ node: 'sentinel:nobody' })
  })

  it('goes on at the new master after a failover under load', async () => {
    const { store } = open()
    await store.ready()
    const watched = collectStoreEvents()
    const load = startLoad(store, 4, () => asked, 10)
    await until(() => load.admitted > 50)
    await world.master.kill()
    await until(() => watched.events.some(({ state }) => state === 'up'))
    const then = load.admitted
    await until(() => load.admitted > then + 50)
    await load.stop()
    watched.stop()
    expect(load.faults).toEqual([])
    expect(watched.events.map(({ state }) => state)).toEqual(['down', 'up'])
    // The replica had what the master answered, but for what was under way; what was admitted meanwhile was handed over.
    const used = LIMIT - (await remainingOf(store, asked))
    expect(used).toBeGreaterThanOrEqual(load.admitted - 8)
    expect(await world.replica.client().info('replication')).toContain('role:master')
  }, 30_000)
})
