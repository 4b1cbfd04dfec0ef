import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { CounterSpec } from '../../../../policies/stores/ports.ts'
import { haveRedisServer } from '../../../support/redis/backends.ts'
import { type RedisServer, sleep, startRedis } from '../../../support/redis/server.ts'
import { type OpenedStore, openRedisStore } from '../../../support/redis/store.ts'
import type { Booking, Run, RunResult } from './overshoot-worker.ts'

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
        await awayFromBorder()
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

  describe('with mixed costs, and settled to what was used', () => {
    let operator: OpenedStore
    beforeAll(async () => {
      operator = openRedisStore({ port: server.port }, { observer: true })
      await operator.store.ready()
    })
    afterAll(() => operator.store.close())

    const HUGE = 20_000
    it.each([
      ['sliding_window', 1],
      ['fixed_window', 1],
      ['token_bucket', 1],
      ['sliding_window', 3],
      ['fixed_window', 3],
      ['token_bucket', 3],
    ] as const)(
      'book exactly that (%s, up to %d times the reservation)',
      async (algorithm, upTo) => {
        const counter: CounterSpec = { algorithm, limit: HUGE, windowSeconds: 3600 }
        const caller = `consumer=9:mixed-${upTo}`
        await awayFromBorder()
        const start = Date.now()
        const settling = { upTo, forMs: 0 }
        const results = await together({ caller, counter, cost: 40, inFlight: IN_FLIGHT, settling })
        expect(results.map(({ faults }) => faults)).toEqual([0, 0, 0, 0])
        const bookings = results.flatMap((result) => result.bookings)
        const actual = sum(bookings.map((booking) => booking.actual))
        const over = bookings.map((booking) => Math.max(0, booking.actual - booking.reserved))
        // Only what is under way can overshoot, by no more than it uses beyond its reservation.
        const atOnce = over.toSorted((a, b) => b - a).slice(0, PROCESSES * IN_FLIGHT)
        const refilled = algorithm === 'token_bucket' ? Math.ceil(((Date.now() - start) * HUGE) / 3_600_000) : 0
        expect(actual).toBeLessThanOrEqual(HUGE + sum(atOnce) + refilled)
        const used = (await operator.store.show(caller)).find(({ key }) => key.endsWith(algorithm))?.used ?? 0
        expect(used).toBeLessThanOrEqual(actual)
        expect(used).toBeGreaterThanOrEqual(actual - refilled - 1)
      },
      60_000,
    )

    const LIMIT_ROLLING = 3000
    it.each(['sliding_window', 'fixed_window', 'token_bucket'] as const)(
      'stay within the bound while the window moves on (%s)',
      async (algorithm) => {
        const counter: CounterSpec = { algorithm, limit: LIMIT_ROLLING, windowSeconds: 1 }
        const settling = { upTo: 1, forMs: 2500 }
        const results = await together({
          caller: 'consumer=7:rolling',
          counter,
          cost: 60,
          inFlight: IN_FLIGHT,
          settling,
        })
        expect(results.map(({ faults }) => faults)).toEqual([0, 0, 0, 0])
        const bookings = results.flatMap((result) => result.bookings)
        expect(sum(bookings.map(({ actual }) => actual))).toBeGreaterThan(LIMIT_ROLLING)
        expect(excessOf(counter, bookings)).toBeLessThanOrEqual(0)
      },
      60_000,
    )
  })
})

/** By how much the worst interval goes over DESIGN's bound; at most 0 when it holds. */
function excessOf({ algorithm, limit, windowSeconds }: CounterSpec, bookings: readonly Booking[]): number {
  const windowMs = windowSeconds * 1000
  const kept = (among: readonly Booking[]) => sum(among.map(({ reserved, actual }) => Math.min(reserved, actual)))
  if (algorithm === 'fixed_window') {
    const windowOf = ({ at }: Booking) => Math.floor(at / windowMs)
    const windows = [...new Set(bookings.map(windowOf))]
    return Math.max(...windows.map((window) => kept(bookings.filter((each) => windowOf(each) === window)) - limit))
  }
  const times = [...new Set(bookings.map(({ at }) => at))].sort((a, b) => a - b)
  if (algorithm === 'sliding_window')
    return Math.max(
      ...times.map((from) => kept(bookings.filter(({ at }) => at >= from && at < from + windowMs)) - limit),
    )
  const some = times.filter((_, index) => index % Math.ceil(times.length / 100) === 0)
  return Math.max(
    ...some.flatMap((from) =>
      some
        .filter((to) => to >= from)
        .map((to) => {
          const taken = sum(bookings.filter(({ at }) => at >= from && at <= to).map(({ reserved }) => reserved))
          const refunded = sum(
            bookings
              .filter(({ settled: [before, after] }) => after >= from && before <= to)
              .map(({ reserved, actual }) => Math.max(0, reserved - actual)),
          )
          return taken - refunded - limit - ((to - from) * limit) / windowMs
        }),
    ),
  )
}

/** An aligned window may end in the middle of a run; that would be two windows. */
async function awayFromBorder(): Promise<void> {
  const untilBorder = 3_600_000 - (Date.now() % 3_600_000)
  if (untilBorder < 5_000) await sleep(untilBorder)
}

function sum(amounts: readonly number[]): number {
  return amounts.reduce((total, amount) => total + amount, 0)
}
