/** An Express Gateway as a process of its own, with the limits that others share. Ends when its parent lets go of it. */

import { init } from '../../plugins/express-gateway/index.ts'
import { startGateway } from '../plugins/express-gateway/support/gateway.ts'
import { llmConfig } from '../plugins/express-gateway/support/llm-config.ts'
import { CREDENTIALS } from './sharing-setup.ts'

export interface SharingGatewaySetup {
  readonly upstreamUrl: string
  readonly tokenLimit: Readonly<Record<string, unknown>>
}

const setup = JSON.parse(process.argv[2] ?? '') as SharingGatewaySetup
const gateway = await startGateway({
  plugin: init,
  consumers: CREDENTIALS.map((id, index) => ({ username: `caller-${index}`, key: `${id}:secret` })),
  config: llmConfig(setup),
})
process.once('disconnect', () => {
  void gateway.stop().then(() => process.exit(0))
})
process.send?.(gateway.baseUrl)
