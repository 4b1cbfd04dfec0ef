/** One gateway process of the overshoot test: reserves as fast as it can until it is refused. */

import { randomUUID } from 'node:crypto'
import type { Claim, CounterSpec, ReserveResult } from '../../../../policies/stores/ports.ts'
import { sleep } from '../../../support/redis/server.ts'
import { openRedisStore } from '../../../support/redis/store.ts'
import { claimOf, entryOf, firstOf, reserve } from './helpers.ts'

export interface Run {
  readonly caller: string
  readonly counter: CounterSpec
  /** Of every request; with `settling` the most that one may cost. */
  readonly cost: number
  readonly inFlight: number
  /** Costs are mixed, and requests are settled. */
  readonly settling?: {
    /** The most that is really used, in parts of what was reserved. */
    readonly upTo: number
    /** Milliseconds to go on after a refusal; 0 ends with it. */
    readonly forMs: number
  }
}

export interface Booking {
  /** The counter's own clock at the admission. */
  readonly at: number
  readonly reserved: number
  readonly actual: number
  /** Epoch milliseconds between which it was settled. */
  readonly settled: readonly [number, number]
}

export interface RunResult {
  readonly admitted: number
  readonly faults: number
  readonly bookings: readonly Booking[]
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

async function play({ caller, counter, cost, inFlight, settling }: Run): Promise<RunResult> {
  const end = Date.now() + (settling?.forMs ?? 0)
  const bookings: Booking[] = []
  let admitted = 0
  let faults = 0

  async function settle(asked: Claim, result: ReserveResult, upTo: number): Promise<void> {
    const { at, reserved } = firstOf(result)
    const actual = Math.floor(Math.random() * upTo * (reserved + 1))
    const before = Date.now()
    await store.settle({ id: randomUUID(), entries: [entryOf(asked, result, actual)] })
    bookings.push({ at, reserved, actual, settled: [before, Date.now()] })
  }

  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      for (;;) {
        const asked = claimOf(caller, counter, settling === undefined ? cost : 1 + Math.floor(Math.random() * cost))
        const result = await reserve(store, asked).catch(() => undefined)
        if (result === undefined) faults++
        if (result?.admitted === true) {
          admitted++
          if (settling !== undefined) await settle(asked, result, settling.upTo)
        } else if (Date.now() >= end) {
          return
        } else {
          await sleep(5)
        }
      }
    }),
  )
  return { admitted, faults, bookings }
}
