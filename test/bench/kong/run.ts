/**
 * What the pack costs on a real Kong: `npm run bench:kong [-- --seconds N --rounds N --routes pack,gateway --json FILE
 * --worker-share 0.6]`.
 *
 * One Kong with one worker, one upstream, one Redis; routes that differ only in their plugins, each loaded in turn with
 * 2 KB prompts. The exit code is 1 when one of them is slower than it may be, relative to Kong's own Lua limiter with
 * Redis in the same rounds.
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { configOf, KEYS } from '../../e2e/support/config.ts'
import { kongMissing, startKong } from '../../e2e/support/host.ts'
import type { Kong, KongOptions } from '../../e2e/support/kong.ts'
import { REDIS_PORT, UPSTREAM_PORT } from '../../e2e/support/ports.ts'
import { listens } from '../../e2e/support/ready.ts'
import { until } from '../../e2e/support/wait.ts'
import { median } from '../harness.ts'
import { type CpuTime, cpuClock, workerAbove } from './cpu.ts'
import { generator, load, type Measured } from './load.ts'
import { countRoundTrips, type RoundTrips } from './round-trips.ts'
import { LIMITER, type Route, routesIn } from './routes.ts'
import { startUpstream, upstreamName } from './upstream.ts'
import { holdBack } from './worker-share.ts'

const CONNECTIONS = [1, 8, 32] as const

interface Row extends Measured {
  readonly route: string
  readonly connections: number
  /** For one request. */
  readonly microseconds: CpuTime
}

const BODY = JSON.stringify({
  model: 'gpt-4o-mini',
  max_tokens: 256,
  messages: [{ role: 'user', content: '{{words}}' }],
})

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '6' },
      rounds: { type: 'string', default: '5' },
      routes: { type: 'string' },
      json: { type: 'string' },
      'worker-share': { type: 'string' },
    },
  })
  if (kongMissing) return
  await using resources = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-bench-'))
  resources.defer(() => rmSync(folder, { recursive: true, force: true }))
  // Kong's workers, and so the plugin server, may be another user.
  chmodSync(folder, 0o777)
  const chosen = chooseRoutes(routesIn(folder), values.routes)
  const redis = await startRedis(resources)
  resources.defer(await startUpstream(UPSTREAM_PORT, folder))
  const routes = Object.fromEntries(Object.entries(chosen).map(([name, { options }]) => [name, options]))
  const config = configOf(`http://127.0.0.1:${UPSTREAM_PORT}`, routes)
  const bearer = { username: 'bench', keyauth_credentials: [{ key: `Bearer ${KEYS.alice}` }] }
  const options = { config: { ...config, consumers: [...(config.consumers ?? []), bearer] } }
  const roundTrips = await countAll(Object.keys(chosen), options)
  const kong = await startKong({ ...options, metrics: false })
  resources.defer(() => kong.stop())

  const url = (route: string) => urlOf(kong, route)
  const server = (await kong.pluginServers()).at(-1)
  if (server === undefined) throw new Error('Kong has no plugin server')
  const worker = workerAbove(server)
  const cpu = cpuClock({ worker, server, redis })
  const share = values['worker-share']
  if (share !== undefined) resources.defer(holdBack(worker, Number(share)))
  async function measure(route: string, connections: number, seconds: number) {
    const before = cpu()
    const measured = await load({ url: url(route), key: KEYS.alice, body: BODY, connections, seconds })
    const after = cpu()
    const requests = measured.requestsPerSecond * seconds
    const share = (of: keyof CpuTime) => ((after[of] - before[of]) * 1_000) / requests
    return { ...measured, microseconds: { worker: share('worker'), server: share('server'), redis: share('redis') } }
  }
  for (const route of Object.keys(chosen)) await measure(route, 8, 3)

  const rows: Row[] = []
  for (const connections of CONNECTIONS) {
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const route of Object.keys(chosen)) {
        console.error(`${connections} connections, round ${round + 1}: ${route}`)
        rows.push({ route, connections, ...(await measure(route, connections, Number(values.seconds))) })
      }
    }
  }
  report(rows, chosen, roundTrips, values.json, share)
}

type Routes = Readonly<Record<string, Route>>

/** The limiter is always among them: all else is measured by it. @throws when there is no route of such a name */
function chooseRoutes(routes: Routes, names: string | undefined): Routes {
  if (names === undefined) return routes
  const wanted = new Set([LIMITER, ...names.split(',')])
  for (const name of wanted)
    if (!Object.hasOwn(routes, name)) throw new Error(`no route ${name}; there are: ${Object.keys(routes).join(', ')}`)
  return Object.fromEntries(Object.entries(routes).filter(([name]) => wanted.has(name)))
}

function urlOf(kong: Kong, route: string): string {
  return `${kong.url}/${route}/v1/chat/completions`
}

/** On a Kong of its own: counting costs time. */
async function countAll(routes: readonly string[], options: KongOptions): Promise<ReadonlyMap<string, RoundTrips>> {
  const kong = await startKong(options)
  try {
    const counted = new Map<string, RoundTrips>()
    const headers = { authorization: `Bearer ${KEYS.alice}`, 'content-type': 'application/json' }
    for (const route of routes) {
      const send = async () => {
        const reply = await fetch(urlOf(kong, route), { method: 'POST', headers, body: BODY })
        const text = await reply.text()
        if (!reply.ok) throw new Error(`${route}: ${reply.status} ${text}`)
      }
      await send()
      counted.set(route, await countRoundTrips(REDIS_PORT, send))
    }
    return counted
  } finally {
    await kong.stop()
  }
}

function report(
  rows: readonly Row[],
  routes: Routes,
  roundTrips: ReadonlyMap<string, RoundTrips>,
  json: string | undefined,
  workerShare: string | undefined,
): void {
  const table = CONNECTIONS.flatMap((connections) => {
    const of = (route: string) => rows.filter((row) => row.route === route && row.connections === connections)
    const rate = (route: string) => of(route).map((row) => row.requestsPerSecond)
    return Object.entries(routes).map(([route, { title }]) => ({
      connections,
      route: title,
      rpc: roundTrips.get(route)?.rpc ?? Number.NaN,
      redis: roundTrips.get(route)?.redis ?? Number.NaN,
      requestsPerSecond: median(rate(route)),
      p50: median(of(route).map((row) => row.p50)),
      p99: median(of(route).map((row) => row.p99)),
      worker: median(of(route).map((row) => row.microseconds.worker)),
      server: median(of(route).map((row) => row.microseconds.server)),
      redisServer: median(of(route).map((row) => row.microseconds.redis)),
      // Round by round, which cancels what slows the whole machine.
      toLimiter: median(rate(route).map((value, round) => value / (rate(LIMITER)[round] ?? Number.NaN))),
    }))
  })
  console.log(
    `load by ${generator}, upstream ${upstreamName}, prompts of about 2 KB, each of other words, one Kong worker${workerShare === undefined ? '' : ` held to ${workerShare} of a core`}, medians of all rounds`,
  )
  console.log('connections  requests/s  p50 ms  p99 ms  x limiter  RPC  Redis  worker us  server us  redis us  plugins')
  for (const row of table)
    console.log(
      [
        String(row.connections).padStart(11),
        row.requestsPerSecond.toFixed(0).padStart(10),
        row.p50.toFixed(2).padStart(6),
        row.p99.toFixed(2).padStart(6),
        row.toLimiter.toFixed(2).padStart(9),
        row.rpc.toFixed(1).padStart(3),
        row.redis.toFixed(1).padStart(5),
        row.worker.toFixed(0).padStart(9),
        row.server.toFixed(0).padStart(9),
        row.redisServer.toFixed(0).padStart(8),
        row.route,
      ].join('  '),
    )
  console.log(
    `RPC: messages between Kong and the plugin server for one request; Redis: messages to it; us: CPU time of Kong's worker, the plugin server and Redis for one request, on ${availableParallelism()} cores that they share with load and upstream`,
  )
  const verdicts = Object.values(routes).flatMap(({ title, least, soon }) =>
    CONNECTIONS.flatMap((connections) => {
      if (least === undefined) return []
      const find = (name: string) => table.find((row) => row.connections === connections && row.route === name)
      const [ours, theirs] = [find(title), find(routes[LIMITER]?.title ?? '')]
      const faster = (ours?.toLimiter ?? 0) >= least
      const sooner = soon !== true || (ours?.p50 ?? Number.POSITIVE_INFINITY) <= (theirs?.p50 ?? 0)
      return [{ route: title, connections, least, throughput: faster, p50: sooner, soon: soon === true }]
    }),
  )
  for (const { route, connections, least, throughput, p50, soon } of verdicts)
    console.log(
      `${throughput && p50 ? 'ok    ' : 'MISSED'} ${connections}: throughput >= ${least.toFixed(1)}x${soon ? " and p50 no worse than the limiter's" : ''}  ${route}`,
    )
  if (json !== undefined) writeFileSync(json, `${JSON.stringify({ generator, table, verdicts }, null, 2)}\n`)
  if (verdicts.some(({ throughput, p50 }) => !throughput || !p50)) process.exitCode = 1
}

/** @returns its process id */
async function startRedis(resources: AsyncDisposableStack): Promise<number> {
  const redis = spawn('redis-server', ['--port', String(REDIS_PORT), '--bind', '127.0.0.1', '--save', ''], {
    stdio: 'ignore',
  })
  resources.defer(async () => {
    redis.kill()
    await once(redis, 'exit')
  })
  await until('Redis listens', () => listens(REDIS_PORT, '127.0.0.1'), 10_000)
  if (redis.pid === undefined) throw new Error('Redis did not start')
  return redis.pid
}

await main()
