import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Model, startModel } from '../support/model/index.ts'
import { ask, chat, codeOf } from './support/ask.ts'
import { configOf, KEYS, tokens } from './support/config.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong } from './support/kong.ts'
import { byStatus, mixedUp, startTraffic, type Traffic } from './support/traffic.ts'
import { until } from './support/wait.ts'

/** Each route is known by its limit. `bare` reads bodies through the plugin API, without llm-edge. */
const LIMITS = { a: 1_000_001, b: 1_000_002, bare: 1_000_003 }
const TRAFFIC = { limits: LIMITS, callers: 12, keys: Object.values(KEYS) }

describe.skipIf(kongMissing).each([1, 2])('the plugin server fails under traffic, %i workers', (workers) => {
  let model: Model
  let kong: Kong

  beforeAll(async () => {
    model = await startModel({ keep: 1_000_000, knobs: { output: 4 } })
    const route = (name: keyof typeof LIMITS, options: object = {}) => ({
      limits: [tokens(LIMITS[name], { name, per: ['global'], window_seconds: 1 })],
      ...options,
    })
    const routes = { a: route('a'), b: route('b'), bare: route('bare', { edge: false }) }
    kong = await startKong({ config: configOf(model.url, routes), workers })
  })
  afterAll(async () => {
    await kong?.stop()
    await model?.close()
  })

  async function pluginServer(): Promise<number> {
    await until('one plugin server runs', async () => (await kong.pluginServers()).length === 1)
    return (await kong.pluginServers())[0] as number
  }

  async function untilServed(traffic: Traffic, from: number): Promise<number> {
    const enough = TRAFFIC.callers * 3
    const served = () => traffic.answers.filter((answer) => answer.status === 200 && answer.at - answer.took > from)
    await until('requests pass again', async () => served().length > enough, 60_000)
    return Math.min(...served().map((answer) => answer.at)) - from
  }

  /** Only what was decided by its own config passes; everything else is a refusal. */
  function judge(traffic: Traffic): void {
    const odd = traffic.answers.filter(
      (answer) => ![200, 500, 503].includes(answer.status) || answer.wrong !== undefined,
    )
    expect(odd).toEqual([])
    expect(mixedUp(model)).toEqual([])
  }

  test('kill -9, three times', async () => {
    const traffic = startTraffic(kong, TRAFFIC)
    await untilServed(traffic, 0)
    const recoveries: number[] = []
    for (let round = 0; round < 3; round++) {
      const pid = await pluginServer()
      await kong.signal(pid, 'SIGKILL')
      const killed = traffic.now()
      recoveries.push(await untilServed(traffic, killed))
    }
    await traffic.stop()
    console.log(
      `kill -9, ${workers} workers: served again after ${recoveries.map((ms) => `${Math.round(ms)} ms`).join(', ')};`,
      JSON.stringify(byStatus(traffic.answers)),
    )
    judge(traffic)
    expect(traffic.answers.some((answer) => answer.status === 503)).toBe(true)
  })

  test('SIGSTOP for five seconds', async () => {
    const pid = await pluginServer()
    const traffic = startTraffic(kong, TRAFFIC)
    await untilServed(traffic, 0)
    await kong.signal(pid, 'SIGSTOP')
    const stopped = traffic.now()
    await sleep(5_000)
    const during = traffic.answers.filter((answer) => answer.at > stopped)
    await kong.signal(pid, 'SIGCONT')
    const continued = traffic.now()
    const recovered = await untilServed(traffic, continued)
    await traffic.stop()
    const slowest = Math.max(...during.map((answer) => answer.took))
    console.log(
      `SIGSTOP, ${workers} workers: ${JSON.stringify(byStatus(during))} meanwhile, the slowest after`,
      `${Math.round(slowest)} ms; served again ${Math.round(recovered)} ms after SIGCONT`,
    )
    judge(traffic)
    expect(during.filter((answer) => answer.status === 503).length).toBeGreaterThan(0)
    // The same process went on: nothing that piled up meanwhile broke it.
    expect(await pluginServer()).toBe(pid)
  })

  test.each([
    ['a', 'b'],
    ['b', 'a'],
    ['bare', 'a'],
  ] as const)('after a respawn %s is called first, then %s: each by its own config', async (first, then) => {
    for (const route of [first, then]) expect((await ask(kong, { route })).status).toBe(200)
    await kong.signal(await pluginServer(), 'SIGKILL')
    await until(`${first} is served`, async () => (await ask(kong, { route: first })).status === 200)
    for (let round = 0; round < 20; round++) {
      for (const route of [then, first]) {
        const reply = await ask(kong, { route })
        expect(reply.status).toBe(200)
        expect(Number(reply.headers.get('x-ratelimit-limit-tokens'))).toBe(LIMITS[route])
      }
    }
  })

  test('an upload that is caught in a respawn never gets another body', async () => {
    const uploads = Array.from({ length: 6 }, (_, at) => slowUpload(`upload-${at}`))
    // Every upload has begun: Kong has its head, the plugin waits for its body.
    await sleep(500)
    await kong.signal(await pluginServer(), 'SIGKILL')
    const traffic = startTraffic(kong, { ...TRAFFIC, limits: { bare: LIMITS.bare } })
    await untilServed(traffic, 0)
    const statuses = await Promise.all(uploads.map((upload) => upload.finish()))
    await traffic.stop()
    console.log(`uploads caught in a respawn, ${workers} workers: ${statuses.join(', ')}`)
    judge(traffic)
    expect(statuses.every((status) => [200, 500, 503].includes(status))).toBe(true)
  })

  function slowUpload(word: string) {
    const body = JSON.stringify(chat({ messages: [{ role: 'user', content: word }] }))
    const request = httpRequest({
      port: kong.port,
      host: '127.0.0.1',
      method: 'POST',
      path: '/bare/v1/chat/completions',
      headers: {
        authorization: `Bearer ${KEYS.bob}`,
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
        'x-word': word,
      },
    })
    request.write(body.slice(0, 20))
    const answered = once(request, 'response')
    return {
      async finish(): Promise<number> {
        request.end(body.slice(20))
        const [reply] = await answered
        reply.resume()
        return reply.statusCode
      },
    }
  }

  test('while nobody can decide, the refusal says so in the shape of the API', async () => {
    const askSome = () => Promise.all(Array.from({ length: 16 }, () => ask(kong, { route: 'a' })))
    expect((await askSome()).map(({ status }) => status)).toEqual(Array(16).fill(200))
    await kong.signal(await pluginServer(), 'SIGKILL')
    const replies = await askSome()
    // 500 is Kong's own, from a worker that had not started this plugin yet.
    expect(replies.filter(({ status }) => ![200, 500, 503].includes(status))).toEqual([])
    const refused = replies.filter(({ status }) => status === 503)
    expect(refused.length).toBeGreaterThan(0)
    for (const reply of refused) {
      expect(codeOf(reply)).toBe('policy_unavailable')
      expect(reply.headers.get('x-request-id')).toMatch(/^[0-9a-f]{32}$/)
    }
  })
})
