import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createDeps, systemClock, systemRandom } from '../../plugins/deps.ts'
import {
  createKeyIssuer,
  fingerprintOf,
  generateKey,
  type KeyOrder,
  type KeyRegistry,
  newKeyId,
  openKeyRegistry,
  useName,
} from '../../policies/api-key/index.ts'
import { parseConfig } from '../../policies/schema/parse.ts'
import { redisFields } from '../../policies/stores/redis/config.ts'
import { type Model, startModel } from '../support/model/index.ts'
import { haveRedisServer } from '../support/redis/backends.ts'
import { type RedisServer, startRedis } from '../support/redis/server.ts'
import { chat, codeOf, type Reply } from './support/ask.ts'
import { serviceOf } from './support/config.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong, KongConfig, PluginConfig } from './support/kong.ts'

const PEPPER = 'a pepper that only this test has.'
const DAY = 86_400_000
const QUIET = { info() {}, warn() {}, error() {} }
const daysAgo = (days: number) => new Date(Date.now() - days * DAY).toISOString().slice(0, 10)

/** Credentials of Kong's own, by key. Kong without a database takes the tags alone for their age. */
const CREDENTIALS: Readonly<Record<string, readonly string[]>> = {
  'young-key': [`pc-issued:${daysAgo(1)}`],
  'aging-key': [`pc-issued:${daysAgo(80)}`],
  'grace-key': [`pc-issued:${daysAgo(93)}`],
  'old-key': [`pc-issued:${daysAgo(98)}`],
  'untold-key': [],
  'garbled-key': ['pc-issued:yesterday'],
  'ended-key': [`pc-issued:${daysAgo(1)}`, `pc-expires:${daysAgo(0)}`],
  'far-key': [`pc-issued:${daysAgo(1)}`, 'pc-cidr:203.0.113.0_24', 'pc-cidr:2001:db8::_32'],
  'near-key': [`pc-issued:${daysAgo(1)}`, 'pc-cidr:127.0.0.0_8', 'pc-cidr:::1'],
}

function configOf(upstream: string, redis: object): KongConfig {
  const store = { store: 'redis', redis }
  const own = { own_keys: { pepper: PEPPER, headers: ['apikey'], cache_ms: 200 }, ...store }
  const limits = [{ name: 'calls', limit: 2, window_seconds: 3_600, count: 'requests', per: ['consumer'] }]
  const addresses = { eve: ['203.0.113.0/24', '2001:db8::/32'], ada: ['127.0.0.0/8', '::1'] }
  const guard = (...names: string[]): PluginConfig => ({ name: 'llm-guard', config: { require: names } })
  const routes: Readonly<Record<string, readonly PluginConfig[]>> = {
    gateway: [
      { name: 'llm-key' },
      { name: 'key-auth', config: { key_names: ['apikey'], hide_credentials: true } },
      { name: 'llm-edge' },
      { name: 'llm-api-key', config: store },
      guard('llm-api-key'),
    ],
    created: [
      { name: 'llm-key' },
      { name: 'key-auth', config: { key_names: ['apikey'], hide_credentials: true } },
      { name: 'llm-edge' },
      { name: 'llm-api-key', config: { rotation: { age_from: 'created_at' }, addresses } },
      guard('llm-api-key'),
    ],
    own: [{ name: 'llm-key' }, { name: 'llm-edge' }, { name: 'llm-api-key', config: own }, guard('llm-api-key')],
    judged: [
      { name: 'llm-key' },
      { name: 'llm-edge' },
      { name: 'llm-api-key', config: own },
      { name: 'llm-scope', config: {} },
      { name: 'llm-token-limit', config: { limits } },
      guard('llm-api-key', 'llm-scope', 'llm-token-limit'),
    ],
    both: [
      { name: 'llm-key' },
      { name: 'key-auth', config: { key_names: ['apikey'], hide_credentials: false, anonymous: 'nobody' } },
      { name: 'llm-edge' },
      { name: 'llm-api-key', config: own },
      guard('llm-api-key'),
    ],
    // Without the companions: every header is a round trip, and a key in the query is no key.
    bare: [{ name: 'llm-api-key', config: { ...own, own_keys: { pepper: PEPPER, cache_ms: 200 } } }],
  }
  return {
    _format_version: '3.0',
    services: [serviceOf(upstream, routes)],
    consumers: [
      { username: 'nobody' },
      {
        username: 'eve',
        keyauth_credentials: [{ key: 'key-of-eve' }],
      },
      {
        username: 'ada',
        keyauth_credentials: Object.entries(CREDENTIALS).map(([key, tags]) => ({ key, tags })),
      },
    ],
  }
}

describe.skipIf(kongMissing || !haveRedisServer('keys on a real Kong'))('keys on a real Kong', () => {
  let model: Model
  let redis: RedisServer
  let kong: Kong
  let registry: KeyRegistry
  let issue: (order?: Partial<KeyOrder>) => ReturnType<ReturnType<typeof createKeyIssuer>['issue']>

  beforeAll(async () => {
    model = await startModel()
    redis = await startRedis()
    const connection = { host: redis.host, port: redis.port, command_timeout_ms: 500 }
    const config = parseConfig(redisFields, connection)
    registry = openKeyRegistry({ store: 'redis', redis: config }, createDeps({ logger: QUIET }))
    const issuer = createKeyIssuer({ registry, pepper: PEPPER, clock: systemClock, random: systemRandom })
    issue = (order) => issuer.issue({ env: 'live', consumer: { id: 'ada' }, ...order })
    kong = await startKong({ config: configOf(model.url, connection) })
  })
  afterAll(async () => {
    await kong?.stop()
    await registry?.close()
    await redis?.close()
    await model?.close()
  })
  beforeEach(() => void model.requests.splice(0))

  interface Ask {
    readonly headers?: Readonly<Record<string, string>>
    readonly query?: string
    readonly path?: string
    readonly body?: object
  }

  async function ask(
    route: string,
    { headers = {}, query = '', path = '/v1/chat/completions', body = chat() }: Ask,
  ): Promise<Reply> {
    const reply = await fetch(`${kong.url}/${route}${path}${query}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    })
    return { status: reply.status, headers: reply.headers, text: await reply.text() }
  }

  const bearer = (key: string): Ask => ({ headers: { authorization: `Bearer ${key}` } })
  const verdict = (reply: Reply) => [reply.status, reply.status === 200 ? undefined : codeOf(reply)]
  /** Nothing of a key must be in what the upstream got. */
  const upstream = () => JSON.stringify(model.requests.map(({ url, rawHeaders }) => [url, rawHeaders]))

  describe('credentials of Kong', () => {
    test.each<readonly [string, number, string | undefined]>([
      ['young-key', 200, undefined],
      ['aging-key', 200, undefined],
      ['grace-key', 200, undefined],
      ['old-key', 401, 'key_expired'],
      ['untold-key', 401, 'key_expired'],
      ['garbled-key', 401, 'key_expired'],
      ['ended-key', 401, 'key_expired'],
      ['far-key', 403, 'address_not_allowed'],
      ['near-key', 200, undefined],
    ])('%s: %d %s', async (key, status, code) => {
      expect(verdict(await ask('gateway', bearer(key)))).toEqual([status, code])
      expect(model.requests).toHaveLength(status === 200 ? 1 : 0)
      expect(upstream()).not.toContain(key)
    })

    test('are warned of in seconds before they end', async () => {
      const left = async (key: string) =>
        Number((await ask('gateway', bearer(key))).headers.get('x-api-key-expires-in'))
      expect(await left('young-key')).toBe(0)
      for (const [key, days] of [
        ['aging-key', 17],
        ['grace-key', 4],
      ] as const) {
        expect(await left(key)).toBeGreaterThan((days - 1) * 86_400)
        expect(await left(key)).toBeLessThanOrEqual(days * 86_400)
      }
    })

    test('come from an address that the client cannot choose', async () => {
      const headers = { 'x-forwarded-for': '203.0.113.5', 'x-real-ip': '203.0.113.5' }
      const reply = await ask('gateway', { headers: { ...headers, authorization: 'Bearer far-key' } })
      expect(verdict(reply)).toEqual([403, 'address_not_allowed'])
    })

    test('have the age of the loaded config where that is asked for', async () => {
      expect(verdict(await ask('created', bearer('untold-key')))).toEqual([200, undefined])
      expect(verdict(await ask('created', bearer('old-key')))).toEqual([401, 'key_expired'])
      expect(verdict(await ask('created', bearer('key-of-eve')))).toEqual([403, 'address_not_allowed'])
    })
  })

  describe('own keys', () => {
    test.each<readonly [string, (key: string) => Ask]>([
      ['Authorization: Bearer', bearer],
      ['x-api-key', (key) => ({ headers: { 'x-api-key': key } })],
      ['api-key', (key) => ({ headers: { 'api-key': key } })],
      ['x-goog-api-key', (key) => ({ headers: { 'x-goog-api-key': key } })],
      ['apikey', (key) => ({ headers: { apikey: key } })],
      ['?key=', (key) => ({ query: `?key=${key}&alt=sse` })],
    ])('are taken from %s, and travel no further', async (_, place) => {
      const { key } = await issue()
      expect(verdict(await ask('own', place(key)))).toEqual([200, undefined])
      expect(model.requests).toHaveLength(1)
      expect(upstream()).not.toContain(key.slice(-40))
    })

    test('travel no further in other spellings of a header', async () => {
      const { key } = await issue()
      const spellings = ['x_api_key', 'x_api-key', 'x-api_key', 'api_key', 'x_goog-api_key']
      const headers = { authorization: `Bearer ${key}`, ...Object.fromEntries(spellings.map((name) => [name, key])) }
      expect(verdict(await ask('own', { headers }))).toEqual([200, undefined])
      expect(upstream()).not.toContain(key.slice(-40))
    })

    test.each(['authorization', 'x-api-key', 'x_api_key', 'x_api-key', 'api-key', 'x-goog-api-key', 'apikey'])(
      'are taken from %s without the companions too',
      async (name) => {
        const { key } = await issue()
        const value = name === 'authorization' ? `Bearer ${key}` : key
        expect(verdict(await ask('bare', { headers: { [name]: value } }))).toEqual([200, undefined])
        expect(upstream()).not.toContain(key.slice(-40))
      },
    )

    test('are refused when they are wrong, missing, two, or over', async () => {
      const { key } = await issue()
      const wrong = generateKey('live', newKeyId(systemRandom), systemRandom)
      for (const route of ['own', 'bare']) {
        expect(verdict(await ask(route, bearer(wrong)))).toEqual([401, 'invalid_key'])
        expect(verdict(await ask(route, bearer('sk-something-else')))).toEqual([401, 'invalid_key'])
        expect(verdict(await ask(route, {}))).toEqual([401, 'invalid_key'])
        const two = { headers: { authorization: `Bearer ${key}`, 'x-api-key': wrong } }
        expect(verdict(await ask(route, two))).toEqual([401, 'invalid_key'])
        const ended = await issue({ expiresAt: Date.now() - 1 })
        expect(verdict(await ask(route, bearer(ended.key)))).toEqual([401, 'key_expired'])
        const far = await issue({ cidrs: ['203.0.113.0/24'] })
        expect(verdict(await ask(route, bearer(far.key)))).toEqual([403, 'address_not_allowed'])
      }
      expect(model.requests).toEqual([])
      const log = await kong.log()
      for (const secret of [key, wrong]) expect(log).not.toContain(secret.slice(-40))
    })

    test('are refused in the shape of the API', async () => {
      const anthropic = await ask('own', { path: '/v1/messages' })
      expect(JSON.parse(anthropic.text)).toMatchObject({ type: 'error', error: { type: 'authentication_error' } })
      const gemini = await ask('own', { path: '/v1beta/models/gemini-2.5-flash:generateContent' })
      expect(JSON.parse(gemini.text)).toMatchObject({ error: { code: 401, status: 'UNAUTHENTICATED' } })
    })

    test('serve the official SDKs unmodified, until they are revoked', async () => {
      const { key, record } = await issue()
      const openai = new OpenAI({ apiKey: key, baseURL: `${kong.url}/own/v1`, maxRetries: 0 })
      const call = () =>
        openai.chat.completions.create({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'Hi' }] })
      expect((await call()).choices[0]?.message.content).toEqual(expect.any(String))
      const anthropic = new Anthropic({ apiKey: key, baseURL: `${kong.url}/own`, maxRetries: 0 })
      const messages = [{ role: 'user' as const, content: 'Hi' }]
      await anthropic.messages.create({ model: 'claude-haiku-4-5', max_tokens: 20, messages })
      const name = useName(record.id, record.secrets[0].hash)
      await expect.poll(async () => (await registry.lastUses([name]))[0], { timeout: 10_000 }).toBeGreaterThan(0)
      await registry.revoke(record.id, { at: Date.now(), reason: 'leaked' })
      await expect
        .poll(() => call().catch((error: unknown) => error), { timeout: 10_000 })
        .toMatchObject({ status: 401, code: 'key_revoked' })
    })

    test('make their bearer the caller of scopes and limits', async () => {
      const consumer = { id: 'c-7', username: 'eve', tags: ['gold'] }
      const { key } = await issue({ consumer, scopes: ['llm:chat:gpt-4o-mini'] })
      const second = await issue({ consumer, scopes: ['llm:chat:gpt-4o-mini'] })
      const none = await issue({ consumer: { id: 'c-8' }, scopes: [] })
      expect(verdict(await ask('judged', bearer(key)))).toEqual([200, undefined])
      const other = await ask('judged', { ...bearer(key), body: chat({ model: 'gpt-5' }) })
      expect(verdict(other)).toEqual([403, 'insufficient_scope'])
      expect(verdict(await ask('judged', bearer(none.key)))).toEqual([403, 'insufficient_scope'])
      // Two keys of one consumer share what it may use.
      expect(verdict(await ask('judged', bearer(second.key)))).toEqual([200, undefined])
      expect(verdict(await ask('judged', bearer(second.key)))).toEqual([429, 'rate_limit_exceeded'])
      expect(fingerprintOf(key)).toMatch(/^[0-9a-f]{64}$/)
    })

    test('and credentials of Kong live on one route, and neither travels on', async () => {
      const { key } = await issue()
      for (const good of [key, 'young-key']) {
        expect(verdict(await ask('both', bearer(good)))).toEqual([200, undefined])
        expect(upstream()).not.toContain(good.slice(-40))
      }
      expect(verdict(await ask('both', bearer('old-key')))).toEqual([401, 'key_expired'])
      for (const one of [bearer('neither-of-them'), {}])
        expect(verdict(await ask('both', one))).toEqual([401, 'invalid_key'])
    })

    test('outlive a reload of Kong', async () => {
      const { key } = await issue()
      expect(verdict(await ask('own', bearer(key)))).toEqual([200, undefined])
      await kong.reload()
      await expect.poll(async () => (await ask('own', bearer(key))).status, { timeout: 20_000 }).toBe(200)
    })
  })

  test('a registry that does not answer shuts the door to keys that were never seen', async () => {
    const { key } = await issue()
    const unseen = await issue()
    expect(verdict(await ask('own', bearer(key)))).toEqual([200, undefined])
    await redis.freeze()
    try {
      expect(verdict(await ask('own', bearer(unseen.key)))).toEqual([503, 'policy_unavailable'])
      expect(verdict(await ask('own', bearer(key)))).toEqual([200, undefined])
    } finally {
      await redis.thaw()
    }
    await expect.poll(async () => (await ask('own', bearer(unseen.key))).status, { timeout: 20_000 }).toBe(200)
  })
})
