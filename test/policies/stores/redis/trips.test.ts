import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import type { Claim, CounterSpec } from '../../../../policies/stores/ports.ts'
import { onEachRedis } from '../../../support/redis/on-each.ts'
import { type RedisServer, startRedis } from '../../../support/redis/server.ts'
import { openRedisStore } from '../../../support/redis/store.ts'
import { claimOf, entryOf, firstOf, reserve } from './helpers.ts'

const ALGORITHMS = ['sliding_window', 'fixed_window', 'token_bucket'] as const
const spec = (algorithm: CounterSpec['algorithm'], windowSeconds: number): CounterSpec => ({
  algorithm,
  limit: 1000,
  windowSeconds,
})

onEachRedis('what reaches Redis', (backend) => {
  let server: RedisServer
  let opened: ReturnType<typeof openRedisStore>
  beforeAll(async () => {
    server = await startRedis({ backend })
    opened = openRedisStore({ port: server.port })
    await opened.store.ready()
  })
  afterAll(async () => {
    await opened.store.close()
    await server.close()
  })
  beforeEach(async () => {
    await server.client().flushall()
  })

  /** Three rules of a caller, one of everybody. */
  function claims(): Claim[] {
    const { caller: _, ...global } = claimOf('/rule=global', spec('sliding_window', 60), 10, { input: 5 })
    return [
      ...ALGORITHMS.map((algorithm) => claimOf('consumer=1:a', spec(algorithm, 3600), 10, { input: 5 })),
      { ...global, key: '/rule=global' },
    ]
  }

  /** Commands that clients sent, by name: those of scripts are not among them. */
  async function sent(work: () => Promise<void>): Promise<Record<string, number>> {
    const client = server.client()
    await client.config('RESETSTAT')
    await work()
    const stats = await client.info('commandstats')
    const calls = (name: string) => Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(stats)?.[1] ?? 0)
    return { evalsha: calls('evalsha'), eval: calls('eval'), all: Number(await processed()) }
  }

  async function processed(): Promise<string> {
    const stats = await server.client().info('stats')
    return /total_commands_processed:(\d+)/.exec(stats)?.[1] ?? ''
  }

  it('is one command a reservation and one a settlement, however many rules there are', async () => {
    const { store } = opened
    const first = await reserve(store, ...claims())
    await store.settle({ id: 'first', entries: entries(first) })
    const stats = await sent(async () => {
      for (let index = 0; index < 50; index++) {
        const result = await reserve(store, ...claims())
        if (index < 20) await store.settle({ id: `s${index}`, entries: entries(result) })
      }
    })
    expect(stats.evalsha).toBe(70)
    expect(stats.eval).toBe(0)
  })

  function entries(result: Awaited<ReturnType<typeof reserve>>) {
    return claims().map((asked, index) => {
      const taken = result.claims[index]
      if (taken === undefined) throw new Error('nothing taken')
      return entryOf(asked, { ...result, claims: [taken] }, 8)
    })
  }

  it('expires by itself, once nothing of it counts', async () => {
    const { store } = opened
    const client = server.client()
    for (const algorithm of ALGORITHMS) {
      for (const windowSeconds of [1, 60, 3600, 86_400]) {
        const caller = `consumer=9:${algorithm}-${windowSeconds}`
        const asked = claimOf(caller, spec(algorithm, windowSeconds), 100)
        const result = await reserve(store, asked)
        const key = `portcullis:c{${caller}}`
        const ttl = await client.pttl(key)
        const { resetMs } = firstOf(result)
        expect(ttl).toBeGreaterThanOrEqual(Math.min(resetMs, windowSeconds * 1000 - 2000))
        expect(ttl).toBeLessThanOrEqual(Math.max(60_000, 1.2 * windowSeconds * 1000 + 2000))
        // Overshoot of ten limits is kept until it is paid.
        await store.settle({ id: caller, entries: [entryOf(asked, result, 10_000)] })
        expect(await client.pttl(key)).toBeGreaterThanOrEqual(9 * windowSeconds * 1000 - 2000)
      }
    }
    // Marks alone do not stay either.
    await store.settle({
      id: 'gone',
      entries: [
        {
          ...entryOf(claimOf('consumer=1:x', spec('fixed_window', 60), 1), await missing(), 0),
          caller: 'consumer=1:x',
        },
      ],
    })
    for (const key of await client.keys('*')) expect(await client.pttl(key)).toBeGreaterThan(0)
  })

  async function missing() {
    const asked = claimOf('consumer=1:x', spec('fixed_window', 60), 1)
    const result = await reserve(opened.store, asked)
    await opened.store.reset(asked.key, asked.caller)
    return result
  }

  it('counts gateway nodes that say they are there', async () => {
    const others = [openRedisStore({ port: server.port }), openRedisStore({ port: server.port }, { observer: true })]
    await Promise.all(others.map(({ store }) => store.ready()))
    const client = server.client()
    expect(await client.zcard('portcullis:nodes')).toBe(1)
    await others[0]?.store.close()
    expect(await client.zcard('portcullis:nodes')).toBe(0)
    await others[1]?.store.close()
  })

  it('remembers the last settlements of a caller in bounded memory', async () => {
    const { store } = opened
    const asked = claimOf('consumer=1:a', spec('sliding_window', 3600), 1)
    for (let index = 0; index < 2000; index++) {
      const result = await reserve(store, asked)
      await store.settle({ id: `settled-${index}`, entries: [entryOf(asked, result, 0)] })
    }
    const bytes = Number(await server.client().memory('USAGE', 'portcullis:c{consumer=1:a}'))
    expect(bytes).toBeLessThan(4096)
    const other = openRedisStore({ port: server.port })
    const result = await reserve(store, asked)
    // Of every field the newest eight: at least the last eight of all, and about a hundred more.
    let known = 0
    for (let index = 1999; index >= 1900; index--) {
      const again = { id: `settled-${index}`, entries: [entryOf(asked, result, 1)] }
      if (!(await other.store.settle(again))) known++
      if (index === 1992) expect(known).toBe(8)
    }
    expect(known).toBeGreaterThan(50)
    await other.store.close()
  })
})
