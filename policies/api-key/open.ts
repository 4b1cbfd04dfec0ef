/** Opens the registry that a config names; one for all policies of the process with an equal config. */

import type { Deps } from '../policy.ts'
import type { RedisConfig } from '../stores/redis/config.ts'
import { createMemoryRegistry } from './memory-registry.ts'
import { createRedisRegistry } from './redis-registry.ts'
import type { KeyRegistry } from './registry.ts'

export interface RegistryConfig {
  readonly store: 'memory' | 'redis'
  readonly redis?: RedisConfig
}

export function openKeyRegistry({ store, redis }: RegistryConfig, deps: Deps): KeyRegistry {
  if (store === 'redis' && redis !== undefined)
    return deps.runtime.share('api-key.redis', redis, () => createRedisRegistry(redis, deps))
  return deps.runtime.share('api-key.memory', {}, createMemoryRegistry)
}
