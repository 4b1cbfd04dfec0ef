/** Warns of a Redis that forgets keys when its memory is full: an evicted counter is a forgotten limit. */

import type { Logger } from '../../policy.ts'
import { publish } from '../../telemetry.ts'
import type { RedisConnection } from './connection.ts'
import { RedisFailure } from './failure.ts'

/** Looks at every Redis node; says the same of a node only once. @throws {RedisFailure} when Redis does not answer */
export function createEvictionWatch(connection: Pick<RedisConnection, 'masters'>, logger: Logger): () => Promise<void> {
  const said = new Map<string, string>()

  function warn(node: string, policy: string): void {
    if (said.get(node) === policy) return
    said.set(node, policy)
    if (policy === 'noeviction') return
    logger.warn('redis may evict counters and so forget limits; set maxmemory-policy to noeviction', {
      store: 'redis',
      node,
      maxmemory_policy: policy,
    })
    publish('store', () => ({ store: 'redis', node, state: 'degraded', reason: `maxmemory_policy ${policy}` }))
  }

  return async () => {
    try {
      for (const { node, send } of connection.masters())
        warn(node, /^maxmemory_policy:(\S+)/m.exec(String(await send('info', 'memory')))?.[1] ?? 'unknown')
    } catch (error) {
      // The user need not be allowed to look.
      if (!(error instanceof RedisFailure) || error.reason !== 'NOPERM') throw error
      warn('redis', 'unreadable')
    }
  }
}
