import { describe } from 'vitest'
import type { GatewayUnderTest } from '../conformance/gateway.ts'
import { asSingles, inOne, type NamedConfig, withTokenLimit } from '../conformance/gateway-form.ts'
import { conformance } from '../conformance/scenarios.ts'
import { configFor, keysOf } from './support/conformance-config.ts'
import { kongMissing, startKong } from './support/host.ts'

/**
 * @param form the plugins under test
 * @param edge fields of llm-edge
 */
function kongWith(
  name: string,
  form: (tokenLimit: object) => readonly NamedConfig[],
  edge: object = {},
): GatewayUnderTest {
  return {
    name,
    async start(setup) {
      const kong = await startKong({ config: configFor(setup, form(setup.tokenLimit), edge) })
      return { baseUrl: kong.url, keys: keysOf(setup), stop: () => kong.stop() }
    },
  }
}

describe.skipIf(kongMissing)('on a real Kong', () => {
  conformance(kongWith('Kong', (config) => [{ name: 'llm-token-limit', config }]))
  const inKongsWay = { direct: false }
  conformance(kongWith('Kong in its own way', (config) => asSingles(withTokenLimit(config)), inKongsWay))
  conformance(kongWith('Kong with llm-gateway', (config) => inOne(withTokenLimit(config))))
})
