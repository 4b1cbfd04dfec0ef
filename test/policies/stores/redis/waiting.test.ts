import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemRandom } from '../../../../plugins/deps.ts'
import { parseConfig } from '../../../../policies/schema/parse.ts'
import type { CounterSpec } from '../../../../policies/stores/ports.ts'
import { redisFields } from '../../../../policies/stores/redis/config.ts'
import { createRedisStore, type RedisStore } from '../../../../policies/stores/redis/store.ts'
import { haveRedisServer } from '../../../support/redis/backends.ts'
import { type RedisCluster, startCluster } from '../../../support/redis/cluster.ts'
import { manualClock } from '../../../support/redis/manual-clock.ts'
import { type RedisServer, startRedis } from '../../../support/redis/server.ts'
import { collectLog } from '../../../support/redis/store.ts'
import { claimOf, firstOf, HOUR, reserve, until } from './helpers.ts'

const DEFAULT_TIMEOUT_MS = 100
const sliding: CounterSpec = { algorithm: 'sliding_window', limit: 1000, windowSeconds: HOUR }
const asked = claimOf('consumer=1:a', sliding, 1)

/** What has become of it once everything that needs no time has happened. */
async function stateOf(work: Promise<unknown>): Promise<'waiting' | 'done'> {
  let state: 'waiting' | 'done' = 'waiting'
  const done = () => {
    state = 'done'
  }
  work.then(done, done)
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
  return state
}

describe.skipIf(!haveRedisServer('waiting for Redis'))('waiting for a Redis that stands still', () => {
  const time = { current: manualClock() }
  let stores: RedisStore[] = []
  let servers: { close(): Promise<void> }[] = []

  beforeEach(() => {
    time.current = manualClock()
  })
  afterEach(async () => {
    for (const store of stores) {
      const closed = store.close()
      // What still waits is given up.
      await until(async () => {
        time.current.advance(1000)
        return (await stateOf(closed)) === 'done'
      })
    }
    // A closed store does nothing more, however long one waits.
    time.current.advance(600_000)
    expect(time.current.timers).toBe(0)
    for (const server of servers) await server.close()
    stores = []
    servers = []
  })

  async function open(redis: Record<string, unknown>): Promise<RedisStore> {
    const { logger } = collectLog()
    const deps = { clock: time.current.clock, random: systemRandom, logger }
    const store = createRedisStore({ redis: parseConfig(redisFields, redis), on_store_error: 'local', nodes: 2 }, deps)
    stores.push(store)
    await store.ready()
    return store
  }

  async function evaluations(server: RedisServer): Promise<number> {
    return Number(/cmdstat_evalsha:calls=(\d+)/.exec(await server.client().info('commandstats'))?.[1] ?? 0)
  }

  it('takes command_timeout_ms and no longer, until the breaker opens; from then on nobody waits or asks', async () => {
    const server = await startRedis()
    servers.push(server)
    const store = await open({ port: server.port })
    await reserve(store, asked)
    const before = await evaluations(server)
    await server.freeze()
    const waiting = Array.from({ length: 5 }, () => reserve(store, asked))
    time.current.advance(DEFAULT_TIMEOUT_MS - 1)
    for (const each of waiting) expect(await stateOf(each)).toBe('waiting')
    time.current.advance(1)
    // Everybody is answered, from the local share.
    for (const each of waiting) expect(firstOf(await each)).toMatchObject({ reserved: 1 })
    for (let index = 0; index < 100; index++) {
      const next = reserve(store, asked)
      expect(await stateOf(next)).toBe('done')
      expect(firstOf(await next).epoch).toBeLessThan(0)
    }
    await server.thaw()
    // Only those before the breaker opened ever reached Redis.
    await until(async () => (await evaluations(server)) === before + 5)
    expect(await evaluations(server)).toBe(before + 5)
  })

  it('takes no longer for a request whose rules lie on several nodes of a cluster', async () => {
    const cluster: RedisCluster = await startCluster()
    servers.push(cluster)
    const store = await open({ cluster_nodes: cluster.nodes })
    const { caller: _, ...shared } = asked
    const claims = [asked, ...['a', 'b', 'c', 'd'].map((name) => ({ ...shared, key: `/rule=${name}` }))]
    const result = await reserve(store, ...claims)
    expect(result.admitted).toBe(true)
    for (const each of cluster.servers) await each.freeze()
    const waiting = reserve(store, ...claims)
    expect(await stateOf(waiting)).toBe('waiting')
    time.current.advance(DEFAULT_TIMEOUT_MS)
    expect((await waiting).claims.map(({ reserved }) => reserved)).toEqual(claims.map(() => 1))
    for (const each of cluster.servers) await each.thaw()
  }, 60_000)
})
