import { describe } from 'vitest'
import { sharing } from '../conformance/sharing.ts'
import { billedBy, type StartedNode, startGatewayProcess } from '../conformance/sharing-nodes.ts'
import { sharedLimits } from '../conformance/sharing-setup.ts'
import { startModel } from '../support/model/index.ts'
import { haveRedisServer } from '../support/redis/backends.ts'
import { kongMissing } from './support/host.ts'

describe.skipIf(kongMissing || !haveRedisServer('gateways that share a limit'))('real gateway nodes', () => {
  sharing('two Kongs and two Express Gateways', async (redis) => {
    const model = await startModel({ keep: 100_000, knobs: { output: 7 } })
    const setup = { upstreamUrl: model.url, tokenLimit: sharedLimits(redis, 4) }
    const kong = new URL('./support/sharing-kong.ts', import.meta.url)
    const gateway = new URL('../conformance/sharing-gateway.ts', import.meta.url)
    const nodes: StartedNode[] = []
    // One after the other: two Kongs at once are much for a small machine.
    for (const [name, module] of [
      ['kong-1', kong],
      ['kong-2', kong],
      ['express-gateway-1', gateway],
      ['express-gateway-2', gateway],
    ] as const)
      nodes.push(await startGatewayProcess(name, module, setup))
    return {
      nodes,
      used: () => billedBy(model),
      async stop() {
        await Promise.all(nodes.map(({ stop }) => stop()))
        await model.close()
      },
    }
  })
})
