import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { openRevocationStore, type RevocationKey, revocationFields } from '../../policies/revocation/index.ts'
import { parseConfig } from '../../policies/schema/parse.ts'
import { createNode } from '../policies/revocation/support.ts'
import { AUDIENCE, ISSUER, type IssuerKey, makeKey, sign } from '../support/jwks/issuer.ts'
import { type Model, startModel } from '../support/model/index.ts'
import { haveRedisServer } from '../support/redis/backends.ts'
import { type RedisServer, startRedis } from '../support/redis/server.ts'
import { chat, codeOf } from './support/ask.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong } from './support/kong.ts'
import { ANONYMOUS_OR_KEY, configOf, ENV, guarded, KEY } from './support/scope-config.ts'

describe.skipIf(kongMissing || !haveRedisServer('the deny list on a real Kong'))('the deny list on a real Kong', () => {
  let model: Model
  let redis: RedisServer
  let kong: Kong
  let idp: IssuerKey
  let revocation: Readonly<Record<string, unknown>>

  beforeAll(async () => {
    model = await startModel()
    // Nothing may hang on messages between nodes.
    const blocked = ['SUBSCRIBE', 'PSUBSCRIBE', 'PUBLISH'].flatMap((name) => ['--rename-command', name, ''])
    redis = await startRedis({ args: blocked })
    revocation = { store: 'redis', redis: { host: redis.host, port: redis.port }, on_store_error: 'deny' }
    idp = await makeKey('k-1')
    const issuers = [{ issuer: ISSUER, jwks: JSON.stringify({ keys: [idp.jwk] }), audiences: [AUDIENCE] }]
    const limits = [{ name: 'tokens', limit: 1_000_000, window_seconds: 60 }]
    const limit = { name: 'llm-token-limit', config: { limits, revocation } }
    kong = await startKong({
      env: ENV,
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
        ],
        ['llm:chat'],
      ),
    })
  })
  afterAll(async () => {
    await kong?.stop()
    await redis?.close()
    await model?.close()
  })

  test.each(['scoped', 'limited'])(
    '%s: what another node revokes is refused, and what it lifts gets in again',
    async (route) => {
      const { deps } = createNode()
      const store = openRevocationStore(parseConfig(revocationFields, revocation), deps)
      const now = Math.floor(Date.now() / 1_000)
      const token = await sign(idp, now, { claims: { jti: `t-${route}`, sub: `sub-${route}`, scope: 'llm:chat' } })
      const other = await sign(idp, now, { claims: { jti: 'other', sub: 'other', scope: 'llm:chat' } })
      const ask = async (secret: string) => {
        const headers = { authorization: `Bearer ${secret}`, 'content-type': 'application/json' }
        const url = `${kong.url}/${route}/v1/chat/completions`
        const reply = await fetch(url, { method: 'POST', headers, body: JSON.stringify(chat()) })
        const code = codeOf({ status: reply.status, headers: reply.headers, text: await reply.text() })
        return reply.status === 200 ? 200 : code
      }
      const keys: readonly (readonly [RevocationKey, string, string])[] = [
        [{ kind: 'jti', value: `t-${route}` }, token, 'invalid_token'],
        [{ kind: 'sub', value: `sub-${route}`, issuer: ISSUER }, token, 'invalid_token'],
        [{ kind: 'consumer', value: 'ada' }, KEY, 'key_revoked'],
        [{ kind: 'credential', value: createHash('sha256').update(KEY).digest('hex') }, KEY, 'key_revoked'],
      ]
      for (const [revoked, secret, code] of keys) {
        expect(await ask(secret)).toBe(200)
        await store.revoke({ ...revoked, reason: 'leaked', revokedAt: Date.now(), expiresAt: Date.now() + 60_000 })
        await vi.waitFor(async () => expect(await ask(secret)).toBe(code), { timeout: 5_000, interval: 20 })
        expect(await ask(other)).toBe(200)
        await store.lift(revoked)
        await vi.waitFor(async () => expect(await ask(secret)).toBe(200), { timeout: 5_000, interval: 20 })
      }
    },
  )
})
