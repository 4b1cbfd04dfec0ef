/** Counts what one request costs in round trips: of Kong to the plugin server, and of that to Redis. */

import { Redis } from 'ioredis'
import { metrics } from '../../e2e/support/metrics.ts'

const REQUESTS = 300

export interface RoundTrips {
  /** Messages between Kong and the plugin server; of a batch of settlements each request has its share. */
  readonly rpc: number
  /** Messages that Redis read: several commands in one are one. */
  readonly redis: number
}

/** @param send makes one request after the other */
export async function countRoundTrips(redisPort: number, send: () => Promise<unknown>): Promise<RoundTrips> {
  const client = new Redis(redisPort, '127.0.0.1')
  try {
    const before = await read(client)
    for (let sent = 0; sent < REQUESTS; sent++) await send()
    // What happens after the reply belongs to it.
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    const after = await read(client)
    const idle = await idleReads(client)
    const seconds = (after.at - before.at) / 1_000
    return {
      rpc: (after.rpc - before.rpc) / REQUESTS,
      redis: Math.max(0, (after.redis - before.redis - idle * seconds) / REQUESTS),
    }
  } finally {
    client.disconnect()
  }
}

/** Reads of Redis in a second without requests: looks for revocations, and the like. */
async function idleReads(client: Redis): Promise<number> {
  const before = await readsOf(client)
  await new Promise((resolve) => setTimeout(resolve, 2_000))
  return ((await readsOf(client)) - before) / 2
}

async function read(client: Redis): Promise<{ readonly rpc: number; readonly redis: number; readonly at: number }> {
  const seen = await metrics()
  return { rpc: seen.sum('portcullis_kong_rpc_seconds_count'), redis: await readsOf(client), at: Date.now() }
}

async function readsOf(client: Redis): Promise<number> {
  const [, reads] = /total_reads_processed:(\d+)/.exec(await client.info('stats')) ?? []
  if (reads === undefined) throw new Error('this Redis does not count its reads')
  return Number(reads)
}
