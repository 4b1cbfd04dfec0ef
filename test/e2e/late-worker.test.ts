/** A worker of Kong that stands still while the plugin server decides: what was reserved is used or given back. */

import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Model, startModel } from '../support/model/index.ts'
import { haveRedisServer } from '../support/redis/backends.ts'
import { type RedisServer, startRedis } from '../support/redis/server.ts'
import { ask, chat } from './support/ask.ts'
import { configOf, tokens } from './support/config.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong } from './support/kong.ts'
import { metrics } from './support/metrics.ts'
import { until } from './support/wait.ts'

const LIMIT = 10_000_000
/** What each request reserves, far above what it uses. */
const LARGE = { model: 'gpt-4o-mini', max_tokens: 100_000, messages: [{ role: 'user', content: 'Say hello.' }] }
const MANY = 8

describe.skipIf(kongMissing)('a worker that stands still', () => {
  let model: Model
  let kong: Kong

  beforeAll(async () => {
    model = await startModel({ keep: 1_000, knobs: { output: 4 } })
    const limits = [tokens(LIMIT, { window_seconds: 86_400 })]
    kong = await startKong({ config: configOf(model.url, { one: { limits } }) })
    for (let n = 0; n < 2; n++) expect((await ask(kong, { route: 'one' })).status).toBe(200)
  })
  afterAll(async () => {
    await kong?.stop()
    await model?.close()
  })

  async function remaining(): Promise<number> {
    const reply = await ask(kong, { route: 'one' })
    expect(reply.status).toBe(200)
    return Number(reply.headers.get('x-ratelimit-remaining-tokens'))
  }

  test('takes the answers that came meanwhile, and loses nothing of what they hold', async () => {
    await until('one plugin server runs', async () => (await kong.pluginServers()).length === 1)
    const [server] = (await kong.pluginServers()) as [number]
    const worker = parentOf(server)
    const passed = async () =>
      (await metrics()).sum('portcullis_kong_rpc_seconds_count', { method: 'portcullis.Access' })
    const before = await passed()

    await kong.signal(server, 'SIGSTOP')
    const asked = Array.from({ length: MANY }, () => ask(kong, { route: 'one', body: LARGE }))
    await sleep(1_000)
    await kong.signal(worker, 'SIGSTOP')
    await kong.signal(server, 'SIGCONT')
    try {
      await until('all are decided', async () => (await passed()) >= before + MANY)
      // As long as Kong waits for an answer.
      await sleep(2_000)
    } finally {
      await kong.signal(worker, 'SIGCONT')
    }
    const statuses = (await Promise.all(asked)).map(({ status }) => status)
    console.log(`decided while the worker stood still: ${statuses.join(' ')}`)
    expect(statuses).toEqual(Array(MANY).fill(200))
    await until('nothing is held', async () => (await remaining()) > LIMIT - LARGE.max_tokens)
  })
})

/** Bodies of which several fill a socket: each comes back with the answer, since the usage of its stream is asked for. */
const HUGE = chat({ stream: true, max_tokens: 100_000, messages: [{ role: 'user', content: 'x'.repeat(300_000) }] })

const redisMissing = !haveRedisServer('a worker that never gets its answers')
describe.skipIf(kongMissing || redisMissing)('a worker that never gets its answers', () => {
  let model: Model
  let redis: RedisServer
  let kong: Kong

  beforeAll(async () => {
    redis = await startRedis()
    model = await startModel({ keep: 1_000, knobs: { output: 4 } })
    const limits = [tokens(LIMIT, { window_seconds: 86_400 })]
    const url = `redis://127.0.0.1:${redis.port}`
    const settings = { store: 'redis', redis: { url, command_timeout_ms: 1_400 }, on_store_error: 'deny' }
    kong = await startKong({ config: configOf(model.url, { one: { limits, settings } }) })
    for (let n = 0; n < 3; n++) expect((await ask(kong, { route: 'one' })).status).toBe(200)
  })
  afterAll(async () => {
    await kong?.stop()
    await model?.close()
    await redis?.close()
  })

  test('refuses, and what was let through is given back', async () => {
    await until('one plugin server runs', async () => (await kong.pluginServers()).length === 1)
    const [server] = (await kong.pluginServers()) as [number]
    const worker = parentOf(server)
    const answered = async (method: string) => (await metrics()).sum('portcullis_kong_rpc_seconds_count', { method })
    const [events, steps] = [await answered('portcullis.Access'), await answered('portcullis.Step')]

    await redis.freeze()
    const asked = Array.from({ length: MANY }, () => ask(kong, { route: 'one', body: HUGE }))
    try {
      await until('all bodies are asked for', async () => (await answered('portcullis.Access')) >= events + MANY)
      await sleep(200)
      await kong.signal(worker, 'SIGSTOP')
      await redis.thaw()
      await until('all are decided', async () => (await answered('portcullis.Step')) >= steps + MANY)
      await kong.signal(server, 'SIGSTOP')
      await kong.signal(worker, 'SIGCONT')
      const statuses = (await Promise.all(asked)).map(({ status }) => status)
      console.log(`decided, and never answered: ${statuses.join(' ')}`)
      expect(statuses.filter((status) => status !== 200 && status !== 503)).toEqual([])
    } finally {
      await kong.signal(worker, 'SIGCONT')
      await kong.signal(server, 'SIGCONT')
    }
    await until('nothing is held', async () => {
      const reply = await ask(kong, { route: 'one' })
      return reply.status === 200 && Number(reply.headers.get('x-ratelimit-remaining-tokens')) > LIMIT - 100_000
    })
  })
})

function parentOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
}
