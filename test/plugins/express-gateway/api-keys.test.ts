import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createDeps, systemClock, systemRandom } from '../../../plugins/deps.ts'
import {
  createKeyIssuer,
  type KeyOrder,
  type KeyRegistry,
  openKeyRegistry,
  useName,
} from '../../../policies/api-key/index.ts'
import { parseConfig } from '../../../policies/schema/parse.ts'
import { redisFields } from '../../../policies/stores/redis/config.ts'
import { haveRedisServer } from '../../support/redis/backends.ts'
import { type RedisServer, startRedis } from '../../support/redis/server.ts'
import { createSpy } from './support/spy.ts'
import { ask, PROXY, QUIET, type Stage, setStage, TEN_THOUSAND } from './support/stage.ts'

const PEPPER = 'a pepper that only this test has.'
const SPY = { 'llm-spy': null }
const DAY = 86_400_000

function issuerOf(registry: KeyRegistry) {
  const issuer = createKeyIssuer({ registry, pepper: PEPPER, clock: systemClock, random: systemRandom })
  return (order: Partial<KeyOrder> = {}) => issuer.issue({ env: 'live', consumer: { id: 'ada' }, ...order })
}

async function codeOf(reply: Response): Promise<readonly [number, string | undefined]> {
  const body = (await reply.json()) as { error?: { code?: string } }
  return [reply.status, body.error?.code]
}

/** Nothing of a key must be in what the upstream got. */
function sentUpstream({ model }: Stage): string {
  return JSON.stringify(model.requests.map(({ url, rawHeaders }) => [url, rawHeaders]))
}

describe('own keys', () => {
  const registry = openKeyRegistry({ store: 'memory' }, createDeps({ logger: QUIET }))
  const issue = issuerOf(registry)
  const policies = (config: object = {}, ...after: readonly object[]) => [
    { 'llm-key': null },
    { 'llm-api-key': { action: { own_keys: { pepper: PEPPER, cache_ms: 50 }, ...config } } },
    ...after,
    PROXY,
  ]

  it.each<readonly [string, (key: string) => Readonly<Record<string, string>>, (key: string) => string]>([
    ['Authorization: Bearer', (key) => ({ authorization: `Bearer ${key}` }), () => ''],
    ['x-api-key', (key) => ({ 'x-api-key': key }), () => ''],
    ['x_api_key, which some upstreams take for it', (key) => ({ x_api_key: key }), () => ''],
    ['several spellings', (key) => ({ 'x-api-key': key, 'x_api-key': key, 'x_goog-api-key': key }), () => ''],
    ['api-key', (key) => ({ 'api-key': key }), () => ''],
    ['x-goog-api-key', (key) => ({ 'x-goog-api-key': key }), () => ''],
    ['apikey', (key) => ({ apikey: key }), () => ''],
    ['?key=', () => ({}), (key) => `?key=${key}`],
  ])('are taken from %s, and travel no further', async (_, headers, query) => {
    const stage = await setStage({ policies: policies() })
    const { key } = await issue()
    const path = `/v1/chat/completions${query(key)}`
    expect((await ask(stage, { key: undefined, headers: headers(key), path })).status).toBe(200)
    expect(stage.model.requests).toHaveLength(1)
    expect(sentUpstream(stage)).not.toContain(key.slice(-40))
  })

  it('serve the official SDKs unmodified', async () => {
    const stage = await setStage({ policies: policies() })
    const { key, record } = await issue()
    const openai = new OpenAI({ apiKey: key, baseURL: `${stage.gateway.baseUrl}/v1`, maxRetries: 0 })
    const messages = [{ role: 'user' as const, content: 'Hi' }]
    const reply = await openai.chat.completions.create({ model: 'gpt-4o-mini', messages })
    expect(reply.choices[0]?.message.content).toEqual(expect.any(String))
    const anthropic = new Anthropic({ apiKey: key, baseURL: stage.gateway.baseUrl, maxRetries: 0 })
    await anthropic.messages.create({ model: 'claude-haiku-4-5', max_tokens: 20, messages })
    expect(sentUpstream(stage)).not.toContain(key.slice(-40))
    await registry.revoke(record.id, { at: Date.now(), reason: 'leaked' })
    await expect
      .poll(() => openai.chat.completions.create({ model: 'gpt-4o-mini', messages }).catch((error) => error), {
        timeout: 10_000,
      })
      .toMatchObject({ status: 401, code: 'key_revoked' })
    await expect(
      anthropic.messages.create({ model: 'claude-haiku-4-5', max_tokens: 20, messages }),
    ).rejects.toMatchObject({ status: 401, error: { type: 'error', error: { type: 'authentication_error' } } })
  })

  it('make their bearer the caller of scopes and limits', async () => {
    const spy = createSpy()
    const scope = { 'llm-scope': { action: {} } }
    const limits = [{ name: 'calls', limit: 1, window_seconds: 3_600, count: 'requests', per: ['consumer'] }]
    const limit = { 'llm-token-limit': { action: { ...TEN_THOUSAND, limits } } }
    const stage = await setStage({ extra: [spy.policy], policies: policies({}, scope, limit, SPY) })
    const { key, record } = await issue({
      consumer: { id: 'c-7', username: 'eve', tags: ['gold'] },
      scopes: ['llm:chat:gpt-4o-mini'],
    })
    expect((await ask(stage, { key })).status).toBe(200)
    expect(spy.seen[0]?.caller).toMatchObject({
      consumer: { id: 'c-7', username: 'eve', tags: ['gold'] },
      credential: { id: record.id, scopes: ['llm:chat:gpt-4o-mini'] },
      address: '127.0.0.1',
    })
    const other = await ask(stage, { key, body: { model: 'gpt-5', messages: [] } })
    expect(await codeOf(other)).toEqual([403, 'insufficient_scope'])
    expect(await codeOf(await ask(stage, { key }))).toEqual([429, 'rate_limit_exceeded'])
    const narrow = await issue({ consumer: { id: 'c-8' }, scopes: [] })
    expect(await codeOf(await ask(stage, { key: narrow.key }))).toEqual([403, 'insufficient_scope'])
  })

  it('are refused in the shape of the API, and name nobody from headers', async () => {
    const stage = await setStage({ policies: policies() })
    const { key } = await issue({ expiresAt: Date.now() - 1 })
    expect(await codeOf(await ask(stage, { key }))).toEqual([401, 'key_expired'])
    expect(await codeOf(await ask(stage, { key: undefined }))).toEqual([401, 'invalid_key'])
    const headers = { 'eg-consumer-id': 'ada', 'x-consumer-id': 'ada' }
    expect(await codeOf(await ask(stage, { key: undefined, headers }))).toEqual([401, 'invalid_key'])
    const gemini = await ask(stage, { key, path: '/v1beta/models/gemini-2.5-flash:generateContent' })
    expect(await gemini.json()).toMatchObject({ error: { code: 401, status: 'UNAUTHENTICATED' } })
    expect(stage.model.requests).toEqual([])
  })

  it('are bound to addresses that a client cannot choose', async () => {
    const stage = await setStage({ policies: policies() })
    const { key } = await issue({ cidrs: ['203.0.113.0/24'] })
    const reply = await ask(stage, { key, headers: { 'x-forwarded-for': '203.0.113.9' } })
    expect(await codeOf(reply)).toEqual([403, 'address_not_allowed'])
    const local = await issue({ cidrs: ['127.0.0.0/8', '::1'] })
    expect((await ask(stage, { key: local.key })).status).toBe(200)
  })
})

describe('keys of the gateway', () => {
  const policies = (config: object) => [
    { 'llm-key': null },
    { 'key-auth': null },
    { 'llm-api-key': { action: config } },
    PROXY,
  ]

  it('have the age that the gateway knows', async () => {
    const stage = await setStage({ policies: policies({ rotation: { age_from: 'created_at', warn_after_days: 0 } }) })
    const reply = await ask(stage)
    expect(reply.status).toBe(200)
    const left = Number(reply.headers.get('x-api-key-expires-in'))
    expect(left).toBeGreaterThan(96.9 * 86_400)
    expect(left).toBeLessThanOrEqual(97 * 86_400)
  })

  it('are refused when nobody says how old they are', async () => {
    const stage = await setStage({ policies: policies({}) })
    expect(await codeOf(await ask(stage))).toEqual([401, 'key_expired'])
  })

  it('obey the dates and ranges of their consumer', async () => {
    const day = new Date(Date.now() - DAY).toISOString().slice(0, 10)
    const stage = await setStage({
      policies: policies({ rotation: { age_from: 'created_at' }, addresses: { bob: ['203.0.113.0/24'] } }),
      consumers: [
        { username: 'ada', tags: [`pc-expires:${day}`] },
        { username: 'bob' },
        { username: 'cid', tags: ['pc-cidr:127.0.0.0/8'] },
      ],
    })
    expect(await codeOf(await ask(stage))).toEqual([401, 'key_expired'])
    expect(await codeOf(await ask(stage, { key: stage.gateway.keys.bob }))).toEqual([403, 'address_not_allowed'])
    expect((await ask(stage, { key: stage.gateway.keys.cid })).status).toBe(200)
  })
})

describe.skipIf(!haveRedisServer('own keys in Redis'))('own keys in Redis', () => {
  let redis: RedisServer
  beforeAll(async () => {
    redis = await startRedis()
  })
  afterAll(() => redis?.close())

  it('are revoked within a second, and last uses are noted', async () => {
    const connection = { host: redis.host, port: redis.port, command_timeout_ms: 2_000 }
    const deps = createDeps({ logger: QUIET })
    const config = parseConfig(redisFields, connection)
    const registry = openKeyRegistry({ store: 'redis', redis: config }, deps)
    const action = { own_keys: { pepper: PEPPER }, store: 'redis', redis: connection }
    const stage = await setStage({ policies: [{ 'llm-key': null }, { 'llm-api-key': { action } }, PROXY] })
    const { key, record } = await issuerOf(registry)()
    expect((await ask(stage, { key })).status).toBe(200)
    await expect
      .poll(async () => (await registry.lastUses([useName(record.id, record.secrets[0].hash)]))[0], { timeout: 10_000 })
      .toBeGreaterThan(0)
    await registry.revoke(record.id, { at: Date.now(), reason: 'leaked' })
    await expect.poll(async () => (await ask(stage, { key })).status, { timeout: 10_000 }).toBe(401)
    expect(JSON.stringify(await redis.client().hgetall(`portcullis:{keys:${record.id.charAt(0)}}`))).not.toContain(
      key.slice(-40),
    )
    await registry.close()
  })
})
