/** Opens the deny list that a config names; one for all policies of the process with an equal config. */

import type { Deps } from '../policy.ts'
import { createDenyList, type DenyList } from './deny-list.ts'
import type { RevocationConfig } from './fields.ts'
import { createMemoryRevocations } from './memory.ts'
import type { RevocationStore } from './ports.ts'
import { createRedisRevocations } from './redis.ts'

/** Without an answer for so long, in milliseconds, a copy no longer counts as fresh. */
const STALE_MS = 1_000

/** The store itself, for whoever revokes. */
export function openRevocationStore(config: RevocationConfig, deps: Deps): RevocationStore {
  const { store, redis } = config
  if (store === 'redis' && redis !== undefined)
    return deps.runtime.share('revocation.redis', redis, () => createRedisRevocations(redis, deps))
  return deps.runtime.share('revocation.memory', {}, () => createMemoryRevocations(deps))
}

export function openDenyList(config: RevocationConfig, deps: Deps): DenyList {
  const { on_store_error: _, ...where } = config
  return deps.runtime.share('revocation.list', where, () =>
    createDenyList({
      store: openRevocationStore(config, deps),
      clock: deps.clock,
      logger: deps.logger,
      pollMs: config.poll_ms,
      staleMs: STALE_MS,
    }),
  )
}
