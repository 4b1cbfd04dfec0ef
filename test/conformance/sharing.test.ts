import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe } from 'vitest'
import { bundle } from '../../plugins/kong/bundle.ts'
import { startModel } from '../support/model/index.ts'
import { haveRedisServer } from '../support/redis/backends.ts'
import { sharing } from './sharing.ts'
import { billedBy, startGatewayProcess, startPluginServer } from './sharing-nodes.ts'
import { sharedLimits } from './sharing-setup.ts'

describe.skipIf(!haveRedisServer('gateways that share a limit'))('gateway nodes', () => {
  sharing('two portcullis-kong servers and two Express Gateways', async (redis) => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-sharing-'))
    const model = await startModel({ keep: 100_000, knobs: { output: 7 } })
    await bundle(folder)
    const command = join(folder, 'portcullis-kong.cjs')
    const tokenLimit = sharedLimits(redis, 4)
    const gateway = new URL('./sharing-gateway.ts', import.meta.url)
    const setup = { upstreamUrl: model.url, tokenLimit }
    const nodes = await Promise.all([
      startPluginServer('kong-1', { command, folder, tokenLimit }),
      startPluginServer('kong-2', { command, folder, tokenLimit }),
      startGatewayProcess('express-gateway-1', gateway, setup),
      startGatewayProcess('express-gateway-2', gateway, setup),
    ])
    return {
      nodes,
      used: () => billedBy(model) + nodes.reduce((sum, { used }) => sum + used(), 0),
      async stop() {
        await Promise.all(nodes.map(({ stop }) => stop()))
        await model.close()
        rmSync(folder, { recursive: true })
      },
    }
  })
})
