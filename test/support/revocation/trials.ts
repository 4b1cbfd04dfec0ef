/** How long revocations take until two nodes, each a process of its own, refuse; a third process revokes. */

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createDeps } from '../../../plugins/deps.ts'
import { openRevocationStore, revocationFields } from '../../../policies/revocation/index.ts'
import { createRuntime } from '../../../policies/runtime.ts'
import { parseConfig } from '../../../policies/schema/parse.ts'
import { startRedis } from '../redis/server.ts'

export interface Trials {
  readonly count: number
  /** Whether Redis refuses SUBSCRIBE and PUBLISH. */
  readonly blocked: boolean
}

const NODE = join(import.meta.dirname, 'node.ts')
const NODES = 2
const QUIET = { info() {}, warn() {}, error() {} }
const PUB_SUB = ['SUBSCRIBE', 'PSUBSCRIBE', 'PUBLISH']

interface Told {
  readonly watching?: string
  readonly refused?: string
  readonly code?: string
}

/** @returns milliseconds of each trial, from before the revocation is sent until the slower node has told of its refusal */
export async function revocationTrials({ count, blocked }: Trials): Promise<readonly number[]> {
  const args = blocked ? PUB_SUB.flatMap((name) => ['--rename-command', name, '']) : []
  const redis = await startRedis({ args })
  const runtime = createRuntime()
  const written = { store: 'redis', redis: { host: redis.host, port: redis.port, command_timeout_ms: 5_000 } }
  const config = parseConfig(revocationFields, written)
  const nodes = Array.from({ length: NODES }, () =>
    fork(NODE, [JSON.stringify(written)], { execArgv: ['--import', 'tsx'] }),
  )
  try {
    const store = openRevocationStore(config, createDeps({ logger: QUIET, runtime }))
    const waits: number[] = []
    for (let trial = 0; trial < count; trial++) {
      const value = `credential-${trial}`
      const watching = await Promise.all(
        nodes.map(async (node) => {
          const told = next(node)
          node.send(value)
          return told
        }),
      )
      for (const { watching: name, code } of watching)
        if (name !== value || code !== undefined) throw new Error(`a node refuses with ${code} before the revocation`)
      // At any time within a poll.
      await sleep((trial * 37) % config.poll_ms)
      const start = performance.now()
      const refusals = Promise.all(nodes.map(next))
      await store.revoke({ kind: 'credential', value, reason: 'trial', revokedAt: Date.now() })
      for (const { refused, code } of await refusals)
        if (refused !== value || code !== 'key_revoked') throw new Error(`a node refuses with ${code}`)
      waits.push(performance.now() - start)
    }
    return waits
  } finally {
    for (const node of nodes) if (node.connected) node.disconnect()
    await Promise.all(nodes.map((node) => node.exitCode ?? node.signalCode ?? once(node, 'exit')))
    await runtime.close()
    await redis.close()
  }
}

async function next(node: ChildProcess): Promise<Told> {
  const stop = new AbortController()
  try {
    return await Promise.race([
      once(node, 'message', { signal: stop.signal }).then(([told]) => told as Told),
      once(node, 'exit', { signal: stop.signal }).then(() => {
        throw new Error('a node has ended')
      }),
    ])
  } finally {
    stop.abort()
  }
}
