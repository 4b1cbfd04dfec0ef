import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { CounterSpec } from '../../../../policies/stores/ports.ts'
import { haveRedisServer } from '../../../support/redis/backends.ts'
import { type LossyProxy, startProxy } from '../../../support/redis/proxy.ts'
import { type RedisServer, sleep, startRedis } from '../../../support/redis/server.ts'
import { openRedisStore } from '../../../support/redis/store.ts'
import { claimOf, entryOf, firstOf, HOUR, remainingOf, reserve, until } from './helpers.ts'

const LIMIT = 1000
const specs = (['sliding_window', 'fixed_window', 'token_bucket'] as const).map(
  (algorithm): CounterSpec => ({ algorithm, limit: LIMIT, windowSeconds: 24 * HOUR }),
)

describe.skipIf(!haveRedisServer('replies that are lost'))('a reply that is lost after the script ran', () => {
  let server: RedisServer
  let proxy: LossyProxy
  let behind: ReturnType<typeof openRedisStore>
  let direct: ReturnType<typeof openRedisStore>

  beforeEach(async () => {
    server = await startRedis()
    proxy = await startProxy(server)
    behind = openRedisStore({ port: proxy.port }, { nodes: 1 })
    direct = openRedisStore({ port: server.port }, { nodes: 1 })
    await Promise.all([behind.store.ready(), direct.store.ready()])
    // From here on Redis knows the scripts, so that the next reply is that of the script.
    const [counter] = specs
    if (counter === undefined) throw new Error('no specs')
    const asked = claimOf('consumer=4:warm', counter, 2)
    await behind.store.settle({ id: 'warm', entries: [entryOf(asked, await reserve(behind.store, asked), 1)] })
  })
  afterEach(async () => {
    await Promise.all([behind.store.close(), direct.store.close()])
    await proxy.close()
    await server.close()
  })

  const evaluations = async () =>
    Number(/cmdstat_evalsha:calls=(\d+)/.exec(await server.client().info('commandstats'))?.[1] ?? 0)

  it.each(specs)('of a refund: given back once ($algorithm)', async (counter) => {
    const asked = claimOf('consumer=1:a', counter, 800)
    const result = await reserve(behind.store, asked)
    proxy.loseNextReply()
    expect(await behind.store.settle({ id: 'x', entries: [entryOf(asked, result, 300)] })).toBe(true)
    expect(await remainingOf(direct.store, asked)).toBe(LIMIT - 300)
    // Long enough for a retry, had there been one.
    await sleep(700)
    expect(await remainingOf(direct.store, asked)).toBe(LIMIT - 300)
    expect(await behind.store.settle({ id: 'x', entries: [entryOf(asked, result, 300)] })).toBe(false)
  })

  it.each(specs)('of a charge: charged once, and asked about until answered ($algorithm)', async (counter) => {
    const asked = claimOf('consumer=1:a', counter, 100)
    const result = await reserve(behind.store, asked)
    const before = await evaluations()
    proxy.loseNextReply()
    expect(await behind.store.settle({ id: 'x', entries: [entryOf(asked, result, 450)] })).toBe(true)
    await until(async () => (await evaluations()) >= before + 2)
    expect(await remainingOf(direct.store, asked)).toBe(LIMIT - 450)
  })

  it('of both at once: the charge is asked about, the refund is not', async () => {
    const [sliding, fixed] = specs
    if (sliding === undefined || fixed === undefined) throw new Error('no specs')
    const claims = [claimOf('consumer=1:a', sliding, 100), claimOf('consumer=1:a', fixed, 800)]
    const result = await reserve(behind.store, ...claims)
    const entries = claims.map((asked, index) => {
      const taken = result.claims[index]
      if (taken === undefined) throw new Error('nothing taken')
      return { ...entryOf(asked, { ...result, claims: [taken] }, index === 0 ? 450 : 100), caller: 'consumer=1:a' }
    })
    const before = await evaluations()
    proxy.loseNextReply()
    await behind.store.settle({ id: 'x', entries })
    await until(async () => (await evaluations()) >= before + 2)
    const left = await reserve(direct.store, ...claims.map((asked) => ({ ...asked, want: 0 })))
    expect(left.claims.map(({ remaining }) => remaining)).toEqual([LIMIT - 450, LIMIT - 100])
  })

  it('of a reservation: what it took is never given back', async () => {
    const [counter] = specs
    if (counter === undefined) throw new Error('no specs')
    const asked = claimOf('consumer=1:a', counter, 100)
    await reserve(behind.store, asked)
    proxy.loseNextReply()
    const local = await reserve(behind.store, asked)
    expect(local.admitted).toBe(true)
    expect(firstOf(local).epoch).toBeLessThan(0)
    // The first, the one that was lost, and the one that was admitted instead: charged when the store is asked next.
    await until(async () => (await remainingOf(direct.store, asked)) === LIMIT - 300)
    expect(await behind.store.settle({ id: 'y', entries: [entryOf(asked, local, 0)] })).toBe(true)
    expect(await remainingOf(direct.store, asked)).toBe(LIMIT - 200)
  })

  it('a settlement that another process made is known', async () => {
    for (const counter of specs) {
      const asked = claimOf('consumer=1:a', counter, 100)
      const result = await reserve(behind.store, asked)
      const settlement = { id: `x-${counter.algorithm}`, entries: [entryOf(asked, result, 40)] }
      expect(await direct.store.settle(settlement)).toBe(true)
      expect(await behind.store.settle(settlement)).toBe(false)
      expect(await behind.store.settle({ ...settlement, entries: [entryOf(asked, result, 400)] })).toBe(false)
      expect(await remainingOf(direct.store, asked)).toBe(LIMIT - 40)
    }
  })

  it('a slow answer is a failure, and the request goes on without it', async () => {
    const [counter] = specs
    if (counter === undefined) throw new Error('no specs')
    const asked = claimOf('consumer=1:a', counter, 10)
    await reserve(behind.store, asked)
    proxy.delay(400)
    const local = await reserve(behind.store, asked)
    expect(local.admitted).toBe(true)
    expect(firstOf(local).epoch).toBeLessThan(0)
    proxy.delay(0)
    await until(async () => firstOf(await reserve(behind.store, asked)).epoch > 0)
  })
})
