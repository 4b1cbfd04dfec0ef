import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { createDeps, systemClock, systemRandom } from '../../plugins/deps.ts'
import { createKeyIssuer, type KeyRegistry, openKeyRegistry } from '../../policies/api-key/index.ts'
import type { AuditRecord } from '../../policies/audit/index.ts'
import { parseConfig } from '../../policies/schema/parse.ts'
import { redisFields } from '../../policies/stores/redis/config.ts'
import { type Model, startModel } from '../support/model/index.ts'
import { haveRedisServer } from '../support/redis/backends.ts'
import { type RedisServer, startRedis } from '../support/redis/server.ts'
import { type Ask, ask, chat, codeOf } from './support/ask.ts'
import { serviceOf } from './support/config.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong, KongConfig, PluginConfig } from './support/kong.ts'

const PEPPER = 'a pepper that only this test has.'
const QUIET = { info() {}, warn() {}, error() {} }
/** What a machine, a clock or an id of its own decides; and what an estimate learned from the call before. */
const OWN = [
  'portcullis.usage.estimated.input_tokens',
  'time',
  'portcullis.request.id',
  'portcullis.route.id',
  'portcullis.route.name',
  'portcullis.duration_ms',
  'portcullis.upstream.duration_ms',
]

interface Members {
  readonly audit: object
  readonly api_key: object
  readonly scope: object
  readonly token_limit: object
}

function membersOf(redis: object, file: string): Members {
  const store = { store: 'redis', redis }
  const limits = [
    { name: 'tokens', limit: 500, window_seconds: 3_600, per: ['consumer', 'route'] },
    { name: 'watched', limit: 1, window_seconds: 3_600, per: ['consumer', 'route'], mode: 'shadow' },
  ]
  return {
    audit: { sinks: [{ type: 'file', path: file, flush_ms: 0 }], content: 'redacted', redaction: {} },
    api_key: { own_keys: { pepper: PEPPER, headers: ['apikey'] }, ...store },
    scope: { revocation: store },
    token_limit: { limits, ...store },
  }
}

function configOf(upstream: string, routes: Readonly<Record<string, readonly PluginConfig[]>>): KongConfig {
  const guarded = Object.entries(routes).map(([name, plugins]): [string, readonly PluginConfig[]] => [
    name,
    [
      { name: 'llm-key' },
      { name: 'llm-edge' },
      ...plugins,
      { name: 'llm-guard', config: { require: plugins.map((plugin) => plugin.name) } },
    ],
  ])
  return { _format_version: '3.0', services: [serviceOf(upstream, Object.fromEntries(guarded))] }
}

describe.skipIf(kongMissing || !haveRedisServer('llm-gateway on a real Kong'))('llm-gateway on a real Kong', () => {
  let folder: string
  let model: Model
  let redis: RedisServer
  let registry: KeyRegistry
  let kong: Kong
  let key: string

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-gateway-'))
    // Kong's workers may be another user.
    chmodSync(folder, 0o777)
    model = await startModel()
    redis = await startRedis()
    const connection = { host: redis.host, port: redis.port, command_timeout_ms: 500 }
    const opened = { store: 'redis', redis: parseConfig(redisFields, connection) } as const
    registry = openKeyRegistry(opened, createDeps({ logger: QUIET }))
    const issuer = createKeyIssuer({ registry, pepper: PEPPER, clock: systemClock, random: systemRandom })
    const order = { env: 'live', consumer: { id: 'ada', username: 'ada' }, scopes: ['llm:chat:gpt-4o-*'] }
    key = (await issuer.issue(order)).key
    const single = membersOf(connection, join(folder, 'single.ndjson'))
    const { audit, api_key, scope, token_limit } = membersOf(connection, join(folder, 'gateway.ndjson'))
    const without = (member: object, ...names: readonly string[]) =>
      Object.fromEntries(Object.entries(member).filter(([name]) => !names.includes(name)))
    const shared = {
      redis: connection,
      revocation: {},
      audit,
      api_key: without(api_key, 'store', 'redis'),
      scope: without(scope, 'revocation'),
      token_limit: without(token_limit, 'store', 'redis'),
    }
    kong = await startKong({
      config: configOf(model.url, {
        single: [
          { name: 'llm-audit-log', config: single.audit },
          { name: 'llm-api-key', config: single.api_key },
          { name: 'llm-scope', config: single.scope },
          { name: 'llm-token-limit', config: single.token_limit },
        ],
        gateway: [{ name: 'llm-gateway', config: shared }],
      }),
    })
  })
  afterAll(async () => {
    await kong?.stop()
    await registry?.close()
    await redis?.close()
    await model?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  const records = (name: string): readonly AuditRecord[] => {
    const path = join(folder, `${name}.ndjson`)
    const lines = existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : []
    return lines.map((line) => JSON.parse(line) as AuditRecord)
  }
  const told = (record: AuditRecord) =>
    Object.fromEntries(Object.entries(record).filter(([name]) => !OWN.includes(name)))

  async function both(request: Omit<Ask, 'route'>) {
    const seen = []
    const left: number[] = []
    for (const route of ['single', 'gateway']) {
      const before = records(route).length
      const reply = await ask(kong, { key, ...request, route })
      await vi.waitFor(() => expect(records(route).length).toBe(before + 1), { timeout: 10_000, interval: 20 })
      const record = records(route).at(-1)
      const headers = [...reply.headers.keys()].filter((name) => name.startsWith('x-ratelimit-remaining'))
      left.push(Number(reply.headers.get('x-ratelimit-remaining-tokens')))
      const code = reply.status === 200 ? undefined : codeOf(reply)
      seen.push({ status: reply.status, code, headers, record: record === undefined ? undefined : told(record) })
    }
    return { single: seen[0], gateway: seen[1], left: left[1] ?? Number.NaN }
  }

  type Case = readonly [what: string, status: number, code: string | undefined, request: Omit<Ask, 'route'>]
  const RULES: Readonly<Record<string, string>> = {
    insufficient_scope: 'llm:chat',
    request_exceeds_limit: 'tokens',
  }
  test.each<Case>([
    ['a call that is let through', 200, undefined, { body: chat({ user: 'marie.curie@sorbonne.example' }) }],
    ['a stream', 200, undefined, { body: chat({ stream: true }) }],
    ['a key that nobody issued', 401, 'invalid_key', { key: `pc_live_${'a'.repeat(8)}` }],
    ['a model that was not granted', 403, 'insufficient_scope', { body: chat({ model: 'o1' }) }],
    ['more than the limit', 429, 'request_exceeds_limit', { body: chat({ max_tokens: 5_000 }) }],
    ['a body that is no JSON', 400, 'invalid_request', { body: '{' }],
  ])('%s ends, and is recorded, as with the four single plugins', async (_, status, code, request) => {
    const { single, gateway } = await both(request)
    expect([single?.status, single?.code]).toEqual([status, code])
    expect(gateway).toEqual(single)
    expect(gateway?.record).toMatchObject({
      'portcullis.decision': status === 200 ? 'pass' : 'reject',
      ...(status === 200
        ? {
            'user.name': 'ada',
            'portcullis.would_reject': ['request_exceeds_limit'],
            'portcullis.would_reject.rules': ['watched'],
          }
        : {}),
    })
    expect(gateway?.record?.['portcullis.rule']).toBe(RULES[code ?? ''])
  })

  test('what a refused call held is given back', async () => {
    const before = await both({})
    for (let sent = 0; sent < 3; sent++) await both({ body: chat({ max_tokens: 5_000 }) })
    const after = await both({})
    expect(before.left).toBeGreaterThan(200)
    // What one call reserves, and what the first of the two was settled to.
    expect(after.left).toBeGreaterThan(before.left - 150)
  })

  test('an unknown option is refused by Kong itself, with its path', async () => {
    const config = { token_limit: { limits: [{ name: 'x', limit: 1, window_seconds: 1, max: 1 }] } }
    await expect(kong.apply(configOf(model.url, { gateway: [{ name: 'llm-gateway', config }] }))).rejects.toThrow(
      /token_limit[\s\S]*max/,
    )
  })
})
