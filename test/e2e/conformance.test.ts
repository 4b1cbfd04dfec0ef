import { describe } from 'vitest'
import type { GatewayUnderTest } from '../conformance/gateway.ts'
import { withTokenLimit } from '../conformance/gateway-form.ts'
import { conformance } from '../conformance/scenarios.ts'
import { configFor, keysOf } from './support/conformance-config.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { PluginConfig } from './support/kong.ts'

/**
 * @param form the plugin under test
 * @param edge fields of llm-edge
 */
function kongWith(name: string, form: (tokenLimit: object) => PluginConfig, edge: object = {}): GatewayUnderTest {
  return {
    name,
    async start(setup) {
      const kong = await startKong({ config: configFor(setup, [form(setup.tokenLimit)], edge) })
      return { baseUrl: kong.url, keys: keysOf(setup), stop: () => kong.stop() }
    },
  }
}

describe.skipIf(kongMissing)('on a real Kong', () => {
  conformance(kongWith('Kong', (config) => ({ name: 'llm-token-limit', config })))
  conformance(kongWith('Kong in its own way', (config) => ({ name: 'llm-token-limit', config }), { direct: false }))
  conformance(kongWith('Kong with llm-gateway', (config) => ({ name: 'llm-gateway', config: withTokenLimit(config) })))
})
