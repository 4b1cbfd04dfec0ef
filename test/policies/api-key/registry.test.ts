import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readRecord } from '../../../policies/api-key/record.ts'
import { haveRedisServer } from '../../support/redis/backends.ts'
import { type RedisCluster, startCluster } from '../../support/redis/cluster.ts'
import { type RedisSentinels, startSentinels } from '../../support/redis/sentinel.ts'
import { type RedisServer, startRedis } from '../../support/redis/server.ts'
import { registryContract } from './registry-contract.ts'
import { makeKey, memoryRegistry, redisRegistry } from './support.ts'

describe('in memory', () => registryContract(memoryRegistry))

describe.skipIf(!haveRedisServer('key registry'))('in Redis', () => {
  let redis: RedisServer
  let prefixes = 0
  beforeAll(async () => {
    redis = await startRedis()
  })
  afterAll(() => redis?.close())
  const where = () => ({ host: redis.host, port: redis.port, key_prefix: `t${prefixes++}:` })

  registryContract(() => redisRegistry(where()))

  it('throws what it cannot read, without a word of it', async () => {
    const config = where()
    const { id } = makeKey()
    await redis.client().hset(`${config.key_prefix}{keys:${id.charAt(0)}}`, id, '{"secret":"canary"}')
    await expect(redisRegistry(config).find(id)).rejects.toSatisfy(
      (error: Error) => 'code' in error && error.code === 'store_fault' && !error.message.includes('canary'),
    )
  })

  it('says that Redis does not answer', async () => {
    await expect(redisRegistry({ port: 1, connect_timeout_ms: 200 }).find(makeKey().id)).rejects.toMatchObject({
      name: 'RedisFailure',
    })
  })
})

describe.skipIf(!haveRedisServer('key registry behind sentinels'))('behind sentinels', () => {
  let world: RedisSentinels
  let prefixes = 0
  beforeAll(async () => {
    world = await startSentinels()
  }, 40_000)
  afterAll(() => world?.close())

  registryContract(() =>
    redisRegistry({
      sentinel_master: world.name,
      sentinel_nodes: world.sentinels.map(({ host, port }) => ({ host, port })),
      key_prefix: `t${prefixes++}:`,
    }),
  )
})

describe.skipIf(!haveRedisServer('key registry in a cluster'))('in a cluster', () => {
  let world: RedisCluster
  let prefixes = 0
  beforeAll(async () => {
    world = await startCluster()
  }, 40_000)
  afterAll(() => world?.close())

  registryContract(() => redisRegistry({ cluster_nodes: world.nodes, key_prefix: `t${prefixes++}:` }))
})

it('reads nothing else as a record', () => {
  const { record } = makeKey()
  expect(readRecord(JSON.stringify(record))).toEqual(record)
  const wrong: readonly unknown[] = [
    null,
    [],
    'text',
    { ...record, id: 'short' },
    { ...record, env: 1 },
    { ...record, consumer: {} },
    { ...record, consumer: { id: '' } },
    { ...record, consumer: { id: 'ada', tags: [1] } },
    { ...record, tags: 'gold' },
    { ...record, scopes: {} },
    { ...record, cidrs: [null] },
    { ...record, createdAt: 'now' },
    { ...record, expiresAt: null },
    { ...record, revoked: { at: 5 } },
    { ...record, secrets: [] },
    { ...record, secrets: {} },
    { ...record, secrets: [{ hash: '', issuedAt: 1 }] },
    { ...record, secrets: [{ hash: 'x', issuedAt: 1, validUntil: 'never' }] },
  ]
  for (const one of wrong) expect(() => readRecord(JSON.stringify(one))).toThrow('no key')
  expect(() => readRecord('{')).toThrow('no key')
})
