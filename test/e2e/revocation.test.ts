import { createHash } from 'node:crypto'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { AuditRecord } from '../../policies/audit/index.ts'
import { openRevocationStore, type RevocationKey, revocationFields } from '../../policies/revocation/index.ts'
import { parseConfig } from '../../policies/schema/parse.ts'
import { createNode } from '../policies/revocation/support.ts'
import { AUDIENCE, ISSUER, type IssuerKey, makeKey, sign } from '../support/jwks/issuer.ts'
import { type Model, startModel } from '../support/model/index.ts'
import { haveRedisServer } from '../support/redis/backends.ts'
import { type RedisServer, startRedis } from '../support/redis/server.ts'
import { chat, codeOf } from './support/ask.ts'
import { IN_IMAGE } from './support/environment.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong } from './support/kong.ts'
import { ANONYMOUS_OR_KEY, AUTH, configOf, ENV, guarded, guardedBy, KEY } from './support/scope-config.ts'

const POLLING = { timeout: 5_000, interval: 20 }

const AUDIT_ENV = {
  KONG_PLUGINS: `${ENV.KONG_PLUGINS},llm-audit-log`,
  KONG_PLUGINSERVER_NAMES: `${ENV.KONG_PLUGINSERVER_NAMES},llm-audit-log`,
  KONG_PLUGINSERVER_LLM_AUDIT_LOG_SOCKET: IN_IMAGE.socket,
  KONG_PLUGINSERVER_LLM_AUDIT_LOG_QUERY_CMD: `${IN_IMAGE.server} dump llm-audit-log`,
}

describe.skipIf(kongMissing || !haveRedisServer('the deny list on a real Kong'))('the deny list on a real Kong', () => {
  let folder: string
  let model: Model
  let redis: RedisServer
  let kong: Kong
  let idp: IssuerKey
  let revocation: Readonly<Record<string, unknown>>

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-revocation-'))
    // Kong's workers may be another user.
    chmodSync(folder, 0o777)
    model = await startModel()
    // Nothing may hang on messages between nodes.
    const blocked = ['SUBSCRIBE', 'PSUBSCRIBE', 'PUBLISH'].flatMap((name) => ['--rename-command', name, ''])
    redis = await startRedis({ args: blocked })
    revocation = { store: 'redis', redis: { host: redis.host, port: redis.port }, on_store_error: 'deny' }
    idp = await makeKey('k-1')
    const issuers = [{ issuer: ISSUER, jwks: JSON.stringify({ keys: [idp.jwk] }), audiences: [AUDIENCE] }]
    const limits = [{ name: 'tokens', limit: 1_000_000, window_seconds: 60 }]
    const auditTo = (name: string) => {
      const sink = { type: 'file', path: join(folder, `${name}.ndjson`), flush_ms: 0 }
      return { name: 'llm-audit-log', config: { sinks: [sink] } }
    }
    const limit = { name: 'llm-token-limit', config: { limits, revocation } }
    kong = await startKong({
      env: { ...ENV, ...AUDIT_ENV },
      config: configOf(
        model.url,
        [
          {
            name: 'scoped',
            path: '/scoped',
            strip: true,
            plugins: guarded({ jwt: { issuers }, revocation }, ...ANONYMOUS_OR_KEY),
          },
          {
            // The token is verified by one plugin, and judged by the other.
            name: 'limited',
            path: '/limited',
            strip: true,
            plugins: [...guarded({ jwt: { issuers } }, ...ANONYMOUS_OR_KEY), limit],
          },
          {
            // Nothing but limits and a log, as where Kong's own plugins say who calls.
            name: 'audited',
            path: '/audited',
            strip: true,
            plugins: [...guardedBy(limit, ...AUTH), auditTo('audited')],
          },
          {
            name: 'recorded',
            path: '/recorded',
            strip: true,
            plugins: [...guardedBy(auditTo('recorded'), ...AUTH)],
          },
        ],
        ['llm:chat'],
      ),
    })
  })
  afterAll(async () => {
    await kong?.stop()
    await redis?.close()
    await model?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  /** 200, or the code of a refusal. */
  async function said(route: string, headers: Readonly<Record<string, string>>): Promise<200 | string | undefined> {
    const url = `${kong.url}/${route}/v1/chat/completions`
    const all = { ...headers, 'content-type': 'application/json' }
    const reply = await fetch(url, { method: 'POST', headers: all, body: JSON.stringify(chat()) })
    const text = await reply.text()
    return reply.status === 200 ? 200 : codeOf({ status: reply.status, headers: reply.headers, text })
  }

  const recordsOf = (route: string): readonly AuditRecord[] => {
    const path = join(folder, `${route}.ndjson`)
    const lines = existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : []
    return lines.map((line) => JSON.parse(line) as AuditRecord)
  }

  test('a revoked key is refused beside the audit log by whoever decides, and recorded; the log alone refuses none', async () => {
    const { deps } = createNode()
    const store = openRevocationStore(parseConfig(revocationFields, revocation), deps)
    const key = { kind: 'consumer', value: 'ada' } as const
    const headers = { apikey: KEY }
    expect(await said('audited', headers)).toBe(200)
    await store.revoke({ ...key, reason: 'leaked', revokedAt: Date.now(), expiresAt: Date.now() + 60_000 })
    await vi.waitFor(async () => expect(await said('audited', headers)).toBe('key_revoked'), POLLING)
    const refused = { 'portcullis.decision': 'reject', 'error.type': 'key_revoked' }
    await vi.waitFor(() => expect(recordsOf('audited')).toContainEqual(expect.objectContaining(refused)), POLLING)
    expect(await said('recorded', headers)).toBe(200)
    await store.lift(key)
    await vi.waitFor(async () => expect(await said('audited', headers)).toBe(200), POLLING)
  })

  test.each(['scoped', 'limited'])(
    '%s: what another node revokes is refused, and what it lifts gets in again',
    async (route) => {
      const { deps } = createNode()
      const store = openRevocationStore(parseConfig(revocationFields, revocation), deps)
      const now = Math.floor(Date.now() / 1_000)
      const token = await sign(idp, now, { claims: { jti: `t-${route}`, sub: `sub-${route}`, scope: 'llm:chat' } })
      const other = await sign(idp, now, { claims: { jti: 'other', sub: 'other', scope: 'llm:chat' } })
      const ask = (secret: string) => said(route, { authorization: `Bearer ${secret}` })
      const keys: readonly (readonly [RevocationKey, string, string])[] = [
        [{ kind: 'jti', value: `t-${route}` }, token, 'invalid_token'],
        [{ kind: 'sub', value: `sub-${route}`, issuer: ISSUER }, token, 'invalid_token'],
        [{ kind: 'consumer', value: 'ada' }, KEY, 'key_revoked'],
        [{ kind: 'credential', value: createHash('sha256').update(KEY).digest('hex') }, KEY, 'key_revoked'],
      ]
      for (const [revoked, secret, code] of keys) {
        expect(await ask(secret)).toBe(200)
        await store.revoke({ ...revoked, reason: 'leaked', revokedAt: Date.now(), expiresAt: Date.now() + 60_000 })
        await vi.waitFor(async () => expect(await ask(secret)).toBe(code), POLLING)
        expect(await ask(other)).toBe(200)
        await store.lift(revoked)
        await vi.waitFor(async () => expect(await ask(secret)).toBe(200), POLLING)
      }
    },
  )
})
