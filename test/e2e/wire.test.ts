/** How requests reach Kong is nobody's business but nginx's: whose they are, and what is in them, stays the same. */

import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Model, startModel } from '../support/model/index.ts'
import { ask, chat } from './support/ask.ts'
import { configOf, KEYS, tokens } from './support/config.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong } from './support/kong.ts'
import { mixedUp } from './support/traffic.ts'

const LIMIT = 1_000_000_000
/** In memory, in nginx's temporary file, and so large that the plugin asks for it. */
const SIZES = [10, 30_000, 200_000]
/** What a client may make up, in the hope that somebody takes it for the gateway's own. */
const FORGED = {
  'x-request-id': '0'.repeat(32),
  'x-kong-request-id': '0'.repeat(32),
  'kong-request-id': '0'.repeat(32),
  'correlation-id': 'same',
  'x-correlation-id': 'same',
  'x-consumer-id': 'somebody',
  _method: 'portcullis.Access',
  portcullis_facts: '{}',
}

describe.skipIf(kongMissing)('requests of many callers over few connections', () => {
  let model: Model
  let kong: Kong

  beforeAll(async () => {
    model = await startModel({ keep: 10_000, knobs: { output: 4 } })
    const limits = [tokens(LIMIT, { window_seconds: 86_400 })]
    kong = await startKong({
      config: configOf(model.url, { one: { limits } }),
      env: { KONG_NGINX_HTTP_CLIENT_BODY_BUFFER_SIZE: '8k' },
    })
    for (let n = 0; n < 3; n++) expect((await ask(kong, { route: 'one' })).status).toBe(200)
  })
  afterAll(async () => {
    await kong?.stop()
    await model?.close()
  })

  const bodyOf = (word: string, size: number) =>
    JSON.stringify(
      chat({
        messages: [
          { role: 'user', content: word },
          { role: 'user', content: 'é'.repeat(size / 2) },
        ],
      }),
    )
  const keyOf = (turn: number) => Object.values(KEYS)[turn % 2] ?? ''

  /** Every reply of one connection, for requests that were all sent at once. */
  async function pipelined(requests: readonly string[]): Promise<string> {
    const socket = connect(kong.port, '127.0.0.1')
    let text = ''
    socket.on('data', (chunk) => {
      text += String(chunk)
    })
    socket.write(requests.join(''))
    await once(socket, 'end')
    return text
  }

  function judge(ids: readonly (string | undefined)[], count: number): void {
    expect(new Set(ids).size).toBe(count)
    for (const id of ids) expect(id).toMatch(/^(?!0{32})[0-9a-f]{32}$/)
    expect(mixedUp(model)).toEqual([])
  }

  test('pipelined, chunked and with a length, each with its own body and id', async () => {
    const reached = model.requests.length
    const requests = Array.from({ length: 12 }, (_, turn) => {
      const word = `piped-${turn}`
      const body = bodyOf(word, SIZES[turn % 3] ?? 0)
      const length = Buffer.byteLength(body)
      const [framing, framed] =
        turn % 2 === 0
          ? [`content-length: ${length}`, body]
          : ['transfer-encoding: chunked', `${length.toString(16)}\r\n${body}\r\n0\r\n\r\n`]
      const forged = Object.entries(FORGED).map(([name, value]) => `${name}: ${value}`)
      const head = ['POST /one/v1/chat/completions HTTP/1.1', 'host: llm', 'content-type: application/json', framing]
      const last = turn === 11 ? ['connection: close'] : []
      return [...head, `authorization: Bearer ${keyOf(turn)}`, `x-word: ${word}`, ...forged, ...last, '', framed].join(
        '\r\n',
      )
    })
    const replies = await pipelined(requests)
    expect(replies.match(/HTTP\/1.1 \d+/g)).toEqual(Array(12).fill('HTTP/1.1 200'))
    judge(
      [...replies.matchAll(/^x-kong-request-id: (.*)\r$/gim)].map(([, id]) => id),
      12,
    )
    expect(model.requests.length - reached).toBe(12)
  })

  test('in streams of one HTTP/2 connection', async () => {
    const session = connectHttp2(kong.url)
    const ids = await Promise.all(
      Array.from({ length: 30 }, async (_, turn) => {
        const word = `stream-${turn}`
        const stream = session.request({
          ':method': 'POST',
          ':path': '/one/v1/chat/completions',
          'content-type': 'application/json',
          authorization: `Bearer ${keyOf(turn)}`,
          'x-word': word,
          ...FORGED,
        })
        stream.end(bodyOf(word, SIZES[turn % 3] ?? 0))
        const [headers] = (await once(stream, 'response')) as [Record<string, unknown>]
        stream.resume()
        await once(stream, 'end')
        expect(headers[':status']).toBe(200)
        return String(headers['x-kong-request-id'])
      }),
    )
    session.close()
    judge(ids, 30)
  })

  test('after a promise to send the body later, and with methods that have none', async () => {
    const body = bodyOf('expected', 30_000)
    const auth = `host: llm\r\nauthorization: Bearer ${KEYS.alice}\r\n`
    const head = `POST /one/v1/chat/completions HTTP/1.1\r\n${auth}content-type: application/json\r\n`
    const socket = connect(kong.port, '127.0.0.1')
    socket.write(
      `${head}x-word: expected\r\nexpect: 100-continue\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n`,
    )
    const [first] = await once(socket, 'data')
    expect(String(first)).toMatch(/^HTTP\/1.1 100/)
    socket.write(body)
    const [then] = await once(socket, 'data')
    expect(String(then)).toMatch(/^HTTP\/1.1 200/)
    socket.destroy()
    expect(mixedUp(model)).toEqual([])
    const reached = model.requests.length
    for (const method of ['GET', 'HEAD', 'OPTIONS', 'DELETE']) {
      const reply = await pipelined([
        `${method} /one/v1/models HTTP/1.1\r\n${auth}content-length: 4\r\nconnection: close\r\n\r\nbody`,
      ])
      expect(reply, method).toMatch(/^HTTP\/1.1 \d{3}/)
      expect(reply, method).not.toMatch(/^HTTP\/1.1 5/)
    }
    expect(model.requests.slice(reached).every(({ method }) => method !== 'POST')).toBe(true)
  })
})
