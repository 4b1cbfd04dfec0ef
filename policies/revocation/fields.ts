/** Config fields of the deny list, the same in every policy that honours it. */

import { choice, integer, record } from '../schema/declare.ts'
import { type Config, type ConfigIssue, defineFields } from '../schema/fields.ts'
import { checkRedis, redisFields } from '../stores/redis/config.ts'

export const revocationFields = defineFields({
  store: {
    type: choice('memory', 'redis'),
    description: 'Where revocations live. `memory`: in this process, for a single node and for trying it out.',
    default: 'memory',
  },
  redis: { type: record(redisFields), description: 'The connection, with `store: redis`.' },
  poll_ms: {
    type: integer({ min: 20, max: 900 }),
    description: 'Milliseconds between two looks for new revocations: the longest that one takes to reach this node.',
    default: 250,
  },
  on_store_error: {
    type: choice('local', 'deny', 'allow'),
    description:
      'While the store cannot be reached: judge by the list as last seen, and refuse with 503 before it was ever seen; always refuse; or judge by what there is.',
    default: 'local',
  },
})

export type RevocationConfig = Config<typeof revocationFields>

/** What the field kinds cannot say. */
export function checkRevocation(config: RevocationConfig, path: string): readonly ConfigIssue[] {
  const { store, redis } = config
  if (redis === undefined)
    return store === 'redis' ? [{ path: `${path}.redis`, message: 'is required with `store: redis`' }] : []
  if (store !== 'redis') return [{ path: `${path}.redis`, message: 'is for `store: redis` only' }]
  return checkRedis(redis, `${path}.redis`)
}
