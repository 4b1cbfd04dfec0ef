/** Suites that run on every Redis there is. */

import { describe } from 'vitest'
import { haveRedisServer, type RedisBackend, redisBackends } from './backends.ts'

/** Stands in a skipped suite, so that its tests are counted as skipped one by one. */
const NONE: RedisBackend = { name: 'no Redis', launch: () => Promise.reject(new Error('there is no Redis')) }

/** Defines the suite once for each; with none it is skipped, and says so loudly. @throws with REQUIRE_REDIS=1 */
export function onEachRedis(suite: string, define: (backend: RedisBackend) => void): void {
  const backends = haveRedisServer(suite) ? redisBackends() : [NONE]
  // A container may take its time on a busy machine.
  for (const backend of backends)
    describe.skipIf(backend === NONE)(`${suite}, on ${backend.name}`, { timeout: 60_000 }, () => define(backend))
}
