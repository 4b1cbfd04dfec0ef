/**
 * Does the plugin server hold what it has after ten minutes of traffic? `npm run soak:kong [minutes]`: the built server
 * under the stand-in for Kong, half of the requests refused, configs reloaded, some connections misbehaving; half of the
 * lanes go Kong's own way, half that of llm-edge.
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bundle } from '../../../../plugins/kong/bundle.ts'
import { createDirectWorker } from '../../../support/kong-client/direct-worker.ts'
import { createWorker, type PluginConfig } from '../../../support/kong-client/worker.ts'
import { answered, llmRequest, startServer, tokenLimitConfig } from '../process-harness.ts'
import { frame, rawConnection } from '../server/harness.ts'

const MINUTES = Number(process.argv[2] ?? '10')
if (!(MINUTES > 0 && MINUTES <= 600)) throw new Error('usage: npm run soak:kong [minutes]')
/** Compared with the end; a fifth of the run when that is shorter than ten minutes. */
const SETTLED_MS = Math.min(2, MINUTES / 5) * 60_000
const END_MS = MINUTES * 60_000
const LANES = 16
const MAX_RATIO = 1.1

interface Sample {
  readonly second: number
  readonly requests: number
  readonly rssMb: number
  readonly openEvents: number
  readonly connections: number
  readonly instances: number
  readonly openWork: number
  readonly heapMb: number
  readonly handles: number
}

const directory = mkdtempSync(join(tmpdir(), 'kong-soak-'))
const built = join(directory, 'built')
await bundle(built)
const socket = join(directory, 's')
const port = 20_000 + (process.pid % 10_000)
const server = await startServer(join(built, 'portcullis-kong.cjs'), socket, ['--metrics-port', String(port)])
const counts = { passed: 0, refused: 0, misbehaved: 0, failed: 0 }
const started = performance.now()
const samples: Sample[] = []
/** By phase; one for the event itself and one for every PDK call. */
const roundTrips: Record<string, number> = {}

try {
  const options = { socket, readTimeoutMs: 10_000 }
  const ways = { own: createWorker(options), direct: createDirectWorker(options) }
  const lanes = Array.from({ length: LANES }, (_, lane) => drive(lane))
  const times = [SETTLED_MS, ...Array.from({ length: 10 }, (_, tenth) => ((tenth + 1) * END_MS) / 10)]
  for (const time of times.sort((a, b) => a - b)) {
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, started + time - performance.now())))
    const sample = await look()
    samples.push(sample)
    console.log(JSON.stringify(sample))
  }
  await Promise.all(lanes)
  for (const worker of Object.values(ways)) worker.close()
  await new Promise((resolve) => setTimeout(resolve, 500))
  report(await look())

  /** One connection's worth of traffic: pass and settle, refuse, and now and then misbehave. */
  async function drive(lane: number): Promise<void> {
    const worker = lane % 2 === 0 ? ways.own : ways.direct
    const generous = config(`generous-${lane}`, 1_000_000_000)
    const tight = config(`tight-${lane}`, 10)
    for (let turn = 0; performance.now() - started < END_MS; turn++) {
      // A reload of Kong's config: a new sequence number, hence a new instance.
      const seq = Math.floor(turn / 2_000)
      const request = llmRequest({ consumer: { id: `caller-${turn % 500}` } })
      const plugin = turn % 2 === 0 ? generous : tight
      const end = await worker.access(request, { ...plugin, seq })
      if (end === 'exited') counts.refused += 1
      else if (end !== 'done') counts.failed += 1
      else {
        counts.passed += 1
        answered(request, { prompt_tokens: 9, completion_tokens: 3 })
      }
      await worker.log(request, { ...plugin, seq })
      if (turn % 500 === 0) await misbehave()
    }
  }

  /** A connection that dies in mid-frame, and one that sends a frame too many: its event is aborted. */
  async function misbehave(): Promise<void> {
    const half = await rawConnection(socket)
    half.send(frame(1, 'plugin.Step', { EventId: 2, Data: 'x'.repeat(500) }).subarray(0, 100))
    half.socket.destroy()
    const eager = await rawConnection(socket)
    const event = Buffer.from(frame(1, 'plugin.HandleEvent', { InstanceId: 1, EventName: 'access' }))
    eager.send(Buffer.concat([event, event]))
    await eager.closed
    counts.misbehaved += 1
  }
} finally {
  server.child.kill('SIGTERM')
  console.log('server ended with', await server.exit)
  rmSync(directory, { recursive: true })
}

function config(id: string, limit: number): PluginConfig {
  return tokenLimitConfig(id, limit)
}

async function look(): Promise<Sample> {
  const health = (await (await fetch(`http://127.0.0.1:${port}/healthz`)).json()) as Pick<
    Sample,
    'openEvents' | 'connections' | 'instances' | 'openWork'
  >
  const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
  for (const phase of ['access', 'log']) {
    const labels = `{plugin="llm-token-limit",phase="${phase}"}`
    const [sum, count] = ['sum', 'count'].map((part) => metric(metrics, `portcullis_kong_round_trips_${part}${labels}`))
    roundTrips[phase] = Math.round((100 * (sum ?? 0)) / (count ?? 1)) / 100
  }
  const status = readFileSync(`/proc/${server.child.pid}/status`, 'utf8')
  return {
    second: Math.round((performance.now() - started) / 1_000),
    requests: counts.passed + counts.refused,
    rssMb: Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 102.4) / 10,
    heapMb: Math.round(metric(metrics, 'nodejs_heap_size_used_bytes') / 104_857.6) / 10,
    // Sockets, timers and the rest, as Node.js counts them.
    handles: metric(metrics, 'nodejs_active_resources_total'),
    openEvents: health.openEvents,
    connections: health.connections,
    instances: health.instances,
    openWork: health.openWork,
  }
}

function metric(text: string, name: string): number {
  return Number(new RegExp(`^${name.replace(/[{}]/g, '\\$&')} (.*)$`, 'm').exec(text)?.[1])
}

function report(after: Sample): void {
  const early = samples.find(({ second }) => second >= Math.floor(SETTLED_MS / 1_000)) ?? after
  const late = samples.at(-1) ?? after
  const ratio = late.rssMb / early.rssMb
  console.log(`\n${MINUTES} minutes`, counts)
  console.log(
    `RSS ${early.rssMb} MB at second ${early.second}, ${late.rssMb} MB at the end: ${ratio.toFixed(3)}x (at most ${MAX_RATIO})`,
  )
  console.log('after the traffic', after)
  console.log('frames an event took, on average', roundTrips)
  const problems = [
    // V8 takes minutes to find its size.
    ratio > MAX_RATIO && MINUTES >= 5 ? 'memory grew' : '',
    counts.failed > 0 ? `${counts.failed} requests neither passed nor were refused` : '',
    counts.refused === 0 || counts.passed === 0 ? 'not both passes and refusals' : '',
    after.connections > 1 ? `${after.connections} connections are still open` : '',
    after.openEvents > 0 || after.openWork > 0 ? 'events or work are still open' : '',
    after.handles > early.handles ? `handles grew from ${early.handles} to ${after.handles}` : '',
  ].filter(Boolean)
  console.log(problems.length === 0 ? 'OK' : `FAILED: ${problems.join('; ')}`)
  if (problems.length > 0) process.exitCode = 1
}
