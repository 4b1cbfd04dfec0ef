/**
 * What the pack costs on a real Kong: `npm run bench:kong [-- --seconds N --rounds N --json FILE]`.
 *
 * One Kong with one worker, one upstream, one Redis; four routes that differ only in their plugins, each loaded in turn
 * with 2 KB prompts. The exit code is 1 when the pack is slower than Kong's own Lua limiter with Redis.
 */

import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { configOf, KEYS, type RouteOptions, tokens } from '../../e2e/support/config.ts'
import { kongMissing, startKong } from '../../e2e/support/host.ts'
import { REDIS_PORT, UPSTREAM_PORT } from '../../e2e/support/ports.ts'
import { listens } from '../../e2e/support/ready.ts'
import { until } from '../../e2e/support/wait.ts'
import { median } from '../harness.ts'
import { generator, load, type Measured } from './load.ts'

const CONNECTIONS = [1, 8, 32] as const

const LIMITER = 'key-auth + rate-limiting (redis)'
const PACK = 'key-auth + companions + llm-token-limit'
const bare = { keyed: false, edge: false, guard: false } as const
const keyAuth = { name: 'key-auth', config: { key_names: ['authorization'], hide_credentials: true } }
const limiter = {
  name: 'rate-limiting',
  config: {
    minute: 1_000_000_000,
    limit_by: 'consumer',
    policy: 'redis',
    redis: { host: '127.0.0.1', port: REDIS_PORT },
  },
}

const ROUTES: Readonly<Record<string, readonly [title: string, options: RouteOptions]>> = {
  plain: ['no plugin', bare],
  keyed: ['key-auth', { ...bare, extra: [keyAuth] }],
  limited: [LIMITER, { ...bare, extra: [keyAuth, limiter] }],
  pack: [PACK, { limits: [tokens(1_000_000_000_000)] }],
}

interface Row extends Measured {
  readonly route: string
  readonly connections: number
}

const BODY = JSON.stringify({
  model: 'gpt-4o-mini',
  max_tokens: 256,
  messages: [{ role: 'user', content: 'The quick brown fox jumps over the lazy dog. '.repeat(43) }],
})

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '6' },
      rounds: { type: 'string', default: '5' },
      json: { type: 'string' },
    },
  })
  if (kongMissing) return
  await using resources = new AsyncDisposableStack()
  await startRedis(resources)
  await startUpstream(resources)
  const routes = Object.fromEntries(Object.entries(ROUTES).map(([name, [, options]]) => [name, options]))
  const config = configOf(`http://127.0.0.1:${UPSTREAM_PORT}`, routes)
  const bearer = { username: 'bench', keyauth_credentials: [{ key: `Bearer ${KEYS.alice}` }] }
  const kong = await startKong({
    metrics: false,
    config: { ...config, consumers: [...(config.consumers ?? []), bearer] },
  })
  resources.defer(() => kong.stop())

  const url = (route: string) => `${kong.url}/${route}/v1/chat/completions`
  const measure = (route: string, connections: number, seconds: number) =>
    load({ url: url(route), key: KEYS.alice, body: BODY, connections, seconds })
  for (const route of Object.keys(ROUTES)) await measure(route, 8, 3)

  const rows: Row[] = []
  for (const connections of CONNECTIONS) {
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const route of Object.keys(ROUTES)) {
        console.error(`${connections} connections, round ${round + 1}: ${route}`)
        rows.push({ route, connections, ...(await measure(route, connections, Number(values.seconds))) })
      }
    }
  }
  report(rows, values.json)
}

function report(rows: readonly Row[], json: string | undefined): void {
  const table = CONNECTIONS.flatMap((connections) => {
    const of = (route: string) => rows.filter((row) => row.route === route && row.connections === connections)
    const rate = (route: string) => of(route).map((row) => row.requestsPerSecond)
    return Object.entries(ROUTES).map(([route, [title]]) => ({
      connections,
      route: title,
      requestsPerSecond: median(rate(route)),
      p50: median(of(route).map((row) => row.p50)),
      p99: median(of(route).map((row) => row.p99)),
      // Round by round, which cancels what slows the whole machine.
      toLimiter: median(rate(route).map((value, round) => value / (rate('limited')[round] ?? Number.NaN))),
    }))
  })
  console.log(`load by ${generator}, prompts of ${BODY.length} bytes, one Kong worker, medians of all rounds`)
  console.log('connections  requests/s  p50 ms  p99 ms  x limiter  plugins')
  for (const { connections, route, requestsPerSecond, p50, p99, toLimiter } of table)
    console.log(
      [
        String(connections).padStart(11),
        requestsPerSecond.toFixed(0).padStart(10),
        p50.toFixed(2).padStart(6),
        p99.toFixed(2).padStart(6),
        toLimiter.toFixed(2).padStart(9),
        route,
      ].join('  '),
    )
  const verdicts = CONNECTIONS.map((connections) => {
    const find = (title: string) => table.find((row) => row.connections === connections && row.route === title)
    const [ours, theirs] = [find(PACK), find(LIMITER)]
    const faster = (ours?.toLimiter ?? 0) >= 1
    const sooner = (ours?.p50 ?? Number.POSITIVE_INFINITY) <= (theirs?.p50 ?? 0)
    return { connections, throughput: faster, p50: sooner }
  })
  for (const { connections, throughput, p50 } of verdicts)
    console.log(
      `${throughput && p50 ? 'ok    ' : 'MISSED'} ${connections}: throughput >= 1.0x and p50 no worse than the limiter's`,
    )
  if (json !== undefined) writeFileSync(json, `${JSON.stringify({ generator, table, verdicts }, null, 2)}\n`)
  if (verdicts.some(({ throughput, p50 }) => !throughput || !p50)) process.exitCode = 1
}

async function startRedis(resources: AsyncDisposableStack): Promise<void> {
  const redis = spawn('redis-server', ['--port', String(REDIS_PORT), '--bind', '127.0.0.1', '--save', ''], {
    stdio: 'ignore',
  })
  resources.defer(async () => {
    redis.kill()
    await once(redis, 'exit')
  })
  await until('Redis listens', () => listens(REDIS_PORT, '127.0.0.1'), 10_000)
}

async function startUpstream(resources: AsyncDisposableStack): Promise<void> {
  const upstream = fork(new URL('upstream.ts', import.meta.url).pathname, [String(UPSTREAM_PORT)])
  resources.defer(async () => {
    upstream.disconnect()
    await once(upstream, 'exit')
  })
  await once(upstream, 'message')
}

await main()
