/** Suites that run on every Redis there is. */

import { describe, it } from 'vitest'
import { haveRedisServer, type RedisBackend, redisBackends } from './backends.ts'

/** Defines the suite once for each; with none it is skipped, and says so loudly. @throws with REQUIRE_REDIS=1 */
export function onEachRedis(suite: string, define: (backend: RedisBackend) => void): void {
  if (!haveRedisServer(suite)) {
    describe.skip(suite, () => it('needs a Redis'))
    return
  }
  // A container may take its time on a busy machine.
  for (const backend of redisBackends())
    describe(`${suite}, on ${backend.name}`, { timeout: 60_000 }, () => define(backend))
}
