import { afterEach, beforeEach, expect, it, onTestFinished } from 'vitest'
import { createMetrics } from '../../../../plugins/kong/server/metrics.ts'
import type { CounterSpec } from '../../../../policies/stores/ports.ts'
import { onEachRedis } from '../../../support/redis/on-each.ts'
import { freePort, type RedisServer, sleep, startRedis } from '../../../support/redis/server.ts'
import {
  collectStoreEvents,
  type OpenedStore,
  openRedisStore,
  type StoreSettings,
} from '../../../support/redis/store.ts'
import { claimOf, entryOf, firstOf, HOUR, remainingOf, reserve, startLoad, until } from './helpers.ts'

const LIMIT = 1000
const sliding: CounterSpec = { algorithm: 'sliding_window', limit: LIMIT, windowSeconds: HOUR }

onEachRedis('a bad day of a single Redis', (backend) => {
  let server: RedisServer
  const opened: OpenedStore[] = []
  let watched = collectStoreEvents()

  let socketsBefore = 0

  beforeEach(async () => {
    socketsBefore = openSockets()
    server = await startRedis({ backend })
    watched = collectStoreEvents()
  })
  afterEach(async () => {
    watched.stop()
    for (const { store } of opened.splice(0)) await store.close()
    await server.close()
    // Whatever happened, no connection is left behind.
    await until(() => openSockets() <= socketsBefore)
  })

  const openSockets = () => process.getActiveResourcesInfo().filter((resource) => resource === 'TCPSocketWrap').length

  function open(redis: Record<string, unknown> = {}, settings: StoreSettings = {}): OpenedStore {
    const made = openRedisStore({ port: server.port, ...redis }, settings)
    opened.push(made)
    return made
  }

  /** Two gateway nodes that know of each other: who comes later knows at once, who was there only with the next beat. */
  async function openTwo(): Promise<[OpenedStore, OpenedStore]> {
    const gone = open()
    await gone.store.ready()
    const second = open()
    await second.store.ready()
    opened.splice(opened.indexOf(gone), 1)
    await gone.store.close()
    const first = open()
    await first.store.ready()
    return [first, second]
  }

  const states = ({ lines }: OpenedStore) =>
    lines.map(({ message }) => message).filter((message) => /^limit store (down|up)$/.test(message))

  it('kill -9 under load and a restart with nothing left: at most one extra limit', async () => {
    const metrics = createMetrics(() => undefined)
    onTestFinished(() => metrics.close())
    const nodes = await openTwo()
    const asked = claimOf('consumer=1:a', sliding, 7)
    const loads = nodes.map(({ store }) => startLoad(store, 8, () => asked, 10))
    const admitted = () => loads.reduce((sum, load) => sum + load.admitted, 0)
    await until(() => admitted() > 30)
    await server.kill()
    const before = admitted()
    await until(() => nodes.every((node) => states(node).includes('limit store down')))
    await until(() => loads.every(({ refused }) => refused > 20))
    const local = admitted() - before
    await server.restart()
    await until(() => nodes.every((node) => states(node).includes('limit store up')))
    const refusedThen = loads.map(({ refused }) => refused)
    await until(() => loads.every(({ refused }, index) => refused > (refusedThen[index] ?? 0) + 50))
    for (const load of loads) await load.stop()

    expect(loads.flatMap(({ faults }) => faults)).toEqual([])
    expect((before + local) * 7).toBeLessThanOrEqual(LIMIT)
    expect(admitted() * 7).toBeGreaterThan(LIMIT - 14)
    expect(admitted() * 7).toBeLessThanOrEqual(2 * LIMIT)
    // Each change once, in the log, in telemetry and in the metrics.
    for (const node of nodes) expect(states(node)).toEqual(['limit store down', 'limit store up'])
    expect(watched.events.map(({ state }) => state).sort()).toEqual(['down', 'down', 'up', 'up'])
    expect(watched.events.every(({ store, node }) => store === 'redis' && node === `127.0.0.1:${server.port}`)).toBe(
      true,
    )
    const counted = await metrics.render()
    for (const state of ['down', 'up'])
      expect(counted).toContain(
        `portcullis_store_changes_total{store="redis",node="127.0.0.1:${server.port}",state="${state}"} 2\n`,
      )
    expect(counted).toContain(`portcullis_store_up{store="redis",node="127.0.0.1:${server.port}"} 1\n`)
    // What was admitted locally was charged: Redis counts everything since the restart.
    const used = LIMIT - (await remainingOf(nodes[0].store, asked))
    expect(used).toBeLessThanOrEqual(LIMIT)
    expect(used).toBeGreaterThanOrEqual(Math.min(LIMIT - 6, (admitted() - before) * 7))
  }, 30_000)

  it('SIGSTOP for five seconds: nobody waits once it is known, and nothing is counted twice', async () => {
    const nodes = await openTwo()
    const asked = claimOf('consumer=1:a', sliding, 1)
    const loads = nodes.map(({ store }) => startLoad(store, 4, () => asked, 50))
    const admitted = () => loads.reduce((sum, load) => sum + load.admitted, 0)
    await until(() => admitted() > 40)
    await server.freeze()
    await sleep(5000)
    expect(nodes.map(states)).toEqual([['limit store down'], ['limit store down']])
    await server.thaw()
    await until(() => nodes.every((node) => states(node).includes('limit store up')))
    await sleep(300)
    for (const load of loads) await load.stop()
    expect(loads.flatMap(({ faults }) => faults)).toEqual([])
    expect(admitted()).toBeLessThanOrEqual(2 * LIMIT)
    // Nobody was forgotten; what timed out while Redis stood still was taken by Redis as well, and never given back.
    const used = LIMIT - (await remainingOf(nodes[0].store, asked))
    expect(used).toBeGreaterThanOrEqual(Math.min(LIMIT, admitted()))
    const timedOut = 2 * 4 + 2 * 5
    expect(used).toBeLessThanOrEqual(admitted() + timedOut)
  }, 30_000)

  it('refused from the start: a node that knows of no others denies', async () => {
    const { store, lines } = open({ port: await freePort() })
    await store.ready()
    await expect(reserve(store, claimOf('consumer=1:a', sliding, 1))).rejects.toMatchObject({
      code: 'store_unavailable',
    })
    expect(lines.map(({ message }) => message)).toEqual(['limit store down'])
    expect(lines[0]?.fields).toMatchObject({ reason: 'ECONNREFUSED', on_store_error: 'local' })
  })

  it('refused from the start: with `nodes` it admits its share, and hands it over later', async () => {
    const port = await freePort()
    const { store } = open({ port }, { nodes: 4 })
    const asked = claimOf('consumer=1:a', sliding, 10)
    let admitted = 0
    for (let index = 0; index < 40; index++) if ((await reserve(store, asked)).admitted) admitted++
    expect(admitted).toBe(25)
    const late = await startRedis({ port, backend })
    try {
      await until(() => watched.events.some(({ state }) => state === 'up'))
      expect(await remainingOf(store, asked)).toBe(LIMIT - 250)
    } finally {
      await late.close()
    }
  })

  it('`deny` refuses, and `allow` lets through what nobody counts', async () => {
    const port = await freePort()
    const denying = open({ port }, { on_store_error: 'deny', nodes: 4 })
    const allowing = open({ port }, { on_store_error: 'allow', nodes: 4 })
    const asked = claimOf('consumer=1:a', sliding, LIMIT)
    await expect(reserve(denying.store, asked)).rejects.toMatchObject({ code: 'store_unavailable' })
    const results = [await reserve(allowing.store, asked), await reserve(allowing.store, asked)]
    expect(results.map(({ admitted }) => admitted)).toEqual([true, true])
    const late = await startRedis({ port, backend })
    try {
      await until(() => watched.events.filter(({ state }) => state === 'up').length === 2)
      const [first] = results
      if (first === undefined) throw new Error('nothing')
      expect(await allowing.store.settle({ id: 'x', entries: [entryOf(asked, first, 5 * LIMIT)] })).toBe(true)
      expect(await remainingOf(denying.store, asked)).toBe(LIMIT)
    } finally {
      await late.close()
    }
  })

  it('SCRIPT FLUSH: the scripts are loaded again', async () => {
    const { store } = open()
    const asked = claimOf('consumer=1:a', sliding, 10)
    const result = await reserve(store, asked)
    await server.client().script('FLUSH')
    expect((await reserve(store, asked)).admitted).toBe(true)
    await server.client().script('FLUSH')
    expect(await store.settle({ id: 'x', entries: [entryOf(asked, result, 4)] })).toBe(true)
    await server.client().script('FLUSH')
    expect(await store.show('consumer=1:a')).toMatchObject([{ used: 14 }])
    expect(watched.events).toEqual([])
  })

  it('maxmemory with noeviction: counts locally until there is room, and settles what waited', async () => {
    const { store } = open()
    await store.ready()
    const asked = claimOf('consumer=1:a', sliding, 100)
    const before = await reserve(store, asked)
    const client = server.client()
    await client.config('SET', 'maxmemory', '1')
    for (let index = 0; index < 5; index++) expect((await reserve(store, asked)).admitted).toBe(true)
    expect(watched.events).toMatchObject([{ state: 'down', reason: 'OOM' }])
    expect(await store.settle({ id: 'x', entries: [entryOf(asked, before, 30)] })).toBe(true)
    await client.config('SET', 'maxmemory', '0')
    await until(() => watched.events.some(({ state }) => state === 'up'))
    await until(async () => (await remainingOf(store, asked)) === LIMIT - 30 - 500)
  })

  it('maxmemory with an evicting policy: a warning and an event', async () => {
    await server.client().config('SET', 'maxmemory-policy', 'allkeys-lru')
    const { store, lines } = open()
    await store.ready()
    expect(watched.events).toEqual([
      {
        store: 'redis',
        node: `127.0.0.1:${server.port}`,
        state: 'degraded',
        reason: 'maxmemory_policy allkeys-lru',
      },
    ])
    expect(lines).toMatchObject([{ level: 'warn', fields: { maxmemory_policy: 'allkeys-lru' } }])
    expect((await reserve(store, claimOf('consumer=1:a', sliding, 1))).admitted).toBe(true)
  })

  it('a replica that answers READONLY: counts locally, and goes on when it is promoted', async () => {
    await server.client().config('SET', 'repl-diskless-sync-delay', '0')
    const replica = await startRedis({ backend, args: ['--replicaof', '127.0.0.1', String(server.port)] })
    try {
      await until(async () => (await replica.client().info('replication')).includes('master_link_status:up'))
      const { store } = open({ port: replica.port }, { nodes: 2 })
      const asked = claimOf('consumer=1:a', sliding, 100)
      let admitted = 0
      for (let index = 0; index < 10; index++) if ((await reserve(store, asked)).admitted) admitted++
      expect(admitted).toBe(5)
      expect(watched.events).toMatchObject([{ state: 'down', reason: 'READONLY' }])
      await replica.client().replicaof('NO', 'ONE')
      await until(() => watched.events.some(({ state }) => state === 'up'))
      expect(await remainingOf(store, asked)).toBe(LIMIT - 500)
    } finally {
      await replica.close()
    }
  })

  it('an outage in the middle of a request: what it gave back is given back, once', async () => {
    const { store } = open({}, { nodes: 2 })
    await store.ready()
    const asked = claimOf('consumer=1:a', sliding, 100)
    const shared = await reserve(store, asked)
    await server.kill()
    const local = []
    for (let index = 0; index < 10; index++) local.push(await reserve(store, asked))
    const admitted = local.filter((result) => result.admitted)
    // The share is 500, of which 100 were used already.
    expect(admitted).toHaveLength(4)
    expect(admitted.every((result) => firstOf(result).epoch < 0)).toBe(true)
    const [first, second, third] = admitted
    if (first === undefined || second === undefined || third === undefined) throw new Error('too few')
    expect(await store.settle({ id: 'shared', entries: [entryOf(asked, shared, 10)] })).toBe(true)
    expect(await store.settle({ id: 'first', entries: [entryOf(asked, first, 20)] })).toBe(true)
    expect(await store.settle({ id: 'second', entries: [entryOf(asked, second, 150)] })).toBe(true)
    await server.restart()
    await until(() => watched.events.some(({ state }) => state === 'up'))
    // 20 + 150 + 100 + 100; the refund of before the restart meets a counter of another life.
    expect(await remainingOf(store, asked)).toBe(LIMIT - 370)
    // One that was admitted locally ends after Redis came back.
    expect(await store.settle({ id: 'third', entries: [entryOf(asked, third, 60)] })).toBe(true)
    expect(await remainingOf(store, asked)).toBe(LIMIT - 330)
    expect(await store.settle({ id: 'third', entries: [entryOf(asked, third, 60)] })).toBe(false)
    expect(await remainingOf(store, asked)).toBe(LIMIT - 330)
  })
})
