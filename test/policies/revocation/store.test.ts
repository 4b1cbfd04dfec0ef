import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { PortcullisError } from '../../../policies/errors.ts'
import type { Revocation, RevocationKey, RevocationStore } from '../../../policies/revocation/index.ts'
import { keyText } from '../../../policies/revocation/ports.ts'
import { haveRedisServer } from '../../support/redis/backends.ts'
import { type RedisServer, sleep, startRedis } from '../../support/redis/server.ts'
import { HOUR, memoryStore, redisStore } from './support.ts'

type Client = ReturnType<RedisServer['client']>

const at = Date.now()
const revocation = (key: RevocationKey, more: Partial<Revocation> = {}): Revocation => ({
  ...key,
  reason: 'leaked',
  revokedAt: at,
  ...more,
})
const TOKEN: RevocationKey = { kind: 'jti', value: 't-1' }
const BOTH: readonly RevocationKey[] = [TOKEN, { ...TOKEN, issuer: 'https://a' }]

/** What every store must do. */
function contract(open: () => RevocationStore): void {
  it('gives what is new since the cursor, and nothing twice', async () => {
    const store = open()
    const empty = await store.changes(undefined)
    expect(empty).toMatchObject({ revoked: [], lifted: [], more: false })
    await store.revoke(revocation(TOKEN))
    const first = await store.changes(empty.cursor)
    expect(first.revoked).toEqual([revocation(TOKEN)])
    expect((await store.changes(first.cursor)).revoked).toEqual([])
    await store.revoke(revocation({ kind: 'consumer', value: 'ada' }, { expiresAt: at + HOUR }))
    const second = await store.changes(first.cursor)
    expect(second.revoked).toEqual([revocation({ kind: 'consumer', value: 'ada' }, { expiresAt: at + HOUR })])
    expect((await store.changes(undefined)).revoked).toHaveLength(2)
  })

  it('keeps one revocation of a key, and keys of different issuers apart', async () => {
    const store = open()
    for (const key of BOTH) await store.revoke(revocation(key))
    await store.revoke(revocation(TOKEN, { reason: 'again' }))
    const found = await store.list()
    expect(found).toHaveLength(2)
    expect(found).toEqual(
      expect.arrayContaining([revocation(TOKEN, { reason: 'again' }), revocation({ ...TOKEN, issuer: 'https://a' })]),
    )
  })

  it('lifts what it has, and says so to those who saw it', async () => {
    const store = open()
    expect(await store.lift(TOKEN)).toBe(false)
    await store.revoke(revocation(TOKEN))
    const { cursor } = await store.changes(undefined)
    expect(await store.lift(TOKEN)).toBe(true)
    expect(await store.lift(TOKEN)).toBe(false)
    expect(await store.changes(cursor)).toMatchObject({ revoked: [], lifted: [TOKEN] })
    expect(await store.list()).toEqual([])
    await store.revoke(revocation(TOKEN))
    expect(await store.list()).toEqual([revocation(TOKEN)])
  })

  it('forgets what has expired', async () => {
    const store = open()
    await store.revoke(revocation(TOKEN, { expiresAt: at - 1 }))
    await store.revoke(revocation({ kind: 'sub', value: 'ada' }))
    expect(await store.list()).toEqual([revocation({ kind: 'sub', value: 'ada' })])
  })

  it('takes any text for a value', async () => {
    const store = open()
    const values = ['', ' ', '"', '\\', '\n', '{}', '["jti","t-1"]', 'é世😀', '\u0000', 'x'.repeat(1_000)]
    for (const value of values) await store.revoke(revocation({ kind: 'credential', value }))
    expect((await store.list()).map(({ value }) => value).sort()).toEqual([...values].sort())
  })

  it('gives thousands in pages', async () => {
    const store = open()
    await Promise.all(
      Array.from({ length: 2_500 }, (_, index) => store.revoke(revocation({ kind: 'jti', value: `t-${index}` }))),
    )
    const seen = new Set<string>()
    let cursor: string | undefined
    let more = true
    while (more) {
      const page = await store.changes(cursor)
      for (const { value } of page.revoked) seen.add(value)
      cursor = page.cursor
      more = page.more
    }
    expect(seen.size).toBe(2_500)
    expect((await store.changes(cursor)).revoked).toEqual([])
  })
}

describe('in memory', () => contract(memoryStore))

describe.skipIf(!haveRedisServer('revocations'))('in Redis', () => {
  let redis: RedisServer
  let prefixes = 0
  beforeAll(async () => {
    redis = await startRedis()
  })
  afterAll(() => redis?.close())

  const config = () => ({
    host: redis.host,
    port: redis.port,
    key_prefix: `t${prefixes++}:`,
    command_timeout_ms: 5_000,
  })

  contract(() => redisStore(config()))

  it('reaches a node that Redis had told nothing since it lost its data', async () => {
    const where = config()
    const store = redisStore(where)
    await store.revoke(revocation(TOKEN))
    const { cursor } = await store.changes(undefined)
    await redis.client().flushall()
    const after = await store.changes(cursor)
    expect(after.revoked).toEqual([])
    await store.revoke(revocation({ kind: 'sub', value: 'ada' }))
    for (const seen of [cursor, after.cursor])
      expect((await store.changes(seen)).revoked).toEqual([revocation({ kind: 'sub', value: 'ada' })])
  })

  it('reaches a node that had seen more than the replica that took over', async () => {
    const where = config()
    const store = redisStore(where)
    const client = redis.client()
    const names = ['entries', 'log', 'serial', 'expiry'].map((name) => `${where.key_prefix}{revoked}:${name}`)
    await store.revoke(revocation(TOKEN))
    const replicated = await Promise.all(names.map((name) => client.dumpBuffer(name)))
    await store.revoke(revocation({ kind: 'sub', value: 'lost' }))
    const { cursor } = await store.changes(undefined)
    await client.del(...names)
    for (const [index, dump] of replicated.entries())
      if (dump !== null) await client.restore(names[index] ?? '', 0, dump, 'REPLACE')
    await sleep(2)
    await store.revoke(revocation({ kind: 'sub', value: 'new' }))
    const { revoked } = await store.changes(cursor)
    expect(revoked).toContainEqual(revocation({ kind: 'sub', value: 'new' }))
  })

  it('lists nothing where there is what is no revocation, and tells the rest', async () => {
    const where = config()
    const store = redisStore(where)
    const client = redis.client()
    await store.revoke(revocation(TOKEN))
    const { cursor } = await store.changes(undefined)
    await putEntry(client, where.key_prefix, 'x', '{"kind":"everything"}')
    await store.revoke(revocation({ kind: 'sub', value: 'ada' }))
    const after = await store.changes(cursor)
    expect(after).toMatchObject({ unreadable: 1, revoked: [revocation({ kind: 'sub', value: 'ada' })] })
    expect(await store.changes(after.cursor)).toMatchObject({ unreadable: 0, revoked: [] })
    await expect(store.list()).rejects.toThrow(PortcullisError)
  })

  it.each(['{', 'null', '5', '"text"', '[]'])('lifts what cannot be read: %s', async (entry) => {
    const where = config()
    const store = redisStore(where)
    await putEntry(redis.client(), where.key_prefix, keyText(TOKEN), entry)
    expect((await store.changes(undefined)).unreadable).toBe(1)
    await store.revoke(revocation({ kind: 'sub', value: 'ada' }))
    if (entry !== '[]') expect(await store.lift(TOKEN)).toBe(true)
    else await store.revoke(revocation(TOKEN))
    expect((await store.changes(undefined)).unreadable).toBe(0)
  })
})

/** As the scripts write one. */
async function putEntry(client: Client, prefix: string, key: string, entry: string): Promise<void> {
  const name = (part: string) => `${prefix}{revoked}:${part}`
  await client.hset(name('entries'), key, entry)
  await client.zadd(name('log'), await client.incr(name('serial')), key)
}
