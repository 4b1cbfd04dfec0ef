/** One gateway process of the overshoot test: reserves as fast as it can until it is refused. */

import type { CounterSpec } from '../../../../policies/stores/ports.ts'
import { openRedisStore } from '../../../support/redis/store.ts'
import { claimOf, reserve } from './helpers.ts'

export interface Run {
  readonly caller: string
  readonly counter: CounterSpec
  readonly cost: number
  readonly inFlight: number
}

export interface RunResult {
  readonly admitted: number
  readonly faults: number
}

const { store } = openRedisStore(
  { port: Number(process.argv[2]), command_timeout_ms: 30_000 },
  { on_store_error: 'deny' },
)
await store.ready()

process.on('message', (run: Run) => {
  void play(run).then((result) => process.send?.(result))
})
process.on('disconnect', () => {
  void store.close()
})
process.send?.('ready')

async function play({ caller, counter, cost, inFlight }: Run): Promise<RunResult> {
  const asked = claimOf(caller, counter, cost)
  let admitted = 0
  let faults = 0
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      for (;;) {
        const result = await reserve(store, asked).catch(() => undefined)
        if (result === undefined) faults++
        if (result?.admitted !== true) return
        admitted++
      }
    }),
  )
  return { admitted, faults }
}
