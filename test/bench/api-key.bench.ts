/**
 * A flood of wrong keys, each another and from another address, so that nothing but the lookup itself is in its way; and what
 * it does to callers with good keys. Both come from a thread of their own at random moments, whether or not the decisions
 * before are done; a decision takes from when it was asked for, so that waiting for others counts.
 */

import { Worker } from 'node:worker_threads'
import { createDeps, systemRandom } from '../../plugins/deps.ts'
import { apiKey, generateKey, hashKey, newKeyId, openKeyRegistry } from '../../policies/api-key/index.ts'
import type { Exchange } from '../../policies/policy.ts'
import { createRuntime } from '../../policies/runtime.ts'
import { parsePolicyConfig } from '../../policies/schema/parse.ts'
import { startRedis } from '../support/redis/server.ts'
import { type BenchRow, boundRow, collectGarbage, median, quantile } from './harness.ts'

const WRONG_KEYS = 50_000
const WRONG_A_SECOND = 2_500
const GOOD_KEYS = 100
const GOOD_A_SECOND = 500
const SLICE_MS = 1_000
const PEPPER = 'a pepper that only this bench has.'
const QUIET = { info() {}, warn() {}, error() {} }

const REVOCATIONS = 50
const LONGEST_MS = 1_000
const SLOWED_AT_MOST = 1.2
const HEAP_MB = 24

export async function run(): Promise<readonly BenchRow[]> {
  const redis = await startRedis()
  const runtime = createRuntime()
  const another = createRuntime()
  const deps = createDeps({ logger: QUIET, runtime })
  const where = { store: 'redis', redis: { host: redis.host, port: redis.port, command_timeout_ms: 5_000 } }
  const config = parsePolicyConfig(apiKey, { ...where, own_keys: { pepper: PEPPER, headers: ['apikey'] } })
  try {
    const registry = openKeyRegistry({ store: 'redis', ...(config.redis && { redis: config.redis }) }, deps)
    const reads = new Map<string, number>()
    const { find } = registry
    Object.assign(registry, {
      find(id: string) {
        reads.set(id, (reads.get(id) ?? 0) + 1)
        return find(id)
      },
    })
    const good = Array.from({ length: GOOD_KEYS }, makeKey)
    for (const { id, key } of good) {
      const secret = { hash: hashKey(PEPPER, key), issuedAt: Date.now() }
      const owner = { consumer: { id: `c-${id}` }, env: 'live', tags: [] }
      await registry.issue({ id, ...owner, createdAt: Date.now(), secrets: [secret] })
    }
    const wrong = Array.from({ length: WRONG_KEYS }, makeKey)
    const instance = apiKey.create(config, deps)

    async function decide(key: string, address: string, expected: string): Promise<void> {
      const decision = await instance.decide(exchange(key, address))
      if (decision.type !== expected) throw new Error(`a ${decision.type} where a ${expected} was due`)
    }

    for (const { key } of good) await decide(key, '192.0.2.1', 'pass')
    for (let times = 0; times < 2_000; times++) await decide(makeKey().key, addressOf(times), 'reject')
    reads.clear()
    collectGarbage()
    const before = process.memoryUsage().heapUsed

    const quiet: number[] = []
    const flooded: number[] = []
    let sent = 0
    while (sent < WRONG_KEYS) {
      await slice(0, quiet)
      await slice(WRONG_A_SECOND, flooded)
    }

    /** One second of traffic; takes down how long the good ones took, in milliseconds. */
    async function slice(wrongASecond: number, times: number[]): Promise<void> {
      const open: Promise<void>[] = []
      await traffic({ good: GOOD_A_SECOND, wrong: wrongASecond }, (kind, at) => {
        if (kind === 'wrong') {
          const one = wrong[sent]
          if (one !== undefined) open.push(decide(one.key, addressOf(sent), 'reject'))
          sent++
          return
        }
        const { key } = good[Math.floor(Math.random() * GOOD_KEYS)] ?? makeKey()
        open.push(decide(key, '192.0.2.1', 'pass').then(() => void times.push(clock() - at)))
      })
      await Promise.all(open)
    }

    collectGarbage()
    const grown = (process.memoryUsage().heapUsed - before) / 1_048_576
    const most = Math.max(...wrong.map(({ id }) => reads.get(id) ?? 0))
    const slowed = median(flooded) / median(quiet)
    const waits = await revocations(good.slice(0, REVOCATIONS))
    return [
      {
        name: `good keys, median, under ${WRONG_A_SECOND} wrong ones a second`,
        peer: 'without',
        ours: median(flooded) * 1_000,
        theirs: median(quiet) * 1_000,
        unit: 'us',
        ratio: 1 / slowed,
        required: `<= ${SLOWED_AT_MOST}x the time`,
        pass: slowed <= SLOWED_AT_MOST,
      },
      {
        name: 'good keys, 99th of 100',
        peer: 'without',
        ours: quantile(flooded, 0.99) * 1_000,
        theirs: quantile(quiet, 0.99) * 1_000,
        unit: 'us',
        ratio: quantile(quiet, 0.99) / quantile(flooded, 0.99),
        required: 'reported only',
        pass: true,
      },
      boundRow(`reads of the store for each of ${WRONG_KEYS} wrong keys, at most`, most, 'reads', 2),
      boundRow('memory kept after the flood', grown, 'MB', HEAP_MB),
      boundRow(
        `a revoked key is refused by two nodes, longest of ${waits.length}`,
        Math.max(...waits),
        'ms',
        LONGEST_MS,
      ),
    ]

    /** Milliseconds from each revocation until the node that knew the key best refuses it, and so does another. */
    async function revocations(keys: readonly { readonly id: string; readonly key: string }[]): Promise<number[]> {
      const other = apiKey.create(config, createDeps({ logger: QUIET, runtime: another }))
      const took: number[] = []
      for (const { id, key } of keys) {
        const nodes = [instance, other]
        for (const node of nodes) await node.decide(exchange(key, '192.0.2.1'))
        const start = performance.now()
        await registry.revoke(id, { at: Date.now(), reason: 'bench' })
        for (const node of nodes)
          while ((await node.decide(exchange(key, '192.0.2.1'))).type !== 'reject')
            await new Promise((done) => setTimeout(done, 2))
        took.push(performance.now() - start)
      }
      return took
    }
  } finally {
    await another.close()
    await runtime.close()
    await redis.close()
  }
}

function makeKey() {
  const id = newKeyId(systemRandom)
  return { id, key: generateKey('live', id, systemRandom) }
}

function addressOf(index: number): string {
  return `10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`
}

function exchange(key: string, address: string): Exchange {
  return {
    requestId: 'r',
    method: 'POST',
    path: '/v1/chat/completions',
    route: {},
    queryNames: () => [],
    header: (name) => (name === 'apikey' ? key : undefined),
    body: () => undefined,
    caller: () => ({ address }),
  }
}

function clock(): number {
  return performance.timeOrigin + performance.now()
}

/** Waits for the next random moment of each kind, whatever the other thread does meanwhile. */
const SENDER = `
const { parentPort, workerData: { rates, ms } } = require('node:worker_threads')
const now = () => performance.timeOrigin + performance.now()
const pause = new Int32Array(new SharedArrayBuffer(4))
const start = now()
const gap = (rate) => -Math.log(1 - Math.random()) * 1000 / rate
const next = Object.entries(rates).filter(([, rate]) => rate > 0).map(([kind, rate]) => ({ kind, rate, at: start + gap(rate) }))
for (;;) {
  next.sort((a, b) => a.at - b.at)
  const [first] = next
  if (first.at - start > ms) break
  const wait = first.at - now()
  if (wait > 0.02) Atomics.wait(pause, 0, 0, wait)
  parentPort.postMessage({ kind: first.kind, at: now() })
  first.at += gap(first.rate)
}
`

function traffic(
  rates: { readonly good: number; readonly wrong: number },
  use: (kind: 'good' | 'wrong', at: number) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(SENDER, { eval: true, workerData: { rates, ms: SLICE_MS } })
    worker.on('message', ({ kind, at }) => use(kind, at))
    worker.on('error', reject)
    worker.on('exit', () => resolve())
  })
}
