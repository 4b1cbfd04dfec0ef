/** Opens the store that a config names. */

import { ConfigError } from '../errors.ts'
import type { Deps } from '../policy.ts'
import { parseConfig } from '../schema/parse.ts'
import { createMemoryStore } from './memory.ts'
import type { LimitStore, StoreConfig } from './ports.ts'
import { checkRedis, redisFields } from './redis/config.ts'
import { createRedisStore } from './redis/store.ts'

export type StoreDeps = Pick<Deps, 'clock' | 'random' | 'runtime' | 'logger'>

/**
 * The one store for this config in this process.
 * @throws {ConfigError} when the part that names the store is wrong
 */
export function openLimitStore(config: StoreConfig, deps: StoreDeps): LimitStore {
  switch (config.store) {
    case 'memory':
      // Nothing else of the config matters to it: equal names are equal counters.
      return deps.runtime.share('store.memory', {}, () => createMemoryStore(deps))
    case 'redis': {
      const redis = parseConfig(redisFields, config.redis ?? {}, { subject: 'the Redis store' })
      const issues = checkRedis(redis, 'redis')
      if (issues.length > 0) throw new ConfigError('the Redis store', issues)
      const { on_store_error = 'local', nodes } = config
      const named = { redis, on_store_error, ...(nodes === undefined ? {} : { nodes }) }
      return deps.runtime.share('store.redis', named, () => createRedisStore(named, deps))
    }
  }
}
