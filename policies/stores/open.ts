/** Opens the store that a config names. */

import { PortcullisError } from '../errors.ts'
import type { Deps } from '../policy.ts'
import { createMemoryStore } from './memory.ts'
import type { LimitStore, StoreConfig } from './ports.ts'

export type StoreDeps = Pick<Deps, 'clock' | 'random' | 'runtime' | 'logger'>

/**
 * The one store for this config in this process.
 * @throws {PortcullisError} `store_unavailable` when this build has no such store.
 */
export function openLimitStore(config: StoreConfig, deps: StoreDeps): LimitStore {
  switch (config.store) {
    case 'memory':
      // Nothing else of the config matters to it: equal names are equal counters.
      return deps.runtime.share('store.memory', {}, () => createMemoryStore(deps))
    case 'redis':
      throw new PortcullisError('store_unavailable', 'The Redis store is not part of this build; use `store: memory`.')
  }
}
