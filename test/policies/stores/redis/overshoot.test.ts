import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { CounterSpec } from '../../../../policies/stores/ports.ts'
import { haveRedisServer } from '../../../support/redis/backends.ts'
import { type RedisServer, startRedis } from '../../../support/redis/server.ts'
import type { Run, RunResult } from './overshoot-worker.ts'

const PROCESSES = 4
const IN_FLIGHT = 64
const RUNS = 20
const LIMIT = 1000
const COST = 7

describe.skipIf(!haveRedisServer('no overshoot'))('four processes with 64 callers at once each', () => {
  let server: RedisServer
  let workers: ChildProcess[] = []

  beforeAll(async () => {
    server = await startRedis()
    workers = Array.from({ length: PROCESSES }, () =>
      fork(new URL('./overshoot-worker.ts', import.meta.url), [String(server.port)], { execArgv: ['--import', 'tsx'] }),
    )
    await Promise.all(workers.map((worker) => once(worker, 'message')))
  }, 60_000)
  afterAll(async () => {
    await Promise.all(
      workers.map(async (worker) => {
        const gone = once(worker, 'exit')
        worker.disconnect()
        await gone
      }),
    )
    await server.close()
  })

  async function together(run: Run): Promise<RunResult[]> {
    return Promise.all(
      workers.map(async (worker) => {
        const answered = once(worker, 'message')
        worker.send(run)
        const [result] = await answered
        return result as RunResult
      }),
    )
  }

  it.each(['sliding_window', 'fixed_window', 'token_bucket'] as const)(
    'are admitted exactly as often as the limit allows, 20 times in a row (%s)',
    async (algorithm) => {
      const counter: CounterSpec = { algorithm, limit: LIMIT, windowSeconds: 3600 }
      for (let run = 0; run < RUNS; run++) {
        // An aligned window may end in the middle of a run; that would be two windows.
        const untilBorder = 3_600_000 - (Date.now() % 3_600_000)
        if (untilBorder < 5_000) await new Promise((resolve) => setTimeout(resolve, untilBorder))
        const results = await together({
          caller: `consumer=8:${algorithm}-${run}`,
          counter,
          cost: COST,
          inFlight: IN_FLIGHT,
        })
        expect(results.map(({ faults }) => faults)).toEqual([0, 0, 0, 0])
        expect(results.reduce((sum, { admitted }) => sum + admitted, 0)).toBe(Math.floor(LIMIT / COST))
      }
    },
    60_000,
  )
})
