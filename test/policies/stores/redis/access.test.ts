import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { EXIT } from '../../../../plugins/cli/io.ts'
import { run } from '../../../../plugins/cli/program.ts'
import type { CounterSpec } from '../../../../policies/stores/ports.ts'
import { placeOf, slotOf } from '../../../../policies/stores/redis/keys.ts'
import { channels } from '../../../../policies/telemetry.ts'
import { haveRedisServer } from '../../../support/redis/backends.ts'
import { startCluster } from '../../../support/redis/cluster.ts'
import { type RedisServer, startRedis } from '../../../support/redis/server.ts'
import { openRedisStore } from '../../../support/redis/store.ts'
import { readText } from '../../../support/sources.ts'
import { claimOf, entryOf, firstOf, HOUR, reserve, until } from './helpers.ts'

const PASSWORD = 'canary-9Lr3tQ'
const LIMIT = 1000
const specs = (['sliding_window', 'fixed_window', 'token_bucket'] as const).map(
  (algorithm): CounterSpec => ({ algorithm, limit: LIMIT, windowSeconds: HOUR }),
)
const caller = 'consumer=1:a'
const claims = specs.map((spec) => claimOf(caller, spec, 100))
const [sliding, fixed] = specs as [CounterSpec, CounterSpec]

/** The lines of README's section that make users, by the user's name. */
function documented(user: string): readonly string[] {
  const [, rules] =
    new RegExp(`^ACL SETUSER ${user} ([^\\\\\\n]*(?:\\\\\\n[^\\\\\\n]*)*)$`, 'm').exec(readText('README.md')) ?? []
  if (rules === undefined) throw new Error(`README makes no user ${user}`)
  return rules
    .replaceAll('\\\n', ' ')
    .trim()
    .split(/\s+/)
    .map((rule) => (rule.startsWith('>') ? `>${PASSWORD}` : rule))
}

async function allow(server: RedisServer, user: string, rules: readonly string[]): Promise<void> {
  await server.client().acl('SETUSER', user, 'reset', ...rules)
}

async function denied(server: RedisServer): Promise<string[]> {
  const log = (await server.client().acl('LOG')) as unknown as unknown[]
  const entries = log.map(
    (entry) => (Array.isArray(entry) ? Object.fromEntries(pairs(entry)) : entry) as { object: string },
  )
  return entries.map(({ object }) => object)
}

function pairs(list: readonly unknown[]): [unknown, unknown][] {
  return list.flatMap((value, index) => (index % 2 === 0 ? [[value, list[index + 1]] as [unknown, unknown]] : []))
}

/** Everything that a gateway ever asks of a Redis, until it is over. */
async function everything(server: RedisServer, redis: Record<string, unknown>, over = () => false): Promise<void> {
  const client = server.client()
  let now = 1_700_000_000_000
  const user = { username: 'portcullis', password: PASSWORD, port: server.port, ...redis }
  const { store } = openRedisStore(user, { nodes: 2, now: () => now })
  try {
    await store.ready()
    const first = await reserve(store, ...claims)
    // Alone it goes the quick way.
    await reserve(store, claimOf(caller, sliding, 1))
    for (const [index, asked] of claims.entries()) {
      const taken = first.claims[index]
      if (taken === undefined) throw new Error('nothing taken')
      await store.settle({ id: `${index}`, entries: [entryOf(asked, { ...first, claims: [taken] }, 40)] })
    }
    // More values of a part than a caller may have, so that idle ones make room.
    for (let index = 0; index < 66; index++) {
      if (index === 64) now += 2 * HOUR * 1000
      const spread = { owner: `${caller}/o`, member: `m${index}`, overflowKey: `${caller}/o/other` }
      await reserve(store, { ...claimOf(caller, fixed, 1), key: `${caller}/o/m${index}`, spread })
    }
    // An outage, here of memory, ends with a probe and charges.
    await client.config('SET', 'maxmemory', '1')
    for (let index = 0; index < 5; index++) await reserve(store, claimOf(caller, sliding, 1))
    await client.config('SET', 'maxmemory', '0')
    const back = async () => firstOf(await reserve(store, claimOf(caller, sliding, 0))).epoch > 0
    await until(async () => over() || (await back()))
  } finally {
    await client.config('SET', 'maxmemory', '0')
    await store.close()
  }
}

const rights = (rules: readonly string[]) => rules.filter((rule) => rule.startsWith('+'))

/** Without each right alone, something is denied. */
async function eachIsNeeded(
  server: RedisServer,
  user: string,
  rules: readonly string[],
  work: (over: () => boolean) => Promise<unknown>,
): Promise<void> {
  expect(rights(rules).length).toBeGreaterThan(8)
  for (const right of rights(rules)) {
    await server.client().flushall()
    await server.client().script('FLUSH')
    await allow(
      server,
      user,
      rules.filter((rule) => rule !== right),
    )
    await server.client().acl('LOG', 'RESET')
    let over = false
    const working = work(() => over).catch(() => undefined)
    const ended = working.then(() => {
      over = true
    })
    await until(async () => over || (await denied(server)).length > 0)
    over = true
    await ended
    expect([right, (await denied(server)).length > 0]).toEqual([right, true])
  }
}

describe.skipIf(!haveRedisServer('rights of users'))(
  'the rights of users that README names',
  { timeout: 60_000 },
  () => {
    let server: RedisServer
    beforeAll(async () => {
      server = await startRedis()
    })
    afterAll(async () => {
      await server.close()
    })

    it('are enough for a gateway', async () => {
      await allow(server, 'portcullis', documented('portcullis'))
      const faults = collectFaults()
      await everything(server, {})
      expect(await denied(server)).toEqual([])
      expect(faults.stop()).toEqual([])
    })

    it('are not more than a gateway needs', async () => {
      await eachIsNeeded(server, 'portcullis', documented('portcullis'), (over) => everything(server, {}, over))
    })

    it('name no command that is newer than Redis 6.2', async () => {
      const client = server.client()
      const major = Number(/redis_version:(\d+)/.exec(await client.info('server'))?.[1])
      const all = rights([...documented('portcullis'), ...documented('portcullis-operator')])
      const names = [...new Set(all)].map((right) => right.slice(1))
      // Before 7 Redis knew nothing of its own history; then this very server is the proof.
      const docs = major < 7 ? [] : pairs((await client.call('COMMAND', 'DOCS', ...names)) as unknown[])
      for (const [name, doc] of docs) {
        const { since } = Object.fromEntries(pairs(doc as unknown[])) as { readonly since: string }
        const [first = 0, second = 0] = since.split('.').map(Number)
        expect([name, first * 100 + second <= 602]).toEqual([name, true])
      }
      expect(docs).toHaveLength(major < 7 ? 0 : names.length)
    })

    it('with what is added for them, are enough for the deny list and the registry of keys', () => {
      const [, both = '', operators = ''] =
        /both need `([^`]*)` as well, and the operator `([^`]*)`/.exec(readText('README.md')) ?? []
      const used = ['policies/revocation/scripts.ts', 'policies/api-key/scripts.ts'].flatMap((path) =>
        [...readText(path).matchAll(/redis\.call\('([A-Z]+)'/g)].map(([, name = '']) => `+${name.toLowerCase()}`),
      )
      expect(used.length).toBeGreaterThan(10)
      const added = both.split(/\s+/)
      expect(used.filter((right) => ![...documented('portcullis'), ...added].includes(right))).toEqual([])
      const operator = [...documented('portcullis-operator'), ...added, ...operators.split(/\s+/)]
      expect(used.filter((right) => !operator.includes(right))).toEqual([])
      for (const right of added) expect(used).toContain(right)
    })

    it('with a database, are enough with SELECT', async () => {
      await allow(server, 'portcullis', [...documented('portcullis'), '+select'])
      await server.client().acl('LOG', 'RESET')
      await everything(server, { database: 3 })
      expect(await denied(server)).toEqual([])
    })

    it('give a gateway nothing outside its prefix, and no other command', async () => {
      await allow(server, 'portcullis', documented('portcullis'))
      const client = server.client({ username: 'portcullis', password: PASSWORD })
      for (const call of [
        ['set', 'other', '1'],
        ['eval', "return redis.call('HGET', KEYS[1], 'x')", '1', 'other:x'],
        ['eval', "return redis.call('KEYS', '*')", '0'],
        ['keys', '*'],
        ['flushall'],
        ['config', 'get', '*'],
        ['acl', 'whoami'],
        ['client', 'list'],
        ['subscribe', 'x'],
        ['scan', '0'],
      ] as const)
        await expect(client.call(call[0], ...call.slice(1))).rejects.toThrow(
          /NOPERM|No permissions|can't run this command|ACL/,
        )
    })

    const operator = async (over = () => false): Promise<void> => {
      const redis = ['--redis', `redis://portcullis-operator:${PASSWORD}@127.0.0.1:${server.port}`]
      // Long enough ago that a grant has to keep the counters for longer.
      const gateway = openRedisStore({ port: server.port }, { now: () => Date.now() - 600_000 })
      await gateway.store.ready()
      const { caller: _, ...global } = claimOf('/rule=1:g/s60t', sliding, 100)
      await reserve(gateway.store, ...claims, { ...global, key: '/rule=1:g/s60t' })
      await gateway.store.close()
      for (const args of [
        ['show', 'a'],
        ['show', 'shared'],
        ['show', 'a', '--everywhere'],
        ['grant', 'a', '5', '--rule', 'r'],
        ['grant', 'shared', '5'],
        ['reset', 'shared'],
      ]) {
        if (over()) return
        const err: string[] = []
        const code = await run(['limits', ...args, ...redis], { out() {}, err: (text) => void err.push(text), env: {} })
        // Those counters have no rule's name.
        if (code === EXIT.failed) throw new Error(err.join(''))
      }
    }

    it('are enough for an operator', async () => {
      await server.client().flushall()
      await allow(server, 'portcullis-operator', documented('portcullis-operator'))
      await server.client().acl('LOG', 'RESET')
      await operator()
      expect(await denied(server)).toEqual([])
    })

    it('are not more than an operator needs', async () => {
      await eachIsNeeded(server, 'portcullis-operator', documented('portcullis-operator'), operator)
    })

    it('are enough in a cluster whose slots move', async () => {
      const cluster = await startCluster()
      onTestFinished(() => cluster.close())
      const [, extra = ''] = /^Add .*?and `(\+cluster[^`]*)` in a Cluster/m.exec(readText('README.md')) ?? []
      expect(extra).not.toBe('')
      for (const each of cluster.servers)
        await allow(each, 'portcullis', [...documented('portcullis'), ...extra.split(' ')])
      const user = { username: 'portcullis', password: PASSWORD, cluster_nodes: cluster.nodes }
      const { store } = openRedisStore(user, { on_store_error: 'deny' })
      try {
        await store.ready()
        const asked = claimOf(caller, sliding, 1)
        await reserve(store, asked)
        const { hash } = placeOf('portcullis:', asked)
        const slot = slotOf(hash)
        const from = cluster.ownerOf(slot)
        const to = cluster.servers.find((each) => each !== from) ?? from
        await cluster.beginMove(slot, to)
        await cluster.moveKeys(slot, to)
        expect((await reserve(store, asked)).admitted).toBe(true)
        await cluster.endMove(slot, to)
        const result = await reserve(store, asked)
        expect(await store.settle({ id: 'x', entries: [entryOf(asked, result, 0)] })).toBe(true)
        for (const each of cluster.servers) expect(await denied(each)).toEqual([])
      } finally {
        await store.close()
      }
    })
  },
)

function collectFaults(): { stop(): unknown[] } {
  const faults: unknown[] = []
  const listen = (event: unknown) => void faults.push(event)
  channels.fault.subscribe(listen)
  return {
    stop() {
      channels.fault.unsubscribe(listen)
      return faults
    },
  }
}
