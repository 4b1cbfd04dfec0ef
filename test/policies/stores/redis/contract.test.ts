import { afterAll, beforeAll } from 'vitest'
import { limitStoreContract } from '../../../contract/limit-store.ts'
import { onEachRedis } from '../../../support/redis/on-each.ts'
import { type RedisServer, startRedis } from '../../../support/redis/server.ts'
import { openRedisStore } from '../../../support/redis/store.ts'

onEachRedis('limit store contract', (backend) => {
  let server: RedisServer
  let stores = 0
  beforeAll(async () => {
    server = await startRedis({ backend })
  })
  afterAll(() => server.close())

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
})
