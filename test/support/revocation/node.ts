/** A gateway node in a process of its own: tells by message when it refuses what it was told to watch. */

import { setTimeout as sleep } from 'node:timers/promises'
import { createDeps } from '../../../plugins/deps.ts'
import type { Exchange } from '../../../policies/policy.ts'
import { createRuntime } from '../../../policies/runtime.ts'
import { parsePolicyConfig } from '../../../policies/schema/parse.ts'
import { tokenLimit } from '../../../policies/token-limit/index.ts'

/** Milliseconds between two requests of the watched caller. */
const PAUSE = 2
const QUIET = { info() {}, warn() {}, error() {} }

const limits = [{ name: 'requests', limit: 1_000_000_000, window_seconds: 60, count: 'requests' }]
const revocation: unknown = JSON.parse(process.argv[2] ?? '')
const instance = tokenLimit.create(
  parsePolicyConfig(tokenLimit, { limits, revocation }),
  createDeps({ logger: QUIET, runtime: createRuntime() }),
)

function exchange(credential: string): Exchange {
  return {
    requestId: 'r',
    method: 'GET',
    path: '/v1/models',
    route: {},
    queryNames: () => [],
    header: () => undefined,
    body: () => undefined,
    caller: () => ({ address: '192.0.2.1', credential: { id: credential, tags: [] } }),
  }
}

/** The code of a refusal; undefined when the caller may pass. */
async function refusal(credential: string): Promise<string | undefined> {
  const decision = await instance.decide(exchange(credential))
  return decision.type === 'reject' ? decision.code : undefined
}

process.on('message', async (credential: string) => {
  let code = await refusal(credential)
  process.send?.({ watching: credential, code })
  while (code === undefined) {
    await sleep(PAUSE)
    code = await refusal(credential)
  }
  process.send?.({ refused: credential, code })
})
process.on('disconnect', () => process.exit())
