/** Every configuration of the guides on a real Kong: before, in between and after. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { run } from '../../plugins/cli/program.ts'
import { type Model, startModel } from '../support/model/index.ts'
import { type RedisServer, startRedis } from '../support/redis/server.ts'
import { bearer, LISTEN, PROVIDER, readConfig, send, TODAY } from './support/deployed.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong, KongConfig } from './support/kong.ts'
import { until } from './support/wait.ts'

const ALICE = 'alice-example-key'
const BOB = 'bob-example-key'

const chat = (model: string, content = 'Hi') => ({ model, max_tokens: 32, messages: [{ role: 'user', content }] })
const message = { path: '/anthropic/v1/messages', body: chat('claude-sonnet-4-5') }

describe.skipIf(kongMissing)('the guides on a real Kong', () => {
  let model: Model
  let redis: RedisServer
  let kong: Kong

  beforeAll(async () => {
    model = await startModel()
    redis = await startRedis()
    const env = { ...PROVIDER, KONG_PROXY_LISTEN: LISTEN }
    const services = [{ name: 'first', url: model.url, routes: [{ name: 'first', paths: ['/first'] }] }]
    kong = await startKong({ config: { _format_version: '3.0', services }, env })
  })
  afterAll(async () => {
    await kong?.stop()
    await redis?.close()
    await model?.close()
  })

  const configOf = (path: string, env = {}) => readConfig(path, model.url, redis.port, { env })

  /** A request without credentials tells when Kong works with the new configuration: it has a path of its own. */
  async function apply(config: KongConfig): Promise<void> {
    const path = `/ready-${Math.random().toString(36).slice(2)}`
    const plugins = [{ name: 'request-termination', config: { status_code: 204 } }]
    const routes = [...((config as { routes?: object[] }).routes ?? []), { name: 'ready', paths: [path], plugins }]
    await kong.apply({ ...config, routes } as KongConfig)
    await until('the new configuration', async () => [204, 401].includes((await send({ path })).status))
  }

  const openai = () => model.requests.at(-1)?.headers.authorization

  test('the quick start of README: alice’s key, in clear text on this machine', async () => {
    await apply(configOf('kong/demo.yml'))
    const reply = await send({ path: '/v1/chat/completions', headers: bearer('alice-free-key'), clear: true })
    expect([reply.status, reply.headers['x-ratelimit-limit-tokens']]).toEqual([200, '2000'])
  })

  describe('from rate-limiting', () => {
    test('before: requests are limited, keys are forwarded', async () => {
      await apply(configOf('kong/migration/rate-limiting.before.yml'))
      const reply = await send({ headers: { apikey: ALICE } })
      expect([reply.status, reply.headers['x-ratelimit-limit-minute']]).toEqual([200, '60'])
      expect(model.requests.at(-1)?.headers.apikey).toBe(ALICE)
      expect((await send({ headers: { apikey: BOB } })).headers['x-ratelimit-limit-minute']).toBe('600')
    })

    test('in between: nobody is refused, and the report says who would have been', async () => {
      const config = configOf('kong/migration/rate-limiting.shadow.yml') as unknown as {
        services: [{ plugins: { name: string; config?: { limits?: { name: string; limit: number }[] } }[] }]
      }
      const limits = config.services[0].plugins.find(({ name }) => name === 'llm-token-limit')?.config?.limits ?? []
      // So that one request is too much, as a busy hour would be.
      for (const rule of limits) if (rule.name === 'tokens' && rule.limit === 20_000) rule.limit = 20
      await apply(config as unknown as KongConfig)
      for (const key of [ALICE, BOB]) {
        const reply = await send({ headers: { apikey: key } })
        expect(reply.status).toBe(200)
        expect(reply.headers['x-ratelimit-limit-tokens']).toBeUndefined()
        expect(reply.headers['x-ratelimit-limit-minute']).toBeDefined()
      }
      await until('two records', async () => ((await kong.log()).match(/"user.name":"(alice|bob)"/g) ?? []).length >= 2)
      const folder = mkdtempSync(join(tmpdir(), 'portcullis-shadow-'))
      const log = join(folder, 'kong.log')
      writeFileSync(log, await kong.log())
      const out: string[] = []
      const io = { out: (text: string) => void out.push(text), err: (text: string) => void out.push(text), env: {} }
      await run(['shadow', 'report', log, '--json'], io)
      rmSync(folder, { recursive: true })
      expect(JSON.parse(out.join(''))).toMatchObject({
        would_reject: 1,
        consumers: [{ consumer: 'alice', would_reject: 1 }],
        causes: [
          { consumer: 'alice', code: 'request_exceeds_limit', rule: 'tokens', model: 'gpt-4o-mini', route: 'openai' },
        ],
      })
    })

    test('after: the same keys and requests, tokens besides, and nothing is forwarded that should not be', async () => {
      await apply(configOf('kong/migration/rate-limiting.after.yml'))
      for (const headers of [{ apikey: ALICE }, bearer(ALICE)]) {
        const reply = await send({ headers })
        expect([
          reply.status,
          reply.headers['x-ratelimit-limit-requests'],
          reply.headers['x-ratelimit-limit-tokens'],
        ]).toEqual([200, '60', '20000'])
      }
      expect((await send({ headers: bearer(BOB) })).headers['x-ratelimit-limit-requests']).toBe('600')
      expect(openai()).toBe(PROVIDER.OPENAI_AUTHORIZATION)
      expect(model.requests.at(-1)?.headers.apikey).toBeUndefined()
    })

    // One after the other: rate-limiting counts a request only after it was answered.
    test.each(['before', 'after'])('%s: sixty requests of a minute pass, and no more', async (when) => {
      await apply(configOf(`kong/migration/rate-limiting.${when}.yml`))
      await redis.client().flushall()
      const statuses: number[] = []
      // A new minute may begin in between.
      for (let sent = 0; sent < 122; sent++)
        statuses.push((await send({ headers: { apikey: ALICE }, body: chat('gpt-4o-mini') })).status)
      const passed = statuses.filter((status) => status === 200).length
      expect(statuses.filter((status) => status === 429)).toHaveLength(122 - passed)
      expect(passed).toBeGreaterThanOrEqual(60)
      expect(passed).toBeLessThanOrEqual(120)
    })
  })

  describe('from ai-proxy', () => {
    test('before: the provider’s key and model are put in, nothing is metered', async () => {
      await apply(configOf('kong/migration/ai-proxy.before.yml'))
      const body = { messages: [{ role: 'user', content: 'Hi' }] }
      const reply = await send({ headers: { apikey: ALICE }, body })
      expect(reply.status, reply.text).toBe(200)
      expect(openai()).toBe(PROVIDER.OPENAI_AUTHORIZATION)
      expect(reply.headers['x-ratelimit-limit-tokens']).toBeUndefined()
    })

    test('kept behind the pack: metered by what the provider reports', async () => {
      const config = configOf('kong/migration/ai-proxy.before.yml') as unknown as {
        services: [{ routes: [object]; plugins: object[] }]
      }
      const [service] = config.services
      Object.assign(service.routes[0], { strip_path: false })
      const operations = [{ path: '/openai/v1/chat/completions', protocol: 'openai-chat' }]
      const limits = [{ name: 'tokens', limit: 5000, window_seconds: 3600 }]
      service.plugins.push({ name: 'llm-edge' }, { name: 'llm-token-limit', config: { operations, limits } })
      service.plugins.push({ name: 'llm-guard', config: { require: ['llm-token-limit'] } })
      await apply(config as unknown as KongConfig)
      const ask = () => send({ headers: { apikey: ALICE }, body: chat('gpt-4o-mini') })
      const first = await ask()
      expect([first.status, first.headers['x-ratelimit-limit-tokens']]).toEqual([200, '5000'])
      const { usage } = JSON.parse(first.text) as { usage: { total_tokens: number } }
      await until('it is settled', async () => {
        const remaining = Number((await ask()).headers['x-ratelimit-remaining-tokens'])
        return remaining <= 5000 - usage.total_tokens
      })
    })

    test('after: the same path and key, one model, metered', async () => {
      await apply(configOf('kong/migration/ai-proxy.after.yml'))
      const reply = await send({ headers: bearer(ALICE) })
      expect([reply.status, reply.headers['x-ratelimit-limit-tokens']]).toEqual([200, '20000'])
      expect(openai()).toBe(PROVIDER.OPENAI_AUTHORIZATION)
      expect((await send({ headers: bearer(ALICE), body: chat('gpt-4o') })).status).toBe(403)
    })
  })

  test('from LiteLLM: models and limits of each virtual key hold', async () => {
    await apply(configOf('kong/migration/litellm.after.yml'))
    const path = '/v1/chat/completions'
    const alice = await send({ path, headers: bearer(ALICE) })
    expect([
      alice.status,
      alice.headers['x-ratelimit-limit-tokens'],
      alice.headers['x-ratelimit-limit-requests'],
    ]).toEqual([200, '20000', '60'])
    const bob = await send({ path, headers: bearer(BOB) })
    expect([bob.headers['x-ratelimit-limit-tokens'], bob.headers['x-ratelimit-limit-requests']]).toEqual([
      '200000',
      '600',
    ])
    expect(
      (await send({ ...message, headers: { 'x-api-key': ALICE, 'anthropic-version': '2023-06-01' } })).status,
    ).toBe(403)
    expect((await send({ ...message, headers: { 'x-api-key': BOB, 'anthropic-version': '2023-06-01' } })).status).toBe(
      200,
    )
  })

  test.each([
    { what: 'as it is, shows keys', blanked: false },
    { what: 'as `portcullis check` advises, shows none', blanked: true },
  ])('http-log $what', async ({ blanked }) => {
    const logged: string[] = []
    const collector = createServer((request, response) => {
      request.setEncoding('utf8').on('data', (piece: string) => void logged.push(piece))
      request.on('end', () => response.end())
    })
    await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve))
    const sensitive = ['request.headers', 'request.querystring', 'request.uri', 'request.url', 'upstream_uri']
    const fields = Object.fromEntries(sensitive.map((field) => [field, 'return nil']))
    const plugins = [
      { name: 'key-auth', config: { key_names: ['apikey'], hide_credentials: true } },
      { name: 'llm-upstream', config: { headers: { 'x-api-key': '{vault://env/anthropic-api-key}' } } },
      {
        name: 'http-log',
        config: {
          http_endpoint: `http://127.0.0.1:${(collector.address() as AddressInfo).port}`,
          ...(blanked ? { custom_fields_by_lua: fields } : {}),
        },
      },
    ]
    const route = { name: 'anthropic', paths: ['/anthropic'], plugins }
    await apply({
      _format_version: '3.0',
      services: [{ name: 'anthropic', url: model.url, routes: [route] }],
      consumers: [{ username: 'alice', keyauth_credentials: [{ key: ALICE }] }],
    })
    expect((await send({ path: `/anthropic/v1/messages?apikey=${ALICE}`, body: message.body })).status).toBe(200)
    // The answers to the questions whether it is ready may be in there as well.
    await until('the record', async () => logged.join('').includes('"status":200'))
    collector.close()
    for (const secret of [ALICE, PROVIDER.ANTHROPIC_API_KEY]) expect(logged.join('').includes(secret)).toBe(!blanked)
  })

  test('kong/deck adds its plugins to services that are there, and leaves others alone', async () => {
    const env = { DECK_ALICE_KEY: ALICE, DECK_BOB_KEY: BOB }
    const issued = Object.fromEntries(
      ['ALICE', 'BOB', 'REPORTS'].map((name) => [`DECK_${name}_ISSUED`, TODAY.slice(10)]),
    )
    const { consumers = [] } = configOf('kong/deck/consumers.yml', { ...env, ...issued })
    const { plugins = [] } = configOf('kong/deck/plugins.yml')
    const services = ['openai', 'anthropic', 'gemini', 'vllm', 'shop'].map((name) => ({
      name,
      url: model.url,
      routes: [{ name, paths: [`/${name}`], protocols: ['https'] }],
    }))
    await apply({ _format_version: '3.0', services, plugins, consumers })
    const alice = await send({ headers: bearer(ALICE) })
    expect([alice.status, alice.headers['x-ratelimit-limit-tokens']]).toEqual([200, '20000'])
    expect(openai()).toBe(PROVIDER.OPENAI_AUTHORIZATION)
    expect((await send({})).status).toBe(401)
    expect((await send({ ...message, headers: { 'x-api-key': BOB, 'anthropic-version': '2023-06-01' } })).status).toBe(
      200,
    )
    const shop = await send({ path: '/shop/v1/chat/completions' })
    expect([shop.status, shop.headers['x-ratelimit-limit-tokens']]).toEqual([200, undefined])
  })
})
