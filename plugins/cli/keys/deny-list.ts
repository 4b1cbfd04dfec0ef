/** The deny list that a command line names. */

import type { RevocationStore } from '../../../policies/revocation/ports.ts'
import { type RedisOptions, readRedis } from '../redis-options.ts'
import { SILENT, type World } from './open.ts'

export async function openDenyListStore(options: RedisOptions, { clock, random }: World): Promise<RevocationStore> {
  const redis = await readRedis(options)
  const { createRedisRevocations } = await import('../../../policies/revocation/redis.ts')
  return createRedisRevocations(redis, { clock, random, logger: SILENT })
}
