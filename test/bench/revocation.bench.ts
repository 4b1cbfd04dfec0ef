/** How long a revocation takes to reach another node, with nothing but polling: pub/sub is switched off in Redis. */

import { createDeps } from '../../plugins/deps.ts'
import { openDenyList, openRevocationStore, revocationFields } from '../../policies/revocation/index.ts'
import { createRuntime } from '../../policies/runtime.ts'
import { parseConfig } from '../../policies/schema/parse.ts'
import { startRedis } from '../support/redis/server.ts'
import { type BenchRow, boundRow, median } from './harness.ts'

const TRIALS = 200
const LONGEST_MS = 1_000
const QUIET = { info() {}, warn() {}, error() {} }

export async function run(): Promise<readonly BenchRow[]> {
  const blocked = ['SUBSCRIBE', 'PSUBSCRIBE', 'PUBLISH'].flatMap((name) => ['--rename-command', name, ''])
  const redis = await startRedis({ args: blocked })
  const config = parseConfig(revocationFields, { store: 'redis', redis: { host: redis.host, port: redis.port } })
  const nodes = [1, 2].map(() => createDeps({ logger: QUIET, runtime: createRuntime() }))
  const lists = nodes.map((deps) => openDenyList(config, deps))
  const [writer] = nodes
  if (writer === undefined) throw new Error('no node')
  const store = openRevocationStore(config, writer)
  try {
    await Promise.all(lists.map((list) => list.state()))
    const waits: number[] = []
    for (let trial = 0; trial < TRIALS; trial++) {
      const value = `t-${trial}`
      const start = performance.now()
      await store.revoke({ kind: 'jti', value, reason: 'bench', revokedAt: Date.now() })
      while (!lists.every((list) => list.find({ jti: value }) !== undefined)) await pause(2)
      waits.push(performance.now() - start)
      // At any time within a poll.
      await pause((trial * 37) % config.poll_ms)
    }
    return [
      boundRow(`revocation on two nodes, longest of ${TRIALS}`, Math.max(...waits), 'ms', LONGEST_MS),
      boundRow(`revocation on two nodes, median of ${TRIALS}`, median(waits), 'ms', LONGEST_MS),
    ]
  } finally {
    await Promise.all(nodes.map(({ runtime }) => runtime.close()))
    await redis.close()
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms))
}
