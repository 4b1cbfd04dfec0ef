/** What the Redis store tells of itself. */

import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import type { CounterSpec } from '../../../../policies/stores/ports.ts'
import { type CommandEvent, inquire, listen, type StoreStanding } from '../../../../policies/telemetry.ts'
import { haveRedisServer } from '../../../support/redis/backends.ts'
import { type RedisServer, startRedis } from '../../../support/redis/server.ts'
import { openRedisStore } from '../../../support/redis/store.ts'
import { claimOf, entryOf, HOUR, reserve, until } from './helpers.ts'

const SPEC: CounterSpec = { algorithm: 'sliding_window', limit: 1_000, windowSeconds: HOUR }
const asked = claimOf('consumer=1:a', SPEC, 10)

describe.skipIf(!haveRedisServer('what the Redis store tells'))('the Redis store', () => {
  let server: RedisServer
  let commands: CommandEvent[]
  beforeAll(async () => {
    server = await startRedis()
  })
  afterAll(() => server.close())
  beforeEach(() => {
    commands = []
  })

  function open() {
    const { store } = openRedisStore({ host: '127.0.0.1', port: server.port, command_timeout_ms: 200 })
    onTestFinished(() => store.close())
    return store
  }

  function watch(): void {
    onTestFinished(listen('command', (event) => void commands.push(event)))
  }

  function standing(): readonly StoreStanding[] {
    const standings: StoreStanding[] = []
    inquire({ store: (state) => void standings.push(state), auditSink: () => undefined })
    return standings
  }

  it('tells the name and time of every command, and never an argument', async () => {
    watch()
    const store = open()
    await store.ready()
    const result = await reserve(store, asked)
    await store.settle({ id: 'id-1', entries: [entryOf(asked, result, 5)] })
    await until(() => commands.some(({ command }) => command === 'settle'))
    expect(new Set(commands.map(({ command }) => command))).toEqual(new Set(['info', 'nodes', 'reserve', 'settle']))
    for (const { store: kind, node, durationMs, failure } of commands) {
      expect([kind, node, failure]).toEqual(['redis', `127.0.0.1:${server.port}`, undefined])
      expect(durationMs).toBeGreaterThan(0)
    }
    expect(JSON.stringify(commands)).not.toMatch(/consumer=|id-1/)
  })

  it('tells why a command had no answer, that it is down, and what waits', async () => {
    const store = open()
    await store.ready()
    const name = `127.0.0.1:${server.port}`
    expect(standing()).toEqual([{ store: 'redis', node: name, up: true, pending: 0 }])
    const result = await reserve(store, asked)
    watch()
    await server.freeze()
    await Promise.all(Array.from({ length: 6 }, () => reserve(store, asked)))
    await store.settle({ id: 'id-2', entries: [entryOf(asked, result, 500)] })
    expect(commands.filter(({ failure }) => failure === 'timeout').length).toBeGreaterThanOrEqual(5)
    expect(standing()).toEqual([{ store: 'redis', node: name, up: false, pending: 1 }])
    await server.thaw()
    await until(() => standing().every(({ up, pending }) => up && pending === 0))
  })

  it('answers no more once it is closed', async () => {
    const store = openRedisStore({ host: '127.0.0.1', port: server.port }).store
    await store.ready()
    expect(standing()).toHaveLength(1)
    await store.close()
    expect(standing()).toEqual([])
  })
})
