/** What a record costs a request while its sinks are well, stalled, dead or full, and how fast files are written and verified. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDeps } from '../../plugins/deps.ts'
import { readSeal } from '../../policies/audit/chain.ts'
import { auditLog, verifyChain } from '../../policies/audit/index.ts'
import type { Ending, Exchange } from '../../policies/policy.ts'
import { createRuntime } from '../../policies/runtime.ts'
import { parsePolicyConfig } from '../../policies/schema/parse.ts'
import { type BenchRow, boundRow, median, quantile } from './harness.ts'

const REQUESTS = 20_000
const KEY = 'the-chain-key-of-the-bench'
const QUIET = { info() {}, warn() {}, error() {} }

const body = new TextEncoder().encode(
  JSON.stringify({ model: 'gpt-4o-mini', max_tokens: 64, messages: [{ role: 'user', content: 'word '.repeat(200) }] }),
)
const exchange: Exchange = {
  requestId: 'req-1',
  method: 'POST',
  path: '/v1/chat/completions',
  route: { id: 'r', name: 'chat' },
  queryNames: () => [],
  header: () => undefined,
  body: () => body,
  caller: () => ({ consumer: { id: 'c', username: 'alice', tags: [], groups: [] }, address: '192.0.2.1' }),
}
const ending: Ending = {
  route: { id: 'r', name: 'chat' },
  status: 200,
  durationMs: 12,
  outcome: { ended: 'complete', status: 200, usage: { inputTokens: 210, outputTokens: 40 } },
  verdicts: [{ policy: 'llm-token-limit', decision: 'pass', estimated: { input: 205, output: 64 } }],
  reservations: [],
}

interface Load {
  /** Milliseconds of one request's own work. */
  readonly p50: number
  readonly p99: number
  readonly perSecond: number
}

/** Decides and observes as a gateway does, with a turn of the event loop between requests. */
async function load(sinks: readonly object[], more: object = {}): Promise<Load> {
  const deps = createDeps({ logger: QUIET, runtime: createRuntime() })
  const instance = auditLog.create(parsePolicyConfig(auditLog, { sinks, redaction: {}, ...more }), deps)
  const times: number[] = []
  const started = performance.now()
  for (let request = 0; request < REQUESTS; request += 1) {
    const from = performance.now()
    const decision = await instance.decide(exchange)
    const reservations = decision.type === 'pass' && decision.reservation !== undefined ? [decision.reservation] : []
    instance.observe?.({ ...ending, reservations })
    times.push(performance.now() - from)
    if (request % 10 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  await deps.runtime.close()
  const perSecond = (REQUESTS * 1_000) / (performance.now() - started)
  return { p50: median(times), p99: quantile(times, 0.99), perSecond }
}

export async function run(): Promise<readonly BenchRow[]> {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-bench-'))
  const path = join(folder, 'audit.ndjson')
  const stalled = createServer(() => undefined).listen(0, '127.0.0.1')
  await new Promise((resolve) => stalled.once('listening', resolve))
  const { port } = stalled.address() as AddressInfo
  try {
    const file = await load([{ type: 'file', path, queue_bytes: 268_435_456 }], { chain: { key: KEY } })
    const cases = [
      ['file, chained', file],
      ['collector stalled', await load([{ type: 'http', url: `http://127.0.0.1:${port}/` }])],
      ['collector dead', await load([{ type: 'http', url: 'http://127.0.0.1:1/' }])],
      ['queue full', await load([{ type: 'http', url: 'http://127.0.0.1:1/', queue_bytes: 65_536 }])],
      ['content redacted, 1 KB', await load([{ type: 'http', url: 'http://127.0.0.1:1/' }], { content: 'redacted' })],
    ] as const
    const bytes = readFileSync(path)
    const from = performance.now()
    const seal = readSeal(readFileSync(`${path}.chain`, 'utf8'), KEY)
    const { records, faults } = await verifyChain([{ name: path, chunks: () => [bytes] }], { key: KEY, seal })
    if (faults.length > 0) throw new Error('the chain that was written is not whole')
    const verified = (records * 1_000) / (performance.now() - from)
    return [
      ...cases.flatMap(([name, { p50, p99 }]) => [
        boundRow(`record, ${name}, p50`, p50, 'ms', 0.3),
        boundRow(`record, ${name}, p99`, p99, 'ms', 5),
      ]),
      rateRow('requests audited into a chained file', file.perSecond, 3_000),
      rateRow('chained records verified', verified, 20_000),
    ]
  } finally {
    stalled.closeAllConnections()
    stalled.close()
    rmSync(folder, { recursive: true })
  }
}

function rateRow(name: string, ours: number, least: number): BenchRow {
  return { name, peer: '-', ours, unit: 'op/s', required: `>= ${least} op/s`, pass: ours >= least }
}
