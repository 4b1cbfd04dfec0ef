/** Registries of both kinds, and keys to put into them. */

import { onTestFinished } from 'vitest'
import { createDeps, systemRandom } from '../../../plugins/deps.ts'
import {
  createMemoryRegistry,
  createRedisRegistry,
  generateKey,
  hashKey,
  type KeyRecord,
  type KeyRegistry,
  newKeyId,
} from '../../../policies/api-key/index.ts'
import { createRuntime } from '../../../policies/runtime.ts'
import { parseConfig } from '../../../policies/schema/parse.ts'
import { redisFields } from '../../../policies/stores/redis/config.ts'
import { collectLog } from '../../support/redis/store.ts'

export const PEPPER = 'a pepper that only this test has.'
export const DAY = 86_400_000

export function createNode() {
  const { logger, lines } = collectLog()
  const runtime = createRuntime()
  onTestFinished(() => runtime.close())
  return { deps: createDeps({ logger, runtime }), lines }
}

export function memoryRegistry(): KeyRegistry {
  return createMemoryRegistry()
}

/** @param redis config fields of the connection, as an operator writes them */
export function redisRegistry(redis: Record<string, unknown>): KeyRegistry {
  const config = parseConfig(redisFields, { command_timeout_ms: 5_000, ...redis })
  const registry = createRedisRegistry(config, createNode().deps)
  onTestFinished(() => registry.close())
  return registry
}

/** A key and its record. */
export function makeKey(more: Partial<KeyRecord> = {}) {
  const id = more.id ?? newKeyId(systemRandom)
  const key = generateKey('live', id, systemRandom)
  const now = Date.now()
  const record: KeyRecord = {
    id,
    env: 'live',
    consumer: { id: 'ada' },
    tags: [],
    createdAt: now,
    secrets: [{ hash: hashKey(PEPPER, key), issuedAt: now }],
    ...more,
  }
  return { id, key, record }
}

export async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const one of source) found.push(one)
  return found
}
