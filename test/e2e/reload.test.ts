import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Model, startModel } from '../support/model/index.ts'
import { ask, chat, send } from './support/ask.ts'
import { configOf, KEYS, tokens } from './support/config.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong, KongConfig } from './support/kong.ts'
import { metrics, settledBy } from './support/metrics.ts'
import { byStatus, mixedUp, startTraffic } from './support/traffic.ts'
import { until } from './support/wait.ts'

const LIMITS = { a: 1_000_000_001, b: 1_000_000_002 }
const TRAFFIC = { limits: LIMITS, callers: 8, keys: Object.values(KEYS) }

describe.skipIf(kongMissing).each([1, 2])('reloads and quiet, %i workers', (workers) => {
  let model: Model
  let kong: Kong
  let config: KongConfig

  beforeAll(async () => {
    model = await startModel({ keep: 1_000_000, knobs: { output: 4 } })
    config = configOf(model.url, {
      a: { limits: [tokens(LIMITS.a, { name: 'a' })] },
      b: { limits: [tokens(LIMITS.b, { name: 'b' })] },
      small: { limits: [tokens(300, { name: 'small', window_seconds: 3_600 })] },
    })
    kong = await startKong({ config, workers })
  })
  afterAll(async () => {
    await kong?.stop()
    await model?.close()
  })

  test('POST /config, six times under traffic: every answer is a good one', async () => {
    const traffic = startTraffic(kong, TRAFFIC)
    for (let round = 0; round < 6; round++) {
      await sleep(500)
      await kong.apply(config)
    }
    await sleep(500)
    await traffic.stop()
    console.log(`POST /config, ${workers} workers: ${JSON.stringify(byStatus(traffic.answers))}`)
    expect(traffic.answers.filter(({ status, wrong }) => status !== 200 || wrong !== undefined)).toEqual([])
    expect(mixedUp(model)).toEqual([])
  })

  test('POST /config and an idle minute forget no counter', async () => {
    const first = await ask(kong, { route: 'small', key: KEYS.bob })
    expect(first.status).toBe(200)
    await untilSettled()
    await kong.apply(config)
    const after = await ask(kong, { route: 'small', key: KEYS.bob })
    // Kong forgets plugin instances that nobody called for a minute.
    await sleep(62_000)
    const later = await ask(kong, { route: 'small', key: KEYS.bob })
    const left = [first, after, later].map((reply) => Number(reply.headers.get('x-ratelimit-remaining-tokens')))
    expect([after.status, later.status]).toEqual([200, 200])
    expect(left[1]).toBeLessThan(left[0] as number)
    expect(left[2]).toBeLessThan(left[1] as number)
  })

  test('a changed limit holds from the next request on, in every worker', async () => {
    const changed = configOf(model.url, { a: { limits: [tokens(777_777, { name: 'a' })] } })
    await kong.apply(changed)
    await until('the new limit', async () => {
      const replies = await Promise.all(Array.from({ length: 16 }, () => ask(kong, { route: 'a' })))
      return replies.every((reply) => reply.headers.get('x-ratelimit-limit-tokens') === '777777')
    })
    await kong.apply(config)
    await until('the old limits', async () => {
      const replies = await Promise.all(Array.from({ length: 16 }, () => ask(kong, { route: 'a' })))
      return replies.every((reply) => reply.headers.get('x-ratelimit-limit-tokens') === String(LIMITS.a))
    })
  })

  test('kong reload under traffic: nothing passes undecided, streams end whole', async () => {
    const streams = Array.from({ length: 10 }, async () => {
      const reply = await send(kong, {
        route: 'a',
        body: chat({ stream: true }),
        headers: { 'x-model-pace': '100', 'x-model-output': '40' },
      })
      return { status: reply.status, text: await reply.text() }
    })
    const traffic = startTraffic(kong, TRAFFIC)
    await sleep(1_000)
    const before = await kong.pluginServers()
    await kong.reload()
    const reloaded = traffic.now()
    await until('requests pass again', async () => {
      const since = traffic.answers.filter(({ status, at, took }) => status === 200 && at - took > reloaded)
      return since.length > 100
    })
    await sleep(1_000)
    await traffic.stop()
    console.log(`kong reload, ${workers} workers: ${JSON.stringify(byStatus(traffic.answers))}`)
    for (const { status, text } of await Promise.all(streams)) {
      expect(status).toBe(200)
      expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
    }
    // While the old workers go, a connection may be closed before its request was read.
    const odd = traffic.answers.filter(({ status, wrong }) => ![200, 500, 503].includes(status) || wrong !== undefined)
    expect(odd.filter(({ status }) => status !== 0)).toEqual([])
    expect(mixedUp(model)).toEqual([])
    await until('one plugin server is left, the new one', async () => {
      const left = await kong.pluginServers()
      return left.length === 1 && !left.some((pid) => before.includes(pid))
    })
  })

  test('1,000 streams side by side: all whole, all settled', async () => {
    const count = 1_000
    // The process behind the metrics is the one that answers: a reload may have just replaced it.
    await until('metrics of this process', async () => {
      expect((await ask(kong, { route: 'b' })).status).toBe(200)
      return (await metrics()).sum('portcullis_kong_connections') > 0
    })
    await untilSettled()
    const settled = await settledBy(async () => {
      const open: Promise<OpenStream>[] = []
      for (let wave = 0; wave < count / 20; wave++) {
        open.push(...Array.from({ length: 20 }, () => openStream(kong)))
        // As fast as one core decides, so that nobody waits beyond the deadline.
        await Promise.all(open.slice(-20))
      }
      const streams = await Promise.all(open)
      expect(streams.filter(({ status }) => status !== 200)).toEqual([])
      expect(streams.filter(({ ended }) => ended())).toEqual([])
      const texts = await Promise.all(streams.map(({ text }) => text))
      expect(texts.filter((text) => !text.endsWith('data: [DONE]\n\n'))).toEqual([])
    }, count)
    expect(settled.settlements({ ended: 'complete', usage: 'reported' })).toBe(count)
    await until('nothing is left open', async () => {
      const now = await metrics()
      return now.sum('portcullis_kong_open_events') === 0 && now.sum('portcullis_kong_open_work') === 0
    })
  })
})

/** Kong tells of ended requests some milliseconds later, in batches. */
async function untilSettled(): Promise<void> {
  await until('all before is settled', async () => {
    const before = (await metrics()).sum('portcullis_settlements_total')
    await sleep(500)
    return (await metrics()).sum('portcullis_settlements_total') === before
  })
}

interface OpenStream {
  readonly status: number | undefined
  readonly text: Promise<string>
  ended(): boolean
}

/** Resolves with the head of the reply; the stream then takes half a minute. */
async function openStream(kong: Kong): Promise<OpenStream> {
  const request = httpRequest({
    agent: false,
    port: kong.port,
    host: '127.0.0.1',
    method: 'POST',
    path: '/b/v1/chat/completions',
    headers: {
      authorization: `Bearer ${KEYS.alice}`,
      'content-type': 'application/json',
      'x-model-pace': '3000',
      'x-model-output': '8',
    },
  })
  const answered = once(request, 'response')
  request.end(JSON.stringify(chat({ stream: true })))
  const [reply] = (await answered) as [IncomingMessage]
  return { status: reply.statusCode, text: readAll(reply), ended: () => reply.readableEnded }
}

async function readAll(reply: IncomingMessage): Promise<string> {
  let text = ''
  for await (const piece of reply) text += String(piece)
  return text
}
