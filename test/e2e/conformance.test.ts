import { describe } from 'vitest'
import type { GatewaySetup, GatewayUnderTest } from '../conformance/gateway.ts'
import { conformance } from '../conformance/scenarios.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { KongConfig } from './support/kong.ts'

const kongUnderTest: GatewayUnderTest = {
  name: 'Kong',
  async start(setup) {
    const keys = Object.fromEntries(setup.consumers.map(({ name }) => [name, `key-of-${name}`]))
    const kong = await startKong({ config: configFor(setup, keys) })
    return { baseUrl: kong.url, keys, stop: () => kong.stop() }
  },
}

function configFor(setup: GatewaySetup, keys: Readonly<Record<string, string>>): KongConfig {
  const authorization = [`authorization:Bearer ${setup.upstreamKey}`]
  return {
    _format_version: '3.0',
    services: [
      {
        name: 'llm',
        url: setup.upstreamUrl,
        retries: 0,
        read_timeout: 5_000,
        routes: [{ name: 'llm', paths: ['/'], strip_path: false }],
        plugins: [
          { name: 'llm-key' },
          { name: 'key-auth', config: { key_names: ['apikey'], hide_credentials: true } },
          { name: 'llm-edge' },
          { name: 'llm-token-limit', config: setup.tokenLimit },
          { name: 'llm-guard', config: { require: ['llm-token-limit'] } },
          {
            name: 'request-transformer',
            config: { replace: { headers: authorization }, add: { headers: authorization } },
          },
        ],
      },
    ],
    consumers: setup.consumers.map(({ name, tags }) => ({
      username: name,
      tags,
      keyauth_credentials: [{ key: keys[name] }],
    })),
  }
}

describe.skipIf(kongMissing)('on a real Kong', () => conformance(kongUnderTest))
