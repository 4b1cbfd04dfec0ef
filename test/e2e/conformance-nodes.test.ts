/**
 * Both forms of the pack, all four policies in each, on two Kong nodes that share Redis: request by request another node
 * is asked.
 */

import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { openRevocationStore, revocationFields } from '../../policies/revocation/index.ts'
import { parseConfig } from '../../policies/schema/parse.ts'
import type { GatewayUnderTest } from '../conformance/gateway.ts'
import { asSingles, type Form, inOne, type Policies, withScope, withTokenLimit } from '../conformance/gateway-form.ts'
import { conformance } from '../conformance/scenarios.ts'
import { type ScopeSetup, scopeConformance } from '../conformance/scope.ts'
import { createNode } from '../policies/revocation/support.ts'
import { type Model, startModel } from '../support/model/index.ts'
import { haveRedisServer } from '../support/redis/backends.ts'
import { type RedisServer, startRedis } from '../support/redis/server.ts'
import { chat, codeOf } from './support/ask.ts'
import { configFor, keysOf } from './support/conformance-config.ts'
import { kongMissing } from './support/host.ts'
import type { KongConfig } from './support/kong.ts'
import { type KongNodes, startKongNodes } from './support/kong-nodes.ts'
import { AUTH, configOf, guardedByAll, KEY, scopeRoutes } from './support/scope-config.ts'

const FORMS: readonly (readonly [name: string, form: Form])[] = [
  ['the single plugins', asSingles],
  ['llm-gateway', inOne],
]

/** The same policies, with all that they remember in one Redis. */
function sharing({ audit, api_key, scope, token_limit }: Policies, redis: RedisServer, nodes: number): Policies {
  const { host, port } = redis
  // A machine under load is not an outage.
  const store = { store: 'redis', redis: { host, port, command_timeout_ms: 3_000 } }
  return {
    audit,
    api_key: { ...api_key, ...store },
    scope: { ...scope, revocation: store },
    token_limit: { ...token_limit, ...store, nodes },
  }
}

describe.skipIf(kongMissing || !haveRedisServer('two Kongs with one Redis'))('on two real Kongs with one Redis', () => {
  let nodes: KongNodes
  const asked = new Map<string, number>()

  beforeAll(async () => {
    nodes = await startKongNodes(2)
  }, 120_000)
  afterAll(() => nodes?.stop())

  /** With a Redis of its own, until it is stopped. Every time its address is read it is another node's. */
  async function serving(policies: Policies, form: Form, config: (plugins: ReturnType<Form>) => KongConfig) {
    const redis = await startRedis()
    await nodes.apply(config(form(sharing(policies, redis, nodes.urls.length))))
    let turn = 0
    return {
      get baseUrl() {
        const url = nodes.urls[turn++ % nodes.urls.length] ?? ''
        asked.set(url, (asked.get(url) ?? 0) + 1)
        return url
      },
      redis,
      stop: () => redis.close(),
    }
  }

  const scopesServed = (form: Form, { upstreamUrl, scope, tags }: ScopeSetup) =>
    serving(withScope(scope), form, (plugins) =>
      configOf(upstreamUrl, scopeRoutes(guardedByAll(plugins, ...AUTH)), tags),
    )

  describe.each(FORMS)('%s', (name, form) => {
    const gateway: GatewayUnderTest = {
      name,
      async start(setup) {
        const served = await serving(withTokenLimit(setup.tokenLimit), form, (plugins) => configFor(setup, plugins))
        return Object.assign(served, { keys: keysOf(setup) })
      },
    }
    conformance(gateway)

    scopeConformance(name, async (setup) => Object.assign(await scopesServed(form, setup), { key: KEY }))

    it('what is revoked is refused by every node, and what is lifted gets in again', async () => {
      const model: Model = await startModel()
      const served = await scopesServed(form, { upstreamUrl: model.url, scope: {}, tags: ['llm:chat'] })
      const { host, port } = served.redis
      const fields = parseConfig(revocationFields, { store: 'redis', redis: { host, port } })
      const store = openRevocationStore(fields, createNode().deps)
      const everywhere = (expected: number | string) =>
        vi.waitFor(
          async () => expect(await Promise.all(nodes.urls.map(said))).toEqual(nodes.urls.map(() => expected)),
          { timeout: 5_000, interval: 50 },
        )
      try {
        const key = { kind: 'consumer', value: 'ada' } as const
        await everywhere(200)
        await store.revoke({ ...key, reason: 'leaked', revokedAt: Date.now(), expiresAt: Date.now() + 60_000 })
        await everywhere('key_revoked')
        await store.lift(key)
        await everywhere(200)
      } finally {
        await served.stop()
        await model.close()
      }
    })
  })

  it('all that was asked of both', () => {
    const counts = [...asked.values()]
    expect(counts).toHaveLength(2)
    expect(Math.min(...counts)).toBeGreaterThan(400)
  })
})

/** 200, or the code of a refusal. */
async function said(url: string): Promise<number | string | undefined> {
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${KEY}` }
  const reply = await fetch(`${url}/v1/chat/completions`, { method: 'POST', headers, body: JSON.stringify(chat()) })
  const { status } = reply
  const text = await reply.text()
  return status === 200 ? status : codeOf({ status, headers: reply.headers, text })
}
