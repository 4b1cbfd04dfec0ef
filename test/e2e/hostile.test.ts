import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Model, startModel } from '../support/model/index.ts'
import { ask, chat, codeOf, messages, type Reply } from './support/ask.ts'
import { configOf, KEYS, tokens } from './support/config.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong } from './support/kong.ts'
import { metrics } from './support/metrics.ts'

describe.skipIf(kongMissing)('hostile requests', () => {
  let model: Model
  let kong: Kong

  beforeAll(async () => {
    model = await startModel()
    const limits = [tokens()]
    kong = await startKong({
      config: configOf(model.url, {
        llm: { limits },
        bare: { limits, edge: false },
        wide: { limits, edge: { max_body_bytes: 16_777_216 }, settings: { max_body_bytes: 16_777_216 } },
      }),
    })
  })
  afterAll(async () => {
    await kong?.stop()
    await model?.close()
  })

  /** With full control over headers, their number and their repetition. */
  async function raw(route: string, headers: OutgoingHttpHeaders, body: string | Buffer = JSON.stringify(chat())) {
    const request = httpRequest({
      port: kong.port,
      host: '127.0.0.1',
      method: 'POST',
      path: `/${route}/v1/chat/completions`,
      headers: { 'content-type': 'application/json', ...headers },
    })
    // Kong may answer, and close, before the whole body was sent.
    request.on('error', () => undefined)
    const answered = once(request, 'response')
    request.end(body)
    const [reply] = (await answered) as [IncomingMessage]
    let text = ''
    for await (const piece of reply) text += String(piece)
    return { status: reply.statusCode ?? 0, headers: new Headers(reply.headers as Record<string, string>), text }
  }

  const bearer = { authorization: `Bearer ${KEYS.alice}` }

  async function refused(asked: Promise<Reply>, status: number, code: string): Promise<Reply> {
    const reached = model.requests.length
    const reply = await asked
    expect(reply.status, reply.text).toBe(status)
    expect(codeOf(reply)).toBe(code)
    expect(reply.headers.get('cache-control')).toBe('no-store')
    expect(reply.headers.get('x-request-id')).toMatch(/^[0-9a-f]{32}$/)
    for (const key of Object.values(KEYS)) expect(reply.text).not.toContain(key)
    expect(model.requests.length, 'the upstream was reached').toBe(reached)
    return reply
  }

  test.each(['llm', 'bare'])('%s: a header named _method is one like any other', async (route) => {
    const [before] = await kong.pluginServers()
    for (const value of ['x', 'plugin.Step', 'kong.response.exit'])
      expect((await raw(route, { ...bearer, _method: value })).status).toBe(200)
    expect(await kong.pluginServers()).toEqual([before])
  })

  test('110 headers: refused, a hundred are not', async () => {
    const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, at) => [`x-h-${at}`, 'v']))
    expect((await raw('llm', { ...bearer, ...many(80) })).status).toBe(200)
    await refused(raw('llm', { ...bearer, ...many(110) }), 431, 'headers_too_large')
    // What nobody sees: an encoding in the 111th place.
    await refused(raw('llm', { ...bearer, ...many(110), 'content-encoding': 'gzip' }), 431, 'headers_too_large')
  })

  test('an upgrade is refused, one that Kong ignores is not', async () => {
    const upgrade = {
      ...bearer,
      connection: 'Upgrade',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'eHh4eHh4eHh4eHh4eHh4eA==',
    }
    await refused(raw('llm', { ...upgrade, upgrade: 'websocket' }), 400, 'unmetered_operation')
    await refused(raw('llm', { ...upgrade, upgrade: 'WebSocket' }), 400, 'unmetered_operation')
  })

  test('10 MB: refused early by its length, late when it is chunked, let through where it may be', async () => {
    const body = JSON.stringify(chat({ messages: [{ role: 'user', content: 'x'.repeat(10_000_000) }] }))
    await refused(raw('llm', { ...bearer, 'content-length': Buffer.byteLength(body) }, body), 413, 'request_too_large')
    await refused(raw('llm', { ...bearer, 'transfer-encoding': 'chunked' }, body), 413, 'request_too_large')
    await refused(raw('bare', { ...bearer, 'content-length': Buffer.byteLength(body) }, body), 413, 'request_too_large')
    for (const framing of [{ 'content-length': Buffer.byteLength(body) }, { 'transfer-encoding': 'chunked' }]) {
      expect((await raw('wide', { ...bearer, ...framing }, body)).status).toBe(200)
      expect(model.requests.at(-1)?.body.toString()).toBe(body)
    }
  })

  test('bodies of every size arrive byte for byte', async () => {
    for (const size of [1, 8_000, 8_300, 48_900, 65_300, 65_600, 300_000, 1_000_000]) {
      const body = JSON.stringify(chat({ messages: [{ role: 'user', content: 'é世😀'.repeat(size / 9 + 1) }] }))
      expect((await raw('llm', bearer, body)).status).toBe(200)
      expect(model.requests.at(-1)?.body.toString()).toBe(body)
    }
  })

  test('bytes that are no UTF-8 and JSON that is none are refused, not repaired', async () => {
    const good = Buffer.from(JSON.stringify(chat()))
    const bad = Buffer.from(good)
    bad[bad.indexOf('S')] = 0xff
    await refused(raw('llm', bearer, bad), 400, 'invalid_request')
    await refused(raw('llm', bearer, good.subarray(0, -1)), 400, 'invalid_request')
    await refused(raw('llm', bearer, '{"model":"a","model":"b","messages":[]}'), 400, 'invalid_request')
  })

  test('two keys are refused in the shape of the API that is called', async () => {
    await refused(raw('llm', { ...bearer, 'x-api-key': KEYS.bob }), 401, 'invalid_key')
    await refused(raw('llm', { ...bearer, apikey: KEYS.bob }), 401, 'invalid_key')
    await refused(raw('llm', { authorization: `Bearer ${KEYS.alice} ${KEYS.bob}` }), 401, 'invalid_key')
    const path = '/v1/messages'
    const reply = await refused(
      ask(kong, { route: 'llm', path, body: messages(), headers: { 'api-key': KEYS.bob } }),
      401,
      'invalid_key',
    )
    expect(JSON.parse(reply.text)).toMatchObject({ type: 'error', error: { type: 'authentication_error' } })
  })

  test('no key travels upstream, wherever it came from', async () => {
    const empty = { authorization: '' }
    const path = '/v1/chat/completions'
    for (const place of [
      { headers: {} },
      { headers: { ...empty, 'x-api-key': KEYS.alice } },
      { headers: { ...empty, 'api-key': KEYS.alice } },
      { headers: { ...empty, 'x-goog-api-key': KEYS.alice } },
      { headers: { ...empty, apikey: KEYS.alice } },
      { headers: empty, path: `${path}?key=${KEYS.alice}&x=1` },
      { headers: empty, path: `${path}?%6bey=${KEYS.alice}` },
      { headers: { 'x-api-key': KEYS.alice, 'api-key': KEYS.alice }, path: `${path}?key=${KEYS.alice}` },
    ]) {
      expect((await ask(kong, { route: 'llm', path, ...place })).status, JSON.stringify(place)).toBe(200)
      const { url, rawHeaders } = model.requests.at(-1) ?? { url: '', rawHeaders: [] }
      expect(url + rawHeaders.join('\n')).not.toContain(KEYS.alice)
      expect(rawHeaders.join('\n')).not.toMatch(/bearer/i)
    }
  })

  test('a caller cannot say who they are', async () => {
    const spoofed = { 'x-consumer-username': 'bob', 'x-consumer-id': 'x', 'x-consumer-groups': 'admin' }
    expect((await ask(kong, { route: 'llm', headers: spoofed })).status).toBe(200)
    expect(model.requests.at(-1)?.headers['x-consumer-username']).toBe('alice')
  })

  test('a caller who names headers in Connection cannot get a compressed reply past the tap', async () => {
    const reply = await raw('llm', { ...bearer, connection: 'close, accept-encoding', 'accept-encoding': 'gzip' })
    expect(reply.headers.get('content-encoding')).toBeNull()
  })

  test('what no plugin can meter is refused', async () => {
    await refused(ask(kong, { route: 'llm', path: '/v1/batches' }), 400, 'unmetered_operation')
    await refused(ask(kong, { route: 'llm', path: '/v1/chat%2fcompletions' }), 400, 'invalid_request')
  })

  test('malformed frames on the plugin socket hurt nobody else', async () => {
    const { socket } = kong
    if (socket === undefined) throw new Error('the socket cannot be reached')
    const [before] = await kong.pluginServers()
    const garbage = [
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      Buffer.alloc(100_000, 0xdd),
      Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]),
      Buffer.from([0xc1]),
      Buffer.concat(Array.from({ length: 5_000 }, () => Buffer.from([0x91]))),
      // Two requests at once on one connection.
      Buffer.concat([call(1, 'plugin.HandleEvent'), call(2, 'plugin.HandleEvent')]),
      call(3, 'constructor'),
      call(4, '__proto__'),
    ]
    await Promise.all([
      ...garbage.map((bytes) => throwAt(socket, bytes)),
      ...Array.from({ length: 40 }, async () => expect((await ask(kong, { route: 'llm' })).status).toBe(200)),
    ])
    expect(await kong.pluginServers()).toEqual([before])
    expect((await metrics()).sum('portcullis_kong_open_events')).toBe(0)
  })

  test('neither keys nor prompts are in any log', async () => {
    const prompt = 'a-prompt-that-nobody-may-log'
    const body = chat({ messages: [{ role: 'user', content: prompt }] })
    await ask(kong, { route: 'llm', body })
    await ask(kong, { route: 'bare', body })
    await ask(kong, { route: 'llm', body: JSON.stringify(body).slice(0, -1) })
    const log = await kong.log()
    expect(log).not.toContain(prompt)
    for (const key of Object.values(KEYS)) expect(log).not.toContain(key)
  })
})

/** A request as Kong frames one, with nonsense for arguments. */
function call(id: number, method: string): Buffer {
  return Buffer.concat([
    Buffer.from([0x94, 0x00, id, 0xa0 + method.length]),
    Buffer.from(method),
    Buffer.from([0x91, 0x80]),
  ])
}

/** Resolves once the other side has closed or answered. */
function throwAt(path: string, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(path)
    const done = () => {
      socket.destroy()
      resolve()
    }
    socket.on('data', done)
    socket.on('error', done)
    socket.on('close', done)
    socket.write(bytes)
    // What the server takes for the beginning of a frame, it may wait on.
    socket.setTimeout(1_000, done)
  })
}
