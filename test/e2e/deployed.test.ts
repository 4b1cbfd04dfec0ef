/** What an operator deploys, on a real Kong: kong/kong.yml as it is, but for addresses, credentials and certificates. */

import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { exportSPKI, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { run } from '../../plugins/cli/program.ts'
import { type Model, startModel } from '../support/model/index.ts'
import { createAuthority } from '../support/redis/certificates.ts'
import { type RedisServer, startRedis } from '../support/redis/server.ts'
import { bearer, type Call, handshake, LISTEN, PROVIDER, readConfig, send, TODAY } from './support/deployed.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong, KongConfig } from './support/kong.ts'
import { ADMIN_PORT } from './support/ports.ts'
import { until } from './support/wait.ts'

const KEYS = { alice: 'alice-deployed-key', bob: 'bob-deployed-key' }
/** Of a consumer, too: that no other place may hold it is why it is refused. nginx itself may log it. */
const IN_ADDRESS = 'bob-key-in-an-address'

describe.skipIf(kongMissing).each([
  { form: 'llm-gateway', single: false },
  { form: 'the single plugins', single: true },
])('kong/kong.yml with $form on a real Kong', ({ single }) => {
  let model: Model
  let redis: RedisServer
  let kong: Kong
  let config: KongConfig
  let token: (claims?: object) => Promise<string>

  beforeAll(async () => {
    model = await startModel()
    redis = await startRedis()
    const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true })
    const now = Math.floor(Date.now() / 1000)
    token = (claims = {}) =>
      new SignJWT({ iss: 'reports', exp: now + 600, ...claims })
        .setProtectedHeader({ alg: 'RS256', typ: 'JWT' })
        .sign(privateKey)
    config = readConfig('kong/kong.yml', model.url, redis.port, { single })
    const names = (config.plugins ?? []).map(({ name }) => name)
    expect(names.includes('llm-gateway')).toBe(!single)
    expect(names.includes('llm-token-limit')).toBe(single)
    const credentials: Readonly<Record<string, object>> = {
      alice: { keyauth_credentials: [{ key: KEYS.alice, tags: [TODAY] }, { key: 'without-an-age' }] },
      bob: { keyauth_credentials: [KEYS.bob, IN_ADDRESS].map((key) => ({ key, tags: [TODAY] })) },
      reports: {
        jwt_secrets: [
          { key: 'reports', algorithm: 'RS256', rsa_public_key: await exportSPKI(publicKey), tags: [TODAY] },
        ],
      },
    }
    for (const consumer of config.consumers as { username: string }[])
      Object.assign(consumer, credentials[consumer.username])
    kong = await startKong({
      config,
      env: {
        ...PROVIDER,
        KONG_PROXY_LISTEN: LISTEN,
        KONG_TRUSTED_IPS: '127.0.0.1',
      },
    })
  })
  afterAll(async () => {
    await kong?.stop()
    await redis?.close()
    await model?.close()
  })

  const lastRequest = () => {
    const last = model.requests.at(-1)
    if (last === undefined) throw new Error('the upstream saw nothing')
    return last
  }

  test.each(['openai', 'anthropic', 'gemini', 'vllm'])('takes /%s over TLS only', async (route) => {
    const reply = await send({ path: `/${route}/v1/chat/completions`, headers: bearer(KEYS.alice), clear: true })
    expect(reply.status).toBe(426)
  })

  test('believes a load balancer that it trusts', async () => {
    const headers = { ...bearer(KEYS.alice), 'x-forwarded-proto': 'https', 'x-forwarded-for': '10.1.2.3' }
    expect((await send({ headers, clear: true })).status).toBe(200)
  })

  test('speaks TLS 1.2 and 1.3 with forward secrecy, and nothing older', async () => {
    expect(await handshake({ minVersion: 'TLSv1.3' })).toBe('TLSv1.3')
    expect(await handshake({ maxVersion: 'TLSv1.2' })).toBe('TLSv1.2')
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }
    expect(await handshake(old)).toBe('refused')
    expect(
      await handshake({ maxVersion: 'TLSv1.2', ciphers: 'AES128-SHA:AES256-GCM-SHA384:ECDHE-RSA-AES128-SHA' }),
    ).toBe('refused')
  })

  test('knows two tiers by key', async () => {
    const alice = await send({ headers: bearer(KEYS.alice) })
    expect([alice.status, alice.headers['x-ratelimit-limit-tokens']]).toEqual([200, '20000'])
    expect(alice.headers['strict-transport-security']).toContain('max-age=63072000')
    expect(alice.headers['x-correlation-id']).toMatch(/^[\da-f-]{36}$/)
    const bob = await send({ headers: bearer(KEYS.bob) })
    expect([bob.status, bob.headers['x-ratelimit-limit-tokens']]).toEqual([200, '200000'])
  })

  test('knows a service by the token that it signed, and keeps the token to itself', async () => {
    const signed = await token()
    const reply = await send({
      headers: bearer(signed),
      body: { model: 'gpt-4o', max_tokens: 32, messages: [{ role: 'user', content: 'Hi' }] },
    })
    expect([reply.status, reply.headers['x-ratelimit-limit-tokens']]).toEqual([200, '200000'])
    expect(JSON.stringify(lastRequest().rawHeaders)).not.toContain(signed.slice(0, 20))
  })

  test('keeps a tier to its models', async () => {
    const reply = await send({
      headers: bearer(KEYS.alice),
      body: { model: 'gpt-4o', max_tokens: 32, messages: [{ role: 'user', content: 'Hi' }] },
    })
    expect(reply.status).toBe(403)
    expect(reply.text).toContain('insufficient_scope')
    expect(reply.headers['strict-transport-security']).toContain('max-age')
  })

  test.each<[string, () => Promise<Record<string, string>>]>([
    ['nothing', async () => ({})],
    ['an unknown key', async () => bearer('guessed')],
    ['a key without a known age', async () => bearer('without-an-age')],
    ['an old token', async () => bearer(await token({ exp: Math.floor(Date.now() / 1000) - 60 }))],
    ['a token without an end', async () => bearer(await token({ exp: undefined }))],
    ['a token for a year', async () => bearer(await token({ exp: Math.floor(Date.now() / 1000) + 31_536_000 }))],
    ['a forged consumer', async () => ({ 'x-consumer-username': 'bob', 'x-credential-identifier': 'x' })],
  ])('refuses %s', async (_, headers) => {
    const before = model.requests.length
    const reply = await send({ headers: await headers() })
    expect(reply.status).toBe(401)
    expect(model.requests.length).toBe(before)
  })

  test.each<[string, Call, Readonly<Record<string, string>>]>([
    ['openai', { headers: bearer(KEYS.bob) }, { authorization: 'Bearer openai-key' }],
    [
      'anthropic',
      {
        path: '/anthropic/v1/messages',
        headers: { 'x-api-key': KEYS.bob, 'anthropic-version': '2023-06-01' },
        body: { model: 'claude-sonnet-4-5', max_tokens: 32, messages: [{ role: 'user', content: 'Hi' }] },
      },
      { 'x-api-key': 'anthropic-key' },
    ],
    [
      'gemini',
      {
        path: '/gemini/v1beta/models/gemini-2.5-flash:generateContent',
        headers: { 'x-goog-api-key': KEYS.bob },
        body: { contents: [{ role: 'user', parts: [{ text: 'Hi' }] }], generationConfig: { maxOutputTokens: 32 } },
      },
      { 'x-goog-api-key': 'gemini-key' },
    ],
    ['vllm', { path: '/vllm/v1/chat/completions', headers: bearer(KEYS.bob) }, {}],
  ])('sends %s its own credential, and nothing of the caller', async (_, call, credential) => {
    const reply = await send(call)
    expect(reply.status, reply.text).toBe(200)
    const { headers, url, rawHeaders } = lastRequest()
    const sent = Object.fromEntries(
      ['authorization', 'x-api-key', 'api-key', 'x-goog-api-key', 'apikey'].flatMap((name) => {
        const value = headers[name]
        return value === undefined ? [] : [[name, value]]
      }),
    )
    expect(sent).toEqual(credential)
    expect(url + JSON.stringify(rawHeaders)).not.toContain(KEYS.bob)
    expect(Object.keys(headers).filter((name) => /^x-(consumer|credential|anonymous)/.test(name))).toEqual([])
  })

  test('takes no key from an address', async () => {
    const reply = await send({ path: `/gemini/v1beta/models/gemini-2.5-flash:generateContent?key=${IN_ADDRESS}` })
    expect(reply.status).toBe(401)
  })

  test('refuses other networks and large bodies', async () => {
    const headers = bearer(KEYS.bob)
    expect((await send({ headers: { ...headers, 'x-forwarded-for': '203.0.113.9' } })).status).toBe(403)
    const body = { model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'x'.repeat(1_100_000) }] }
    expect((await send({ headers, body })).status).toBe(413)
  })

  test('writes one record of every request, without a key in it', async () => {
    const before = ((await kong.log()).match(/portcullis\.audit\/1/g) ?? []).length
    await send({ headers: bearer(KEYS.bob) })
    await send({ headers: bearer('guessed') })
    await until(
      'two records',
      async () => ((await kong.log()).match(/portcullis\.audit\/1/g) ?? []).length >= before + 2,
    )
    const log = await kong.log()
    for (const secret of [...Object.values(KEYS), ...Object.values(PROVIDER), 'guessed'])
      expect(log).not.toContain(secret)
  })

  test('shows nothing to `portcullis check` at its Admin API', async () => {
    async function check(...args: readonly string[]): Promise<{ readonly code: number; readonly said: string }> {
      const out: string[] = []
      const io = { out: (text: string) => void out.push(text), err: (text: string) => void out.push(text), env: {} }
      const code = await run(['check', `http://127.0.0.1:${ADMIN_PORT}`, '--fail-on', 'note', ...args], io)
      return { code, said: out.join('') }
    }
    const variables = new URL('../../kong/kong.env', import.meta.url).pathname
    expect(await check('--strict', '--env', variables)).toEqual({ code: 0, said: 'no findings\n' })
    expect(await check('--strict')).toEqual({ code: 0, said: 'no findings\n' })
  })

  test('sends nothing to an upstream whose certificate nobody trusts', async () => {
    const authority = createAuthority('somebody')
    const upstream = createServer({ cert: authority.cert, key: authority.key }, (_, response) => response.end('{}'))
    await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve))
    const url = `https://localhost:${(upstream.address() as AddressInfo).port}`
    const id = '8c7bca7a-23f1-4c83-8a1c-4a2b1b1b6f0e'
    try {
      const changed = structuredClone(config) as unknown as {
        services: { name: string; url: string; tls_verify?: boolean }[]
      }
      const moved = changed.services.find(({ name }) => name === 'openai')
      const trusted = changed.services.find(({ name }) => name === 'vllm')
      if (moved === undefined || trusted === undefined) throw new Error('kong.yml has other services')
      Object.assign(moved, { url, tls_verify: true })
      Object.assign(trusted, { url, tls_verify: true, ca_certificates: [id] })
      await kong.apply({ ...changed, ca_certificates: [{ id, cert: authority.ca }] } as unknown as KongConfig)
      const headers = bearer(KEYS.bob)
      await until('the new configuration', async () => (await send({ headers })).status === 502)
      expect((await send({ path: '/vllm/v1/chat/completions', headers })).status).toBe(200)
    } finally {
      upstream.close()
      authority.remove()
      await kong.apply(config)
    }
  })

  test('refuses when the vault has no key, and Kong’s request-transformer would send the reference', async () => {
    const changed = structuredClone(config) as unknown as { services: { name: string; plugins: object[] }[] }
    for (const service of changed.services) {
      if (service.name === 'vllm')
        service.plugins = [
          { name: 'llm-upstream', config: { headers: { authorization: '{vault://env/nowhere-set}' } } },
        ]
      if (service.name === 'openai')
        service.plugins = [
          {
            name: 'request-transformer',
            config: {
              replace: { headers: ['authorization:{vault://env/openai-authorization}'] },
              add: { headers: ['authorization:{vault://env/openai-authorization}'] },
            },
          },
        ]
    }
    await kong.apply(changed as unknown as KongConfig)
    await until(
      'the new configuration',
      async () => (await send({ path: '/vllm/v1/chat/completions', headers: bearer(KEYS.bob) })).status === 503,
    )
    await until('a reply', async () => (await send({ headers: bearer(KEYS.bob) })).status === 200)
    expect(lastRequest().headers.authorization).toBe('{vault://env/openai-authorization}')
  })
})
