import { once } from 'node:events'
import { Agent, request as httpRequest } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { outputTokens } from '../support/model/generation.ts'
import { type Knobs, type Model, startModel } from '../support/model/index.ts'
import { ask, chat, messages, send } from './support/ask.ts'
import { configOf, KEYS, tokens } from './support/config.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong } from './support/kong.ts'
import { settledBy } from './support/metrics.ts'

const STREAM = chat({ stream: true })
const REPORTED = chat({ stream: true, stream_options: { include_usage: true } })

describe.skipIf(kongMissing)('replies through Kong', () => {
  let model: Model
  let kong: Kong

  beforeAll(async () => {
    model = await startModel()
    kong = await startKong({
      config: configOf(model.url, {
        plenty: { limits: [tokens()] },
        enforced: { limits: [tokens(1_000_000, { name: 'enforced' })], settings: { enforce_stream: true } },
      }),
    })
  })
  afterAll(async () => {
    await kong?.stop()
    await model?.close()
  })

  const knobs = (set: Partial<Knobs>) =>
    Object.fromEntries(Object.entries(set).map(([name, value]) => [`x-model-${name}`, String(value)]))

  /** Reads until the text matches, while the upstream keeps the rest to itself. */
  async function readUntil(reply: Response, wanted: RegExp): Promise<string> {
    let text = ''
    for await (const piece of reply.body ?? []) {
      text += Buffer.from(piece).toString()
      if (wanted.test(text)) return text
    }
    throw new Error(`the stream ended with ${text}`)
  }

  test.each([1, 2, 3, 4])(
    'after %i events the caller has them all, though the upstream says no more',
    async (count) => {
      const stop = new AbortController()
      const settled = await settledBy(async () => {
        const reply = await send(kong, {
          route: 'plenty',
          body: STREAM,
          headers: knobs({ hang: count }),
          signal: stop.signal,
        })
        const text = await readUntil(reply, new RegExp(`^(?:data: .*\n\n){${count}}$`))
        expect(text.match(/^data: /gm)).toHaveLength(count)
        stop.abort()
      })
      expect(settled.settlements({ ended: 'client_gone' })).toBe(1)
    },
  )

  test('the usage event that nobody asked for is withheld, and counted all the same', async () => {
    const settled = await settledBy(async () => {
      const reply = await ask(kong, { route: 'plenty', body: STREAM, headers: knobs({ output: 23 }) })
      expect(reply.text).not.toMatch(/"usage":\{/)
      expect(reply.text).not.toMatch(/"choices":\[\]/)
      expect(reply.text.endsWith('data: [DONE]\n\n')).toBe(true)
    })
    expect(JSON.parse(String(model.requests.at(-1)?.body))).toMatchObject({ stream_options: { include_usage: true } })
    expect(settled.settlements({ ended: 'complete', usage: 'reported' })).toBe(1)
    expect(settled.tokens('settled')).toBe(reportedTokens(model))
  })

  test('a caller who asked for the usage event gets it', async () => {
    await settledBy(async () => {
      const reply = await ask(kong, { route: 'plenty', body: REPORTED })
      expect(reply.text).toMatch(/"choices":\[\],.*"usage":\{/)
    })
  })

  test.each<Partial<Knobs>>([
    { ending: 'crlf' },
    { ending: 'cr' },
    { comments: 1 },
    { cut: 1 },
    { cut: 7, ending: 'crlf', comments: 1 },
    { say: 'usage' },
    { done: 0 },
    { type: 'application/json' },
    { type: 'text/plain' },
  ])('usage is observed and withheld with %o', async (set) => {
    const settled = await settledBy(async () => {
      const reply = await ask(kong, { route: 'plenty', body: STREAM, headers: knobs(set) })
      expect(reply.text).not.toMatch(/"choices":\[\]/)
      expect(reply.text).toMatch(/"finish_reason":"(?:stop|length)"/)
    })
    expect(settled.settlements({ ended: 'complete', usage: 'reported' })).toBe(1)
    expect(settled.tokens('settled')).toBe(reportedTokens(model))
  })

  test('the two halves of an Anthropic stream are joined, every byte passes', async () => {
    let text = ''
    const settled = await settledBy(async () => {
      const body = messages({ stream: true })
      text = (await ask(kong, { route: 'plenty', path: '/v1/messages', body, headers: knobs({ cached: 3 }) })).text
    })
    expect(text).toMatch(/event: message_stop\ndata: .*\n\n$/)
    expect(settled.settlements({ ended: 'complete', usage: 'reported' })).toBe(1)
    expect(settled.tokens('settled')).toBe(reportedTokens(model))
  })

  test.each(['', '?alt=sse'])('Gemini streams, as a list and as events: "%s"', async (query) => {
    const settled = await settledBy(async () => {
      const path = `/v1beta/models/gemini-2.5-flash:streamGenerateContent${query}`
      const body = { contents: [{ role: 'user', parts: [{ text: 'Say hello.' }] }] }
      const headers = { 'x-goog-api-key': KEYS.alice, authorization: '' }
      const reply = await ask(kong, { route: 'plenty', path, body, headers })
      expect(reply.text).toMatch(query === '' ? /^\[.*\]$/s : /^data: /)
    })
    expect(settled.settlements({ ended: 'complete', usage: 'reported' })).toBe(1)
    expect(settled.tokens('settled')).toBe(reportedTokens(model))
  })

  test('a compressed reply arrives unpacked, and is counted', async () => {
    const { port } = kong
    const settled = await settledBy(async () => {
      const request = httpRequest({
        port,
        host: '127.0.0.1',
        method: 'POST',
        path: '/plenty/v1/chat/completions',
        headers: { authorization: `Bearer ${KEYS.alice}`, 'content-type': 'application/json', ...knobs({ gzip: 1 }) },
      })
      request.end(JSON.stringify(STREAM))
      const [reply] = await once(request, 'response')
      const pieces: Buffer[] = []
      for await (const piece of reply) pieces.push(piece)
      expect(reply.headers['content-encoding']).toBeUndefined()
      expect(Buffer.concat(pieces).toString()).toMatch(/data: \[DONE\]\n\n$/)
    })
    expect(model.requests.at(-1)?.headers['accept-encoding']).toBe('identity')
    expect(settled.settlements({ ended: 'complete', usage: 'reported' })).toBe(1)
    expect(settled.tokens('settled')).toBe(reportedTokens(model))
  })

  test.each(['length', 'chunked'] as const)('replies with framing %s leave the connection usable', async (framing) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const sockets = new Set<unknown>()
    const bodies = [STREAM, chat(), STREAM, REPORTED]
    await settledBy(async () => {
      for (const body of bodies) {
        const request = httpRequest({
          agent,
          port: kong.port,
          host: '127.0.0.1',
          method: 'POST',
          path: '/plenty/v1/chat/completions',
          headers: { authorization: `Bearer ${KEYS.alice}`, 'content-type': 'application/json', ...knobs({ framing }) },
        })
        request.on('socket', (socket) => sockets.add(socket))
        request.end(JSON.stringify(body))
        const [reply] = await once(request, 'response')
        let text = ''
        for await (const piece of reply) text += String(piece)
        expect(reply.statusCode).toBe(200)
        if ('stream' in body) expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
        else expect(JSON.parse(text)).toHaveProperty('usage')
      }
    }, bodies.length)
    agent.destroy()
    expect(sockets.size).toBe(1)
  })

  test('over HTTP/2: several streams on one connection, all of them whole', async () => {
    const session = connectHttp2(kong.url)
    const settled = await settledBy(async () => {
      await Promise.all(
        Array.from({ length: 8 }, async (_, at) => {
          const stream = session.request({
            ':method': 'POST',
            ':path': '/plenty/v1/chat/completions',
            authorization: `Bearer ${KEYS.alice}`,
            'content-type': 'application/json',
            ...knobs({ framing: at % 2 === 0 ? 'length' : 'chunked', pace: 2 }),
          })
          stream.end(JSON.stringify(STREAM))
          let text = ''
          for await (const piece of stream) text += String(piece)
          expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
          expect(text).not.toMatch(/"choices":\[\]/)
          expect(stream.rstCode).toBe(0)
        }),
      )
    }, 8)
    session.close()
    expect(settled.settlements({ ended: 'complete', usage: 'reported' })).toBe(8)
  })

  test('the upstream breaks off: the caller notices, what passed is settled', async () => {
    const settled = await settledBy(async () => {
      const reply = await send(kong, { route: 'plenty', body: STREAM, headers: knobs({ break: 3 }) })
      await expect(reply.text()).rejects.toThrow()
    })
    expect(settled.settlements({ ended: 'upstream_failed' })).toBe(1)
  })

  test('the upstream fails before a token: all is refunded', async () => {
    for (const set of [{ status: 500 }, { status: 429 }, { break: 0 }]) {
      const settled = await settledBy(async () => {
        const reply = await ask(kong, { route: 'plenty', headers: knobs(set) })
        expect(reply.status).toBe('status' in set ? set.status : 502)
      })
      expect(settled.tokens('settled'), JSON.stringify(set)).toBe(0)
      expect(settled.tokens('refunded')).toBeGreaterThan(64)
    }
  })

  test('a stream that runs past its budget is ended as its API ends one, and the upstream is let go', async () => {
    const body = chat({ stream: true, max_tokens: 16 })
    for (let round = 0; round < 3; round++) {
      let text = ''
      const settled = await settledBy(async () => {
        // It would say more, and waits for Kong to hang up.
        const headers = knobs({ disobey: 1, output: 400, hang: 200 })
        text = (await ask(kong, { route: 'enforced', body, headers })).text
        expect(await model.requests.at(-1)?.ended).toBe('gone')
      })
      const events = [...text.matchAll(/^data: (.*)$/gm)].map((match) => match[1] ?? '')
      expect(events.at(-1)).toBe('[DONE]')
      expect(JSON.parse(events.at(-2) ?? '')).toMatchObject({ choices: [{ finish_reason: 'length' }] })
      expect(settled.settlements({ ended: 'ended_early' })).toBe(1)
    }
  })

  test('over HTTP/2 a stream is ended just as well', async () => {
    const session = connectHttp2(kong.url)
    const stream = session.request({
      ':method': 'POST',
      ':path': '/enforced/v1/chat/completions',
      authorization: `Bearer ${KEYS.alice}`,
      'content-type': 'application/json',
      ...knobs({ disobey: 1, output: 400 }),
    })
    stream.end(JSON.stringify(chat({ stream: true, max_tokens: 16 })))
    let text = ''
    for await (const piece of stream) text += String(piece)
    session.close()
    expect(text).toMatch(/"finish_reason":"length".*\n\ndata: \[DONE\]\n\n$/)
  })
})

/** What the stand-in reported for the last request: input and output. */
function reportedTokens(model: Model): number {
  const generation = model.requests.at(-1)?.generation
  if (generation === undefined) throw new Error('nothing was generated')
  return generation.inputTokens + outputTokens(generation)
}
