import { init } from '../../../plugins/express-gateway/index.ts'
import type { GatewaySetup, RunningGateway } from '../../conformance/gateway.ts'
import { conformance } from '../../conformance/scenarios.ts'
import { startGateway } from './support/gateway.ts'
import { llmConfig } from './support/llm-config.ts'

conformance({
  name: 'Express Gateway 1.16',
  async start({ tokenLimit, consumers, upstreamUrl, upstreamKey }: GatewaySetup): Promise<RunningGateway> {
    return startGateway({
      plugin: init,
      consumers: consumers.map(({ name, tags }) => ({ username: name, tags })),
      config: llmConfig({ upstreamUrl, upstreamKey, tokenLimit }),
    })
  },
})
