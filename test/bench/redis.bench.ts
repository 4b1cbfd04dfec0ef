/**
 * Reservations through a real Redis against rate-limiter-flexible's `RateLimiterRedis`, each with its own connection to
 * the same server and so many requests in flight at once.
 */

import { performance } from 'node:perf_hooks'
import { Redis } from 'ioredis'
import { RateLimiterRedis } from 'rate-limiter-flexible'
import type { Claim, CounterSpec, ReserveResult, SettleEntry } from '../../policies/stores/ports.ts'
import type { RedisStore } from '../../policies/stores/redis/store.ts'
import { claimWith } from '../contract/limit-reference.ts'
import { redisVersion } from '../support/redis/backends.ts'
import { type RedisServer, startRedis } from '../support/redis/server.ts'
import { openRedisStore } from '../support/redis/store.ts'
import { type BenchRow, boundRow, median, quantile, ratioRow, type SideBySide } from './harness.ts'

const CALLERS = 1000
/** Many short rounds: what else the machine does then hits both sides alike. */
const ROUNDS = 41
const ROUND_MS = 60
const WARM_UP_MS = 1500
const PEER = 'rate-limiter-flexible'

const rules = [
  { name: 'tokens-hour', counter: { algorithm: 'sliding_window', limit: 1e9, windowSeconds: 3600 }, want: 900 },
  { name: 'requests-minute', counter: { algorithm: 'sliding_window', limit: 1e9, windowSeconds: 60 }, want: 0 },
  { name: 'tokens-day', counter: { algorithm: 'fixed_window', limit: 1e12, windowSeconds: 86_400 }, want: 900 },
] as const satisfies readonly { name: string; counter: CounterSpec; want: number }[]

export async function run(): Promise<readonly BenchRow[]> {
  if (redisVersion === undefined) throw new Error('there is no redis-server in the PATH')
  const server = await startRedis()
  const { store } = openRedisStore({ port: server.port, command_timeout_ms: 1000 }, { on_store_error: 'deny' })
  const client = new Redis({ port: server.port, host: server.host })
  try {
    await store.ready()
    return [
      ...(await reservations(store, client)),
      ...(await settlements(store)),
      await memoryRow(server, store, 1),
      await memoryRow(server, store, 3),
      await steadyMemoryRow(server),
      ...(await outages()),
    ]
  } finally {
    client.disconnect()
    await store.close()
    await server.close()
  }
}

async function reservations(store: RedisStore, client: Redis): Promise<BenchRow[]> {
  const limiters = rules.map(
    ({ name }) => new RateLimiterRedis({ storeClient: client, points: 1e9, duration: 3600, keyPrefix: name }),
  )
  const [limiter] = limiters
  if (limiter === undefined) throw new Error('no rules')
  const callers = Array.from(
    { length: CALLERS },
    (_, index) => `consumer=36:0123456789abcdef0123456789abcdef${index + 1000}`,
  )
  const single = callers.map((caller) => claimsOf(caller, 1))
  const triple = callers.map((caller) => claimsOf(caller, 3))
  let turn = 0
  const reserve = (claims: readonly (readonly Claim[])[]) => async () => {
    turn++
    const result = await store.reserve({ id: `bench-${turn}`, claims: claims[turn % CALLERS] ?? [] })
    if (!result.admitted) throw new Error('refused')
  }
  const consume = async () => {
    turn++
    await limiter.consume(callers[turn % CALLERS] ?? '', 1000)
  }
  const consumeThrice = async () => {
    turn++
    const caller = callers[turn % CALLERS] ?? ''
    for (const each of limiters) await each.consume(caller, 1000)
  }
  // Compiled before anything is measured.
  for (const work of [reserve(single), consume, reserve(triple), consumeThrice]) await rate(work, 16, WARM_UP_MS)
  const rows: BenchRow[] = []
  for (const [inFlight, one, three] of [
    [1, 0.9, 1.8],
    [16, 0.9, 1.3],
    [128, 0.8, 1.3],
  ] as const) {
    const single1 = await sideBySide(reserve(single), consume, inFlight)
    rows.push(ratioRow(`one rule, ${inFlight} in flight`, PEER, single1, one))
    const triple1 = await sideBySide(reserve(triple), consumeThrice, inFlight)
    rows.push(ratioRow(`three rules, ${inFlight} in flight`, `3 x ${PEER}`, triple1, three))
  }
  return rows
}

/** A reservation and its settlement against two reservations: settling costs no more than reserving, within a margin. */
async function settlements(store: RedisStore): Promise<BenchRow[]> {
  const callers = Array.from({ length: CALLERS }, (_, index) => claimsOf(`consumer=4:${index + 1000}`, 1))
  let turn = 0
  const reserve = async () => {
    turn++
    const claims = callers[turn % CALLERS] ?? []
    const result = await store.reserve({ id: `twice-${turn}`, claims })
    return { id: `twice-${turn}`, claims, result }
  }
  const both = async () => {
    const { id, claims, result } = await reserve()
    await store.settle({ id, entries: entriesOf(claims, result, 400) })
  }
  const twice = async () => {
    await reserve()
    await reserve()
  }
  return [ratioRow('reserve and settle, 16 in flight', 'reserve twice', await sideBySide(both, twice, 16), 0.5)]
}

/** What a request waits for a Redis that stands still, with the default time limit of 100 ms. */
async function outages(): Promise<BenchRow[]> {
  const claims = claimsOf('consumer=1:a', 3)
  const closed: number[] = []
  const open: number[] = []
  for (let round = 0; round < 5; round++) {
    const server = await startRedis()
    const { store } = openRedisStore({ port: server.port }, { nodes: 4 })
    let turn = 0
    const timed = async () => {
      const start = performance.now()
      await store.reserve({ id: `outage-${round}-${turn++}`, claims })
      return performance.now() - start
    }
    await store.ready()
    for (let times = 0; times < 200; times++) await timed()
    await server.freeze()
    for (let times = 0; times < 5; times++) closed.push(await timed())
    for (let times = 0; times < 400; times++) open.push(await timed())
    await server.thaw()
    await store.close()
    await server.close()
  }
  return [
    boundRow('wait while Redis stands still, breaker closed, median', median(closed), 'ms', 110),
    boundRow('wait while Redis stands still, breaker open, 99th of 100', quantile(open, 0.99), 'ms', 1),
  ]
}

/** Bytes that one active caller takes up, key and expiry included. */
async function memoryRow(server: RedisServer, store: RedisStore, count: number): Promise<BenchRow> {
  const client = server.client()
  const used = async () => Number(/used_memory:(\d+)/.exec(await client.info('memory'))?.[1] ?? 0)
  const callers = 20_000
  await client.flushall()
  const before = await used()
  for (let from = 0; from < callers; from += 500)
    await Promise.all(
      Array.from({ length: 500 }, (_, index) =>
        store.reserve({
          id: `m${from + index}`,
          claims: claimsOf(`consumer=36:${'0'.repeat(28)}${from + index + 1e7}`, count),
        }),
      ),
    )
  const bytes = ((await used()) - before) / callers
  await client.flushall()
  return {
    name: `bytes of an active caller, ${count} ${count === 1 ? 'rule' : 'rules'}`,
    peer: '-',
    ours: bytes,
    unit: 'B',
    required: `< ${count * 700} B`,
    pass: bytes < count * 700,
  }
}

/** The same for callers who have called and settled through a whole window, in every slot of it. */
async function steadyMemoryRow(server: RedisServer): Promise<BenchRow> {
  const client = server.client()
  const used = async () => Number(/used_memory:(\d+)/.exec(await client.info('memory'))?.[1] ?? 0)
  const count = 500
  const rounds = 60
  let now = Date.now()
  const { store } = openRedisStore({ port: server.port, command_timeout_ms: 5000 }, { now: () => now })
  await store.ready()
  await client.flushall()
  const before = await used()
  for (let round = 0; round < rounds; round++) {
    now += (1.2 * 3_600_000) / rounds
    await Promise.all(
      Array.from({ length: count }, async (_, index) => {
        const claims = claimsOf(`consumer=36:${'0'.repeat(28)}${index + 1e7}`, 3)
        const id = `steady-${round}-${index}`
        const result = await store.reserve({ id, claims })
        await store.settle({ id, entries: entriesOf(claims, result, 400) })
      }),
    )
  }
  const bytes = ((await used()) - before) / count
  await client.flushall()
  await store.close()
  return boundRow('bytes of a steadily active caller, 3 rules', bytes, 'B', 4000)
}

function entriesOf(claims: readonly Claim[], result: ReserveResult, actual: number): SettleEntry[] {
  return claims.flatMap(({ caller, counter }, index) => {
    const taken = result.claims[index]
    if (taken === undefined) return []
    const { key, at, epoch, reserved } = taken
    return [{ key, ...(caller === undefined ? {} : { caller }), counter, at, epoch, reserved, actual }]
  })
}

function claimsOf(caller: string, count: number): Claim[] {
  return rules
    .slice(0, count)
    .map(({ name, counter, want }) =>
      claimWith({ key: `${caller}/rule=${name.length}:${name}/s3600t`, caller, counter, input: 100, want }),
    )
}

async function sideBySide(
  ours: () => Promise<unknown>,
  theirs: () => Promise<unknown>,
  inFlight: number,
): Promise<SideBySide> {
  const pairs: { ours: number; theirs: number }[] = []
  await rate(ours, inFlight)
  await rate(theirs, inFlight)
  for (let round = 0; round < ROUNDS; round++) {
    if (round % 2 === 0) {
      const first = await rate(ours, inFlight)
      pairs.push({ ours: first, theirs: await rate(theirs, inFlight) })
    } else {
      const first = await rate(theirs, inFlight)
      pairs.push({ ours: await rate(ours, inFlight), theirs: first })
    }
  }
  return {
    ours: median(pairs.map((pair) => pair.ours)),
    theirs: median(pairs.map((pair) => pair.theirs)),
    ratio: median(pairs.map((pair) => pair.ours / pair.theirs)),
  }
}

/** Operations a second with so many under way at any time. */
async function rate(work: () => Promise<unknown>, inFlight: number, forMs = ROUND_MS): Promise<number> {
  const start = performance.now()
  const end = start + forMs
  let done = 0
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      while (performance.now() < end) {
        await work()
        done++
      }
    }),
  )
  return (done * 1000) / (performance.now() - start)
}
