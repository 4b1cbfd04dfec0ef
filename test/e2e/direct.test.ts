/** llm-edge asks the plugin server in one message of a connection that a worker's requests share: what that costs and survives. */

import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Model, startModel } from '../support/model/index.ts'
import { ask, chat, codeOf } from './support/ask.ts'
import { configOf, KEYS, tokens } from './support/config.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong } from './support/kong.ts'
import { metrics } from './support/metrics.ts'
import { byStatus, mixedUp, startTraffic, type Traffic } from './support/traffic.ts'
import { until } from './support/wait.ts'

/** Each route is known by its limit. `own` takes Kong's own way. */
const LIMITS = { one: 1_000_000_001, two: 1_000_000_002, own: 1_000_000_003 }
const TRAFFIC = { limits: { one: LIMITS.one, two: LIMITS.two }, callers: 12, keys: Object.values(KEYS) }
const ANSWERS = 'portcullis_kong_rpc_seconds_count'
const LARGE = 'x'.repeat(200_000)

describe.skipIf(kongMissing)('one message for an access phase', () => {
  let model: Model
  let kong: Kong

  beforeAll(async () => {
    model = await startModel({ keep: 1_000_000, knobs: { output: 4 } })
    const route = (name: keyof typeof LIMITS, edge: object = {}) => ({ limits: [tokens(LIMITS[name], { name })], edge })
    const routes = { one: route('one'), two: route('two'), own: route('own', { direct: false }) }
    kong = await startKong({ config: configOf(model.url, routes) })
    for (const name of Object.keys(LIMITS)) await untilReady(name)
  })
  afterAll(async () => {
    await kong?.stop()
    await model?.close()
  })

  /** The first request of a worker goes Kong's own way, and starts the plugin. */
  async function untilReady(route: string): Promise<void> {
    for (let n = 0; n < 2; n++) expect((await ask(kong, { route })).status).toBe(200)
  }

  async function pluginServer(): Promise<number> {
    await until('one plugin server runs', async () => (await kong.pluginServers()).length === 1)
    return (await kong.pluginServers())[0] as number
  }

  async function untilServed(traffic: Traffic, from: number): Promise<number> {
    const served = () => traffic.answers.filter(({ status, at, took }) => status === 200 && at - took > from)
    await until('requests pass again', async () => served().length > TRAFFIC.callers * 3, 60_000)
    return Math.min(...served().map(({ at }) => at)) - from
  }

  function judge(traffic: Traffic): void {
    const odd = traffic.answers.filter(({ status, wrong }) => ![200, 500, 503].includes(status) || wrong !== undefined)
    expect(odd).toEqual([])
    expect(mixedUp(model)).toEqual([])
  }

  /** Messages by their method while `act` runs and what it began is settled. */
  async function messagesOf(act: () => Promise<unknown>) {
    const settled = async () => (await metrics()).sum('portcullis_settlements_total')
    await until('all before is settled', async () => {
      const before = await settled()
      await sleep(300)
      return (await settled()) === before
    })
    const before = await metrics()
    await act()
    await until('all is settled', async () => {
      const now = await metrics()
      return now.sum('portcullis_settlements_total') - before.sum('portcullis_settlements_total') >= 200
    })
    const after = await metrics()
    return (method: string) => after.sum(ANSWERS, { method }) - before.sum(ANSWERS, { method })
  }

  async function hundreds(route: string): Promise<void> {
    for (let round = 0; round < 20; round++) {
      const replies = await Promise.all(Array.from({ length: 10 }, () => ask(kong, { route })))
      expect(replies.filter(({ status }) => status !== 200)).toEqual([])
    }
  }

  test('a request that passes costs one message, and its share of a settlement', async () => {
    const messages = await messagesOf(() => hundreds('one'))
    const [access, settle] = [messages('portcullis.Access'), messages('portcullis.Settle')]
    console.log(`200 requests in one message each: ${access} access, ${settle} settle`)
    expect([access, messages('plugin.HandleEvent'), messages('plugin.Step')]).toEqual([200, 0, 0])
    expect(settle).toBeGreaterThan(0)
    expect(settle).toBeLessThan(200)
  })

  test("with `direct: false` it costs Kong's own three, and is decided alike", async () => {
    const messages = await messagesOf(() => hundreds('own'))
    const own = ['plugin.HandleEvent', 'plugin.Step', 'portcullis.Settle'].map(messages)
    console.log(`200 requests Kong's own way: ${own[0]} events, ${own[1]} steps, ${own[2]} settle`)
    expect([messages('portcullis.Access'), own[0], own[1]]).toEqual([0, 200, 400])
  })

  test('a body over 64 KiB takes one step more, and arrives whole', async () => {
    const body = chat({ messages: [{ role: 'user', content: LARGE }] })
    const before = await metrics()
    const replies = await Promise.all(Array.from({ length: 8 }, () => ask(kong, { route: 'one', body })))
    expect(replies.map(({ status }) => status)).toEqual(Array(8).fill(200))
    const after = await metrics()
    const steps = (method: string) => after.sum(ANSWERS, { method }) - before.sum(ANSWERS, { method })
    expect([steps('portcullis.Access'), steps('portcullis.Step'), steps('plugin.Step')]).toEqual([8, 8, 0])
    for (const request of model.requests.slice(-8)) expect(request.body.toString()).toContain(LARGE)
  })

  test('a caller that leaves while the decision is pending harms nobody, and holds nothing', async () => {
    const pid = await pluginServer()
    await kong.signal(pid, 'SIGSTOP')
    const leaving = Array.from({ length: 10 }, () => leave(kong.port))
    await sleep(300)
    const staying = Array.from({ length: 5 }, () => ask(kong, { route: 'one' }))
    for (const caller of leaving) caller.destroy()
    await sleep(200)
    await kong.signal(pid, 'SIGCONT')
    const replies = await Promise.all(staying)
    expect(replies.map(({ status }) => status)).toEqual(Array(5).fill(200))
    await until('nothing is left open', async () => {
      const now = await metrics()
      return now.sum('portcullis_kong_open_events') === 0 && now.sum('portcullis_kong_open_work') === 0
    })
    await until('all that was held is settled', async () => {
      const now = await metrics()
      const held = now.sum('portcullis_tokens_total', { kind: 'reserved' })
      return held > 0 && (await ask(kong, { route: 'two' })).status === 200
    })
  })

  test('kill -9 under traffic: nothing passes undecided', async () => {
    const traffic = startTraffic(kong, TRAFFIC)
    await untilServed(traffic, 0)
    const recoveries: number[] = []
    for (let round = 0; round < 3; round++) {
      await kong.signal(await pluginServer(), 'SIGKILL')
      recoveries.push(await untilServed(traffic, traffic.now()))
    }
    await traffic.stop()
    const told = recoveries.map((ms) => `${Math.round(ms)} ms`).join(', ')
    console.log(`kill -9 in one message: served again after ${told};`, JSON.stringify(byStatus(traffic.answers)))
    judge(traffic)
    expect(traffic.answers.some(({ status }) => status === 503)).toBe(true)
  })

  test('SIGSTOP under traffic: nothing passes undecided, and it goes on afterwards', async () => {
    const pid = await pluginServer()
    const traffic = startTraffic(kong, TRAFFIC)
    await untilServed(traffic, 0)
    await kong.signal(pid, 'SIGSTOP')
    const stopped = traffic.now()
    await sleep(4_000)
    const during = traffic.answers.filter(({ at }) => at > stopped)
    await kong.signal(pid, 'SIGCONT')
    const recovered = await untilServed(traffic, traffic.now())
    await traffic.stop()
    console.log(
      `SIGSTOP in one message: ${JSON.stringify(byStatus(during))} meanwhile; served again ${Math.round(recovered)} ms after`,
    )
    judge(traffic)
    expect(during.some(({ status }) => status === 503)).toBe(true)
    expect(await pluginServer()).toBe(pid)
    // And in one message again.
    await untilReady('one')
    const before = (await metrics()).sum(ANSWERS, { method: 'portcullis.Access' })
    await hundreds('one')
    expect((await metrics()).sum(ANSWERS, { method: 'portcullis.Access' }) - before).toBe(200)
  })

  test('while nobody can decide, the refusal says so in the shape of the API', async () => {
    await untilReady('one')
    const pid = await pluginServer()
    await kong.signal(pid, 'SIGSTOP')
    try {
      const reply = await ask(kong, { route: 'one' })
      expect([reply.status, codeOf(reply)]).toEqual([503, 'policy_unavailable'])
      expect(reply.headers.get('x-request-id')).toMatch(/^[0-9a-f]{32}$/)
    } finally {
      await kong.signal(pid, 'SIGCONT')
    }
    await until('requests pass again', async () => (await ask(kong, { route: 'one' })).status === 200)
  })

  test('kong reload under traffic: no request fails', async () => {
    const traffic = startTraffic(kong, TRAFFIC)
    await untilServed(traffic, 0)
    await kong.reload()
    await untilServed(traffic, traffic.now())
    await until('one plugin server is left', async () => (await kong.pluginServers()).length === 1, 30_000)
    await untilServed(traffic, traffic.now())
    await traffic.stop()
    console.log(`kong reload in one message: ${JSON.stringify(byStatus(traffic.answers))}`)
    // While the old workers go, a connection may be closed before its request was read.
    const odd = traffic.answers.filter(({ status, wrong }) => status !== 200 || wrong !== undefined)
    expect(odd.filter(({ status }) => status !== 0)).toEqual([])
    expect(mixedUp(model)).toEqual([])
  })

  function leave(port: number) {
    const body = JSON.stringify(chat())
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => undefined)
    const head = ['POST /one/v1/chat/completions HTTP/1.1', 'host: llm', `authorization: Bearer ${KEYS.alice}`]
    socket.write([...head, 'content-type: application/json', `content-length: ${body.length}`, '', body].join('\r\n'))
    return socket
  }
})
