/** The conformance scenarios on two Kong nodes that share Redis: request by request another node is asked. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { GatewayUnderTest } from '../conformance/gateway.ts'
import { singlesWithTokenLimit, withTokenLimit } from '../conformance/gateway-form.ts'
import { conformance } from '../conformance/scenarios.ts'
import { haveRedisServer } from '../support/redis/backends.ts'
import { startRedis } from '../support/redis/server.ts'
import { configFor, keysOf } from './support/conformance-config.ts'
import { kongMissing } from './support/host.ts'
import type { PluginConfig } from './support/kong.ts'
import { type KongNodes, startKongNodes } from './support/kong-nodes.ts'

describe.skipIf(kongMissing || !haveRedisServer('two Kongs with one Redis'))('on two real Kongs with one Redis', () => {
  let nodes: KongNodes
  const asked = new Map<string, number>()

  beforeAll(async () => {
    nodes = await startKongNodes(2)
  }, 120_000)
  afterAll(() => nodes?.stop())

  /** @param form the plugins under test */
  function nodesWith(name: string, form: (tokenLimit: object) => readonly PluginConfig[]): GatewayUnderTest {
    return {
      name,
      async start(setup) {
        const redis = await startRedis()
        const { host, port } = redis
        // A machine under load is not an outage.
        const shared = { store: 'redis', redis: { host, port, command_timeout_ms: 3_000 }, nodes: nodes.urls.length }
        await nodes.apply(configFor(setup, form({ ...setup.tokenLimit, ...shared })))
        let turn = 0
        return {
          get baseUrl() {
            const url = nodes.urls[turn++ % nodes.urls.length] ?? ''
            asked.set(url, (asked.get(url) ?? 0) + 1)
            return url
          },
          keys: keysOf(setup),
          stop: () => redis.close(),
        }
      },
    }
  }

  conformance(nodesWith('single plugins', singlesWithTokenLimit))
  conformance(nodesWith('llm-gateway', (config) => [{ name: 'llm-gateway', config: withTokenLimit(config) }]))

  it('all that was asked of both', () => {
    const counts = [...asked.values()]
    expect(counts).toHaveLength(2)
    expect(Math.min(...counts)).toBeGreaterThan(100)
  })
})
