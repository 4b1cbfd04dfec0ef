/**
 * What every gateway with the pack must do, whatever it is: the same scenarios and the same expectations, run against a
 * real gateway and the model stand-in.
 */

import { afterAll, beforeAll, describe } from 'vitest'
import { startModel } from '../support/model/index.ts'
import { badInput } from './bad-input.ts'
import { calls } from './calls.ts'
import { clients } from './clients.ts'
import type { GatewayUnderTest } from './gateway.ts'
import { limits } from './limits.ts'
import { refusals } from './refusals.ts'
import { settling } from './settling.ts'
import { CONSUMERS, CUTTING, STANDARD } from './setup.ts'
import { streamCuts } from './stream-cuts.ts'
import type { Stage } from './world.ts'

const UPSTREAM_KEY = 'upstream-key-of-the-operator'

export function conformance(gateway: GatewayUnderTest): void {
  describe(`${gateway.name}: conformance`, () => {
    withGateway(gateway, 'limits', STANDARD, (stage) => {
      calls(stage)
      settling(stage)
      limits(stage)
      refusals(stage)
      badInput(stage)
      clients(stage)
    })
    withGateway(gateway, 'enforce_stream', CUTTING, streamCuts)
  })
}

function withGateway(
  gateway: GatewayUnderTest,
  name: string,
  tokenLimit: Readonly<Record<string, unknown>>,
  scenarios: (stage: Stage) => void,
): void {
  describe(name, () => {
    const stage: Stage = { current: undefined }
    const stops: (() => Promise<void>)[] = []
    beforeAll(async () => {
      const { listen, reachedAs } = gateway.modelHost ?? { listen: '127.0.0.1', reachedAs: '127.0.0.1' }
      const model = await startModel({ host: listen, apiKey: UPSTREAM_KEY })
      stops.push(() => model.close())
      const running = await gateway.start({
        tokenLimit,
        consumers: CONSUMERS,
        upstreamUrl: `http://${reachedAs}:${model.port}`,
        upstreamKey: UPSTREAM_KEY,
      })
      stops.push(() => running.stop())
      stage.current = { gateway: running, model }
    }, 120_000)
    afterAll(async () => {
      for (const stop of stops.reverse()) await stop()
    }, 60_000)
    scenarios(stage)
  })
}
