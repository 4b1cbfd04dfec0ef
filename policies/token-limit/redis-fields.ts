/** Config fields of the store that holds the counters. */

import { choice, integer, record } from '../schema/declare.ts'
import { defineFields } from '../schema/fields.ts'
import { redisFields } from '../stores/redis/config.ts'

export const storeFields = defineFields({
  store: {
    type: choice('memory', 'redis'),
    description: 'Where counters live. `memory`: in this process, gone when it ends, not shared with other nodes.',
    default: 'memory',
  },
  redis: { type: record(redisFields), description: 'The connection, with `store: redis`.' },
  on_store_error: {
    type: choice('local', 'deny', 'allow'),
    description:
      'While the store is down: count locally with a share of each limit, refuse with 503, or let everything through uncounted.',
    default: 'local',
  },
  nodes: {
    type: integer({ min: 1, max: 10_000 }),
    description: 'How many gateway nodes share the limits, for `on_store_error: local` as long as fewer were seen.',
  },
})
