import { describe } from 'vitest'
import type { GatewaySetup, GatewayUnderTest } from '../conformance/gateway.ts'
import { withTokenLimit } from '../conformance/gateway-form.ts'
import { conformance } from '../conformance/scenarios.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { KongConfig, PluginConfig } from './support/kong.ts'

/** @param form the plugin under test */
function kongWith(name: string, form: (tokenLimit: object) => PluginConfig): GatewayUnderTest {
  return {
    name,
    async start(setup) {
      const keys = Object.fromEntries(setup.consumers.map(({ name }) => [name, `key-of-${name}`]))
      const kong = await startKong({ config: configFor(setup, form(setup.tokenLimit), keys) })
      return { baseUrl: kong.url, keys, stop: () => kong.stop() }
    },
  }
}

function configFor(setup: GatewaySetup, plugin: PluginConfig, keys: Readonly<Record<string, string>>): KongConfig {
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
          plugin,
          { name: 'llm-guard', config: { require: [plugin.name] } },
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

describe.skipIf(kongMissing)('on a real Kong', () => {
  conformance(kongWith('Kong', (config) => ({ name: 'llm-token-limit', config })))
  conformance(kongWith('Kong with llm-gateway', (config) => ({ name: 'llm-gateway', config: withTokenLimit(config) })))
})
