/** Where a Redis for tests comes from: the PATH, or a container. A test that finds none says so loudly. */

import { redisServerVersion } from './server.ts'

/** With it a skipped test is a failure. */
const REQUIRED = process.env.REQUIRE_REDIS === '1'

export const redisVersion = redisServerVersion()

/** True when there is a redis-server in the PATH; says loudly when not. @throws with REQUIRE_REDIS=1 */
export function haveRedisServer(suite: string): boolean {
  return redisVersion !== undefined || skipped(suite, 'there is no redis-server in the PATH')
}

export function skipped(suite: string, why: string): false {
  if (REQUIRED) throw new Error(`${suite}: ${why}, and REQUIRE_REDIS=1`)
  console.warn(`\n*** SKIPPED: ${suite}: ${why} ***\n`)
  return false
}
