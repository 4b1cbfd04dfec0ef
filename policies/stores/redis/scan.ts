/** Looking through all counters, for operators: Redis goes on serving in between, and what is added meanwhile may be missed. */

import { PortcullisError } from '../../errors.ts'
import type { CounterView } from '../ports.ts'
import type { Master, RedisConnection } from './connection.ts'
import type { RedisCounters } from './counters.ts'
import type { hashPattern } from './keys.ts'

/** Keys that Redis looks at in one step. */
const STEP = 500

/** @throws {RedisFailure} */
export async function* scanCounters(
  connection: Pick<RedisConnection, 'masters'>,
  counters: Pick<RedisCounters, 'showHash'>,
  pattern: ReturnType<typeof hashPattern>,
): AsyncGenerator<CounterView> {
  // A key may be met twice, and in a cluster on two servers while its slot moves.
  const seen = new Set<string>()
  for (const master of connection.masters()) {
    for await (const hashes of scanKeys(master, pattern)) {
      const fresh = hashes.filter((hash) => !seen.has(hash))
      for (const hash of fresh) seen.add(hash)
      for (const views of await Promise.all(fresh.map(counters.showHash))) yield* views
    }
  }
}

async function* scanKeys({ send }: Master, pattern: string): AsyncGenerator<readonly string[]> {
  let cursor = '0'
  do {
    const reply = await send('scan', cursor, 'MATCH', pattern, 'COUNT', STEP, 'TYPE', 'hash')
    const [next, keys] = Array.isArray(reply) ? reply : []
    if (typeof next !== 'string' || !Array.isArray(keys))
      throw new PortcullisError('store_fault', 'Redis answered SCAN with something else.')
    yield keys.map(String)
    cursor = next
  } while (cursor !== '0')
}
