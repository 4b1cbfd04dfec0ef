import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { inOne, type NamedConfig, withScope } from '../conformance/gateway-form.ts'
import { type ScopeGateway, type ScopeSetup, scopeConformance } from '../conformance/scope.ts'
import { scopeRandom } from '../conformance/scope-random.ts'
import { AUDIENCE, ISSUER, type IssuerKey, makeKey, sign } from '../support/jwks/issuer.ts'
import { type JwksServer, startJwksServer } from '../support/jwks/server.ts'
import { type Model, startModel } from '../support/model/index.ts'
import { chat, codeOf, type Reply } from './support/ask.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong } from './support/kong.ts'
import {
  ANONYMOUS_OR_KEY,
  AUTH,
  configOf,
  ENV,
  guarded,
  guardedByAll,
  KEY,
  scopeRoutes,
} from './support/scope-config.ts'

/** @param form what decides */
function scopeKong(form: (scope: object) => readonly NamedConfig[]): (setup: ScopeSetup) => Promise<ScopeGateway> {
  return async ({ upstreamUrl, scope, tags }) => {
    const routes = scopeRoutes(guardedByAll(form(scope), ...AUTH))
    const kong = await startKong({ config: configOf(upstreamUrl, routes, tags) })
    return { baseUrl: kong.url, key: KEY, stop: () => kong.stop() }
  }
}

const startScopeKong = scopeKong((config) => [{ name: 'llm-scope', config }])

describe.skipIf(kongMissing)('on a real Kong', () => {
  scopeConformance('Kong', startScopeKong)
  scopeConformance(
    'Kong with llm-gateway',
    scopeKong((scope) => inOne(withScope(scope))),
  )
  scopeRandom('Kong', startScopeKong)

  describe('tokens', () => {
    let model: Model
    let idp: JwksServer
    let kong: Kong
    let key: IssuerKey

    beforeAll(async () => {
      model = await startModel()
      key = await makeKey('k-1')
      idp = await startJwksServer({ keys: [key.jwk] })
      const jwt = { issuers: [{ issuer: ISSUER, jwks_url: idp.url, audiences: [AUDIENCE] }], cooldown_seconds: 1 }
      const minute = { name: 'tokens', window_seconds: 60 }
      const limits = [
        { ...minute, limit: 1_000_000, match: { claims: { tier: ['gold'] } } },
        { ...minute, limit: 1, match: { claims: { tier: ['free'] } }, count: 'requests', per: ['claim:sub'] },
      ]
      const scoped = guarded({ jwt })
      kong = await startKong({
        env: ENV,
        config: configOf(
          model.url,
          [
            { name: 'llm', path: '/llm', strip: true, plugins: scoped },
            {
              name: 'limited',
              path: '/limited',
              strip: true,
              plugins: [...scoped, { name: 'llm-token-limit', config: { limits } }],
            },
            { name: 'bare', path: '/bare', strip: true, plugins: [{ name: 'llm-scope', config: { jwt } }] },
            {
              name: 'either',
              path: '/either',
              strip: true,
              plugins: guarded({ jwt }, ...ANONYMOUS_OR_KEY),
            },
          ],
          ['llm:chat:gpt-5'],
        ),
      })
    })
    afterAll(async () => {
      await kong?.stop()
      await idp?.close()
      await model?.close()
    })

    const now = () => Math.floor(Date.now() / 1_000)

    async function ask(route: string, token: string | undefined, body: object = chat()): Promise<Reply> {
      const reply = await fetch(`${kong.url}/${route}/v1/chat/completions`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        },
        body: JSON.stringify(body),
      })
      return { status: reply.status, headers: reply.headers, text: await reply.text() }
    }

    test.each(['llm', 'bare'])('%s: a good token passes and does not travel on', async (route) => {
      expect((await ask(route, await sign(key, now()))).status).toBe(200)
      expect(model.requests.at(-1)?.headers.authorization).toBeUndefined()
    })

    test.each(['llm', 'bare'])('%s: a bad one is 401, a narrow one 403', async (route) => {
      const reached = model.requests.length
      const expired = await ask(route, await sign(key, now(), { claims: { exp: now() - 60 } }))
      expect([expired.status, codeOf(expired)]).toEqual([401, 'invalid_token'])
      expect(expired.headers.get('www-authenticate')).toContain('error="invalid_token"')
      const forged = await ask(route, await sign({ ...(await makeKey('k-1')), kid: 'k-1' }, now()))
      expect([forged.status, codeOf(forged)]).toEqual([401, 'invalid_token'])
      const none = await ask(route, undefined)
      expect([none.status, none.headers.get('www-authenticate')]).toEqual([401, 'Bearer realm="llm"'])
      const narrow = await ask(route, await sign(key, now(), { claims: { scope: 'llm:chat:gpt-5' } }))
      expect([narrow.status, codeOf(narrow)]).toEqual([403, 'insufficient_scope'])
      expect(model.requests.length).toBe(reached)
    })

    test('limits see the claims that were verified, and a caller cannot make them up', async () => {
      const gold = await sign(key, now(), { claims: { tier: 'gold', sub: 'gold-1' } })
      for (let at = 0; at < 3; at++) expect((await ask('limited', gold)).status).toBe(200)
      const free = await sign(key, now(), { claims: { tier: 'free', sub: 'free-1' } })
      const other = await sign(key, now(), { claims: { tier: 'free', sub: 'free-2' } })
      expect((await ask('limited', free)).status).toBe(200)
      expect((await ask('limited', free)).status).toBe(429)
      expect((await ask('limited', other)).status).toBe(200)
    })

    test('either a key or a token, each with its own grants; without either nobody gets in', async () => {
      const token = await sign(key, now(), { claims: { scope: 'llm:chat:gpt-4o-mini' } })
      expect((await ask('either', token)).status).toBe(200)
      expect(model.requests.at(-1)?.headers.authorization).toBeUndefined()
      expect((await ask('either', token, chat({ model: 'gpt-5' }))).status).toBe(403)
      expect((await ask('either', KEY, chat({ model: 'gpt-5' }))).status).toBe(200)
      expect((await ask('either', KEY)).status).toBe(403)
      // The anonymous consumer's tags are nobody's.
      for (const nobody of [undefined, 'a-key-of-nobody']) expect((await ask('either', nobody)).status).toBe(401)
      expect((await ask('either', await sign(key, now(), { claims: { exp: now() - 60 } }))).status).toBe(401)
    })

    test('tokens are in no log', async () => {
      const token = await sign(key, now(), { claims: { scope: 'llm:chat:gpt-5' } })
      await ask('llm', token)
      await ask('bare', `${token}x`)
      const log = await kong.log()
      for (const part of token.split('.')) expect(log).not.toContain(part)
    })
  })
})
