/**
 * The guides for an existing Kong with PostgreSQL and for hybrid mode: kong/deck as deck would put it there, on a Kong that
 * serves already; then a control plane and a data plane on what that left in the database.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { run } from '../../plugins/cli/program.ts'
import { type Model, startModel } from '../support/model/index.ts'
import { haveRedisServer } from '../support/redis/backends.ts'
import { type RedisServer, startRedis } from '../support/redis/server.ts'
import { databaseKongMissing } from './support/database-kong.ts'
import { bearer, LISTEN, PROVIDER, readConfig, send, TODAY } from './support/deployed.ts'
import { createPackNode, type PackNode } from './support/pack-node.ts'
import { ADMIN_PORT, PROXY_PORT, STATUS_PORT } from './support/ports.ts'
import { type Postgres, startPostgres } from './support/postgres.ts'
import { untilReady } from './support/ready.ts'
import { until } from './support/wait.ts'

const SUITE = 'the pack with a database'
const ADMIN = `http://127.0.0.1:${ADMIN_PORT}`
const CLUSTER_PORT = PROXY_PORT + 6
const KEYS = { DECK_ALICE_KEY: 'alice-database-key', DECK_BOB_KEY: 'bob-database-key' }
const CAROL = 'carol-was-there-before'
const SERVICES = ['openai', 'anthropic', 'gemini', 'vllm']
const PATH = '/openai/v1/chat/completions'
const gpt4o = { model: 'gpt-4o', max_tokens: 16, messages: [{ role: 'user', content: 'Hi' }] }

interface Entity {
  readonly id: string
  readonly name?: string
  readonly username?: string
  readonly tags?: readonly string[] | null
}

async function admin(method: string, path: string, body?: object): Promise<unknown> {
  const reply = await fetch(ADMIN + path, {
    method,
    headers: { 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  if (!reply.ok) throw new Error(`${method} ${path} answered ${reply.status}: ${await reply.text()}`)
  return reply.status === 204 ? undefined : reply.json()
}

async function listed(type: string): Promise<readonly Entity[]> {
  const { data } = (await admin('GET', `/${type}?size=1000`)) as { readonly data: readonly Entity[] }
  return data.toSorted((a, b) => (a.id < b.id ? -1 : 1))
}

/** What `deck gateway sync` does with the files on a Kong that has nothing under their tag yet. */
async function syncAsDeck(redisPort: number, upstream: string): Promise<void> {
  const issued = Object.fromEntries(['ALICE', 'BOB', 'REPORTS'].map((name) => [`DECK_${name}_ISSUED`, TODAY.slice(10)]))
  const env = { ...KEYS, ...issued, DECK_REPORTS_SECRET: 'random-and-unused' }
  const read = (name: string) => readConfig(`kong/deck/${name}.yml`, upstream, redisPort, { env })
  const tagged = (entity: object) => {
    const { tags = [], ...rest } = entity as { readonly tags?: readonly string[] }
    return { ...rest, tags: [...tags, 'portcullis'] }
  }
  const consumers = (read('consumers').consumers ?? []) as readonly Readonly<Record<string, unknown>>[]
  for (const { keyauth_credentials = [], jwt_secrets = [], ...consumer } of consumers) {
    await admin('POST', '/consumers', tagged(consumer))
    for (const key of keyauth_credentials as readonly object[])
      await admin('POST', `/consumers/${consumer.username}/key-auth`, tagged(key))
    for (const secret of jwt_secrets as readonly object[])
      await admin('POST', `/consumers/${consumer.username}/jwt`, tagged(secret))
  }
  const plugins = (read('plugins').plugins ?? []) as readonly { readonly service?: string }[]
  for (const { service, ...plugin } of plugins) await admin('POST', `/services/${service}/plugins`, tagged(plugin))
}

async function check(
  ...args: readonly string[]
): Promise<{ readonly code: number; readonly rules: readonly string[] }> {
  const out: string[] = []
  const io = { out: (text: string) => void out.push(text), err: () => undefined, env: {} }
  const code = await run(['check', ADMIN, '--json', ...args], io)
  const { findings } = JSON.parse(out.join('')) as { readonly findings: readonly { readonly rule: string }[] }
  return { code, rules: [...new Set(findings.map(({ rule }) => rule))].toSorted() }
}

const VARIABLES = ['--env', new URL('../../kong/kong.env', import.meta.url).pathname]

describe.skipIf(databaseKongMissing || !haveRedisServer(SUITE))(SUITE, () => {
  let folder: string
  let model: Model
  let redis: RedisServer
  let postgres: Postgres
  const nodes: PackNode[] = []

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-hybrid-'))
    model = await startModel()
    redis = await startRedis()
    postgres = await startPostgres()
  })
  afterAll(async () => {
    for (const node of nodes) await node.stop()
    await postgres?.stop()
    await redis?.close()
    await model?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  async function nodeWith(env: Readonly<Record<string, string>>): Promise<PackNode> {
    const node = await createPackNode(env)
    nodes.push(node)
    return node
  }

  const remaining = async (): Promise<number> => {
    const reply = await send({ headers: bearer(KEYS.DECK_BOB_KEY), body: gpt4o })
    expect(reply.status, reply.text).toBe(200)
    return Number(reply.headers['x-ratelimit-remaining-tokens'])
  }

  describe('a Kong that serves already', () => {
    const types = ['services', 'routes', 'consumers', 'plugins', 'key-auths']
    let node: PackNode

    beforeAll(async () => {
      node = await nodeWith({ ...postgres.env, ...PROVIDER, KONG_PROXY_LISTEN: LISTEN })
      await node.command('migrations', 'bootstrap')
      await node.start()
      await untilReady(STATUS_PORT, node.socket)
      for (const name of [...SERVICES, 'shop']) {
        const tags = name === 'shop' ? [] : ['llm']
        await admin('POST', '/services', { name, url: model.url, tags })
        await admin('POST', `/services/${name}/routes`, { name, paths: [`/${name}`] })
      }
      await admin('POST', '/services/shop/plugins', { name: 'key-auth' })
      await admin('POST', '/consumers', { username: 'carol' })
      await admin('POST', '/consumers/carol/key-auth', { key: CAROL })
      await until('the routes are served', async () => (await send({ path: PATH, clear: true })).status === 200)
    })
    afterAll(() => node.stop())

    test('is found open', async () => {
      expect((await check(...VARIABLES, '--all-routes')).rules).toEqual(
        expect.arrayContaining(['http-allowed', 'route-without-auth']),
      )
    })

    test('is found open where it balances over a provider’s hosts', async () => {
      expect((await check(...VARIABLES)).rules).toEqual([])
      await admin('POST', '/upstreams', { name: 'models' })
      await admin('POST', '/upstreams/models/targets', { target: 'api.openai.com:443' })
      await admin('POST', '/services', { name: 'balanced', host: 'models', protocol: 'https' })
      await admin('POST', '/services/balanced/routes', { name: 'balanced', paths: ['/balanced'] })
      expect((await check(...VARIABLES)).rules).toEqual(['http-allowed', 'route-without-auth'])
      for (const path of ['/routes/balanced', '/services/balanced', '/upstreams/models']) await admin('DELETE', path)
    })

    test('gets plugins and consumers, and keeps all that it had as it was', async () => {
      const before = new Map<string, readonly Entity[]>()
      for (const type of types) before.set(type, await listed(type))
      await syncAsDeck(redis.port, model.url)
      for (const type of types) {
        const after = await listed(type)
        expect(after.filter(({ tags }) => !tags?.includes('portcullis'))).toEqual(before.get(type))
        const isAdded = after.length > (before.get(type)?.length ?? 0)
        expect([type, isAdded]).toEqual([type, !['services', 'routes'].includes(type)])
      }
    })

    test('shuts the door, opens it for keys of two tiers, and leaves the other service alone', async () => {
      await until('the door is shut', async () => (await send({ path: PATH })).status === 401)
      const alice = await send({ headers: bearer(KEYS.DECK_ALICE_KEY) })
      expect([alice.status, alice.headers['x-ratelimit-limit-tokens']]).toEqual([200, '20000'])
      expect(model.requests.at(-1)?.headers.authorization).toBe(PROVIDER.OPENAI_AUTHORIZATION)
      const bob = await send({ headers: bearer(KEYS.DECK_BOB_KEY) })
      expect([bob.status, bob.headers['x-ratelimit-limit-tokens']]).toEqual([200, '200000'])
      const beyond = await send({ headers: bearer(KEYS.DECK_ALICE_KEY), body: gpt4o })
      expect([beyond.status, beyond.text]).toEqual([403, expect.stringContaining('llm:chat:gpt-4o')])
      // A key from before has no tier, and no day on which it was issued.
      expect((await send({ headers: bearer(CAROL) })).status).toBe(401)
      const shop = await send({ path: '/shop/v1/chat/completions', headers: { apikey: CAROL } })
      expect([shop.status, shop.headers['x-ratelimit-limit-tokens']]).toEqual([200, undefined])
    })

    test('has nothing left to find once routes take https only', async () => {
      expect((await check(...VARIABLES)).rules).toEqual(['http-allowed'])
      for (const name of SERVICES) await admin('PATCH', `/routes/${name}`, { protocols: ['https'] })
      expect(await check(...VARIABLES, '--strict', '--fail-on', 'note')).toEqual({ code: 0, rules: [] })
    })
  })

  describe('a control plane and a data plane', () => {
    let control: PackNode
    let data: PackNode

    beforeAll(async () => {
      const [cert, key] = ['cluster.crt', 'cluster.key'].map((name) => join(folder, name)) as [string, string]
      const cluster = { KONG_CLUSTER_CERT: cert, KONG_CLUSTER_CERT_KEY: key }
      control = await nodeWith({
        ...postgres.env,
        ...cluster,
        KONG_ROLE: 'control_plane',
        KONG_CLUSTER_LISTEN: `127.0.0.1:${CLUSTER_PORT}`,
        KONG_PROXY_LISTEN: 'off',
        KONG_STATUS_LISTEN: 'off',
      })
      await control.command('hybrid', 'gen_cert', cert, key)
      await control.start()
      await until('the Admin API answers', async () => (await fetch(`${ADMIN}/status`)).ok)
      data = await nodeWith({
        ...cluster,
        ...PROVIDER,
        KONG_ROLE: 'data_plane',
        KONG_DATABASE: 'off',
        KONG_CLUSTER_CONTROL_PLANE: `127.0.0.1:${CLUSTER_PORT}`,
        KONG_ADMIN_LISTEN: 'off',
        KONG_PROXY_LISTEN: LISTEN,
      })
      await data.start()
      await untilReady(STATUS_PORT, data.socket)
    })

    test('know the plugins both, of which only the data plane runs the server', async () => {
      const { enabled_plugins: enabled } = (await admin('GET', '/plugins/enabled')) as {
        readonly enabled_plugins: readonly string[]
      }
      expect(enabled).toEqual(expect.arrayContaining(['llm-gateway', 'llm-guard', 'llm-scope']))
      await expect(
        admin('POST', '/services/shop/plugins', { name: 'llm-token-limit', config: { limits: [{ limit: 1 }] } }),
      ).rejects.toThrow(/answered 400.*window_seconds/)
      expect(control.pluginServers()).toEqual([])
      expect(data.pluginServers()).toHaveLength(1)
    })

    test('serve what the control plane says, with keys that only the data plane has', async () => {
      await until('the data plane has the routes', async () => (await send({ path: PATH })).status === 401)
      const first = await remaining()
      expect(model.requests.at(-1)?.headers.authorization).toBe(PROVIDER.OPENAI_AUTHORIZATION)
      expect(await remaining()).toBeLessThan(first)
      await admin('POST', '/consumers', { username: 'dora', tags: ['free'] })
      await admin('POST', '/consumers/dora/key-auth', { key: 'dora-hybrid-key', tags: [TODAY] })
      // A data plane that lost its connection takes its time to come back.
      await until(
        'the data plane knows the new key',
        async () => (await send({ headers: bearer('dora-hybrid-key') })).status === 200,
        60_000,
      )
    })

    test('go on without the control plane', async () => {
      await control.stop()
      const before = await remaining()
      expect(await remaining()).toBeLessThan(before)
      expect((await send({ path: PATH })).status).toBe(401)
      expect((await send({ headers: bearer(KEYS.DECK_ALICE_KEY), body: gpt4o })).status).toBe(403)
    })
  })
})
