/** `llm-api-key` and the plugins after it in the deployed plugin server, driven by the stand-in for Kong. */

import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createDeps, systemClock, systemRandom } from '../../../plugins/deps.ts'
import { bundle } from '../../../plugins/kong/bundle.ts'
import { entryKey, FACTS_KEY, type Facts } from '../../../plugins/kong/shared-context.ts'
import {
  createKeyIssuer,
  generateKey,
  type KeyIssuer,
  type KeyOrder,
  type KeyRegistry,
  newKeyId,
  openKeyRegistry,
} from '../../../policies/api-key/index.ts'
import { createRuntime } from '../../../policies/runtime.ts'
import { parseConfig } from '../../../policies/schema/parse.ts'
import { redisFields } from '../../../policies/stores/redis/config.ts'
import { createRequest, type KongRequest } from '../../support/kong-client/request.ts'
import { createWorker, type PluginConfig, type Worker } from '../../support/kong-client/worker.ts'
import { haveRedisServer } from '../../support/redis/backends.ts'
import { type RedisServer, startRedis } from '../../support/redis/server.ts'
import { type ServerProcess, startServer } from './process-harness.ts'

const PEPPER = 'a pepper that only this test has.'
const QUIET = { info() {}, warn() {}, error() {} }

describe.skipIf(!haveRedisServer('keys in the plugin server'))('keys in the plugin server', () => {
  const directory = mkdtempSync(join(tmpdir(), 'kong-keys-'))
  const runtime = createRuntime()
  let redis: RedisServer
  let server: ServerProcess
  let worker: Worker
  let registry: KeyRegistry
  let issuer: KeyIssuer

  beforeAll(async () => {
    await bundle(directory)
    redis = await startRedis()
    const config = parseConfig(redisFields, { ...connection(), command_timeout_ms: 5_000 })
    registry = openKeyRegistry({ store: 'redis', redis: config }, createDeps({ logger: QUIET, runtime }))
    issuer = createKeyIssuer({ registry, pepper: PEPPER, clock: systemClock, random: systemRandom })
    server = await startServer(join(directory, 'portcullis-kong.cjs'), join(directory, 's'), ['--log-level', 'info'])
    worker = createWorker({ socket: join(directory, 's') })
  }, 60_000)
  afterAll(async () => {
    worker?.close()
    const gone = server === undefined ? undefined : once(server.child, 'exit')
    server?.child.kill('SIGKILL')
    await gone
    await runtime.close()
    await redis?.close()
    rmSync(directory, { recursive: true })
  })

  const connection = () => ({ host: redis.host, port: redis.port })
  const issue = (order: Partial<KeyOrder> = {}) => issuer.issue({ env: 'live', consumer: { id: 'ada' }, ...order })

  function plugin(name: string, config: object): PluginConfig {
    const own = { __plugin_id: `id-of-${name}`, __seq__: 1, __key__: `plugins:${name}`, __ws_id: 'ws', route_id: 'r' }
    return { plugin: name, id: `id-of-${name}`, seq: 1, config: JSON.stringify({ ...own, ...config }) }
  }
  const authenticator = () =>
    plugin('llm-api-key', {
      own_keys: { pepper: PEPPER, headers: ['apikey'] },
      store: 'redis',
      redis: { ...connection(), command_timeout_ms: 1_000 },
    })

  function request(headers: Readonly<Record<string, string>>, model = 'gpt-4o-mini'): KongRequest {
    const body = Buffer.from(JSON.stringify({ model, max_tokens: 5, messages: [{ role: 'user', content: 'Hi' }] }))
    const made = createRequest({ method: 'POST', uri: '/v1/chat/completions', headers: Object.entries(headers), body })
    const facts: Facts = {
      version: 1,
      request_id: 'r',
      method: 'POST',
      path: '/v1/chat/completions',
      address: '192.0.2.1',
      headers: { 'content-type': 'application/json' },
      header_count: 2,
      body_in: 'base64',
      body_size: body.length,
      body_base64: body.toString('base64'),
    }
    made.shared.set(FACTS_KEY, facts)
    return made
  }

  function codeOf({ reply }: KongRequest): readonly [number | undefined, string | undefined] {
    const body = JSON.parse(reply?.body ?? '{}') as { readonly error?: { readonly code?: string } }
    return [reply?.status, body.error?.code]
  }

  test('a good key makes its bearer the caller of the plugins after, and goes no further', async () => {
    const { key, record } = await issue({ consumer: { id: 'c-1', tags: ['gold'] }, scopes: ['llm:chat:gpt-4o-mini'] })
    const limits = [{ name: 'calls', limit: 1, window_seconds: 60, count: 'requests', per: ['consumer'] }]
    const chain = [authenticator(), plugin('llm-scope', {}), plugin('llm-token-limit', { limits })]

    const first = request({ apikey: key })
    for (const one of chain) expect(await worker.access(first, one)).toBe('done')
    expect(JSON.stringify([...first.upstreamHeaders])).not.toContain(key.slice(-40))
    expect(JSON.stringify([...first.shared])).not.toContain(key.slice(-40))
    expect(first.shared.get(entryKey('llm-api-key'))).toMatchObject({ identity: expect.stringContaining(record.id) })

    const other = request({ apikey: key }, 'gpt-5')
    await worker.access(other, authenticator())
    expect(await worker.access(other, plugin('llm-scope', {}))).toBe('exited')
    expect(codeOf(other)).toEqual([403, 'insufficient_scope'])

    const second = request({ apikey: key })
    await worker.access(second, authenticator())
    expect(await worker.access(second, plugin('llm-token-limit', { limits }))).toBe('exited')
    expect(codeOf(second)).toEqual([429, 'rate_limit_exceeded'])
  })

  test.each<readonly [string, () => Promise<Readonly<Record<string, string>>>, string]>([
    ['no key', async () => ({}), 'invalid_key'],
    [
      'an unknown key',
      async () => ({ apikey: generateKey('live', newKeyId(systemRandom), systemRandom) }),
      'invalid_key',
    ],
    ['an expired key', async () => ({ apikey: (await issue({ expiresAt: 1 })).key }), 'key_expired'],
    [
      'a key for elsewhere',
      async () => ({ apikey: (await issue({ cidrs: ['10.0.0.0/8'] })).key }),
      'address_not_allowed',
    ],
  ])('%s leaves no mark, and no word of it in the log', async (_, headersOf, code) => {
    const headers = await headersOf()
    const refused = request(headers)
    expect(await worker.access(refused, authenticator())).toBe('exited')
    expect(codeOf(refused)[1]).toBe(code)
    expect(refused.shared.get(entryKey('llm-api-key'))).toBeUndefined()
    expect(refused.reply?.headers).toMatchObject({ 'cache-control': 'no-store' })
    if (headers.apikey !== undefined)
      expect(server.stderr() + refused.reply?.body).not.toContain(headers.apikey.slice(-40))
    expect(server.stderr()).not.toContain(PEPPER)
  })
})
