/** Stores of both kinds, and deps with a real clock. */

import { onTestFinished } from 'vitest'
import { createDeps } from '../../../plugins/deps.ts'
import {
  createMemoryRevocations,
  createRedisRevocations,
  type RevocationStore,
} from '../../../policies/revocation/index.ts'
import { createRuntime } from '../../../policies/runtime.ts'
import { parseConfig } from '../../../policies/schema/parse.ts'
import { redisFields } from '../../../policies/stores/redis/config.ts'
import { collectLog } from '../../support/redis/store.ts'

/** A gateway node of its own. */
export function createNode() {
  const { logger, lines } = collectLog()
  const runtime = createRuntime()
  onTestFinished(() => runtime.close())
  return { deps: createDeps({ logger, runtime }), lines }
}

export function memoryStore(): RevocationStore {
  return createMemoryRevocations(createNode().deps)
}

/** @param redis config fields of the connection, as an operator writes them */
export function redisStore(redis: Record<string, unknown>): RevocationStore {
  const store = createRedisRevocations(parseConfig(redisFields, redis), createNode().deps)
  onTestFinished(() => store.close())
  return store
}

export const HOUR = 3_600_000
