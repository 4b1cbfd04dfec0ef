import { afterAll, describe, it } from 'vitest'
import { limitStoreContract } from '../../../contract/limit-store.ts'
import { haveRedisServer } from '../../../support/redis/backends.ts'
import { startRedis } from '../../../support/redis/server.ts'
import { openRedisStore } from '../../../support/redis/store.ts'

if (haveRedisServer('limit store contract on Redis')) {
  const server = await startRedis()
  afterAll(() => server.close())
  let stores = 0

  limitStoreContract(
    'Redis',
    async ({ now }) => {
      let t = now
      const { store } = openRedisStore(
        { port: server.port, key_prefix: `t${stores++}:`, command_timeout_ms: 10_000 },
        { on_store_error: 'deny', now: () => t },
      )
      await store.ready()
      return {
        store,
        setTime(to) {
          t = to
        },
        close: () => store.close(),
      }
    },
    { runs: 100 },
  )
} else {
  describe.skip('limit store contract on Redis', () => it('needs a Redis'))
}
