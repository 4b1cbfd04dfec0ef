import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { TapPlan } from '../../../policies/llm/tap.ts'
import { createHesitant, createSpy, type Spy } from './support/spy.ts'
import { ask, CHAT, LIMIT, nextClientGone, PROXY, type Stage, type StageOptions, setStage } from './support/stage.ts'

const SPY = { 'llm-spy': null }
const TAP: TapPlan = { protocol: 'openai-chat', stream: true, withholdUsage: false }
const STREAM = { ...CHAT, stream: true, stream_options: { include_usage: true } }

function tapped(tap: TapPlan = TAP): Spy {
  return createSpy({ decide: (_, reservation) => ({ type: 'pass', reservation, tap, replyHeaders: { 'x-spy': '1' } }) })
}

async function spied(spy: Spy, options: StageOptions = {}): Promise<Stage> {
  return setStage({ extra: [spy.policy], policies: [SPY, PROXY], ...options })
}

/** More than any socket buffers hold. */
const TOO_MUCH = 256 * 1024 * 1024
const SOON = { timeout: 5_000, interval: 10 }

/** An upstream of our own. */
async function serve(answer: RequestListener): Promise<string> {
  const server = createServer(answer).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Exactly one settlement, also a moment later. */
async function settledOnce(spy: Spy): Promise<unknown> {
  await vi.waitFor(() => expect(spy.settled.length).toBeGreaterThan(0), SOON)
  await sleep(30)
  expect(spy.settled).toHaveLength(1)
  return spy.settled[0]?.outcome
}

describe('settles exactly once', () => {
  it('a whole reply', async () => {
    const spy = tapped()
    const stage = await spied(spy)
    const reply = await ask(stage, { key: undefined })
    await reply.arrayBuffer()
    expect(reply.headers.get('x-spy')).toBe('1')
    expect(await settledOnce(spy)).toMatchObject({ ended: 'complete', status: 200, usage: { outputTokens: 20 } })
  })

  it('a stream, before its last byte is out', async () => {
    const spy = tapped()
    const stage = await spied(spy)
    await (await ask(stage, { key: undefined, body: STREAM })).text()
    expect(spy.settled).toHaveLength(1)
    expect(await settledOnce(spy)).toMatchObject({ ended: 'complete', usage: { outputTokens: 20 } })
  })

  it('a client who leaves before the reply, and tells the upstream', async () => {
    const spy = tapped()
    const stage = await spied(spy)
    const stop = new AbortController()
    const pending = ask(stage, { key: undefined, headers: { 'x-model-hang': '0' }, signal: stop.signal })
    pending.catch(() => {})
    await vi.waitFor(() => expect(stage.model.requests).toHaveLength(1), SOON)
    stop.abort()
    expect(await stage.model.requests[0]?.ended).toBe('gone')
    expect(await settledOnce(spy)).toEqual({ ended: 'client_gone' })
  })

  it('a client who leaves a stream, and tells the upstream', async () => {
    const spy = tapped()
    const stage = await spied(spy)
    const stop = new AbortController()
    const reply = await ask(stage, {
      key: undefined,
      body: STREAM,
      headers: { 'x-model-hang': '9' },
      signal: stop.signal,
    })
    await reply.body?.getReader().read()
    stop.abort()
    expect(await stage.model.requests[0]?.ended).toBe('gone')
    expect(await settledOnce(spy)).toMatchObject({
      ended: 'client_gone',
      status: 200,
      delivered: { characters: [expect.any(Number), 0, 0, 0] },
    })
  })

  it('a client who leaves while the policy still decides: nothing is forwarded', async () => {
    const { spy, decide } = createHesitant()
    const stage = await spied(spy)
    const stop = new AbortController()
    const gone = nextClientGone(stage)
    const pending = ask(stage, { key: undefined, signal: stop.signal })
    pending.catch(() => {})
    await vi.waitFor(() => expect(spy.seen).toHaveLength(1), SOON)
    stop.abort()
    await gone
    decide()
    expect(await settledOnce(spy)).toEqual({ ended: 'not_forwarded' })
    expect(stage.model.requests).toEqual([])
  })

  it('an upstream that hangs up before it answers', async () => {
    const spy = tapped()
    const stage = await spied(spy)
    const reply = await ask(stage, { key: undefined, headers: { 'x-model-break': '0' } })
    expect([reply.status, await reply.json()]).toMatchObject([
      502,
      { error: { message: 'The upstream could not be reached.' } },
    ])
    expect(await settledOnce(spy)).toEqual({ ended: 'upstream_failed' })
  })

  it('an upstream that nobody can reach', async () => {
    const spy = tapped()
    const stage = await spied(spy, { config: { serviceEndpoints: { model: { url: 'http://127.0.0.1:1' } } } })
    expect((await ask(stage, { key: undefined })).status).toBe(502)
    expect(await settledOnce(spy)).toEqual({ ended: 'not_forwarded' })
  })

  it('an upstream that breaks off: the client is cut off too', async () => {
    const spy = tapped()
    const stage = await spied(spy)
    const reply = await ask(stage, { key: undefined, body: STREAM, headers: { 'x-model-break': '9' } })
    await expect(reply.text()).rejects.toThrow()
    expect(await settledOnce(spy)).toMatchObject({ ended: 'upstream_failed', status: 200 })
  })

  it('an upstream that is too slow', async () => {
    const spy = tapped()
    const policies = [SPY, { proxy: { action: { serviceEndpoint: 'model', proxyTimeout: 1_000 } } }]
    const stage = await spied(spy, { policies })
    const reply = await ask(stage, { key: undefined, headers: { 'x-model-hang': '0' } })
    expect(reply.status).toBe(502)
    // It had the request, and may well have worked on it: nothing is given back.
    expect(await settledOnce(spy)).toEqual({ ended: 'unknown' })
    const stalled = await ask(stage, { key: undefined, body: STREAM, headers: { 'x-model-hang': '5' } })
    await expect(stalled.text()).rejects.toThrow()
    await vi.waitFor(
      () => expect(spy.settled[1]?.outcome).toMatchObject({ ended: 'upstream_failed', status: 200 }),
      SOON,
    )
  })

  it('a request that a later policy refuses or answers', async () => {
    const first = createSpy({ name: 'llm-first' })
    const second = createSpy({
      name: 'llm-second',
      decide: () => ({ type: 'reject', status: 403, code: 'insufficient_scope', message: 'No.' }),
    })
    const policies = [{ 'llm-first': null }, { 'llm-second': null }, PROXY]
    const stage = await setStage({ extra: [first.policy, second.policy], policies })
    expect((await ask(stage, { key: undefined })).status).toBe(403)
    expect(await settledOnce(first)).toEqual({ ended: 'not_forwarded' })

    const spy = createSpy()
    const answered = await spied(spy, {
      policies: [SPY, { terminate: { action: { statusCode: 418, message: 'tea' } } }, PROXY],
    })
    expect((await ask(answered, { key: undefined })).status).toBe(418)
    expect(await settledOnce(spy)).toEqual({ ended: 'not_forwarded' })
  })

  it('a reply that nobody can read, because the plan is nonsense: the door shuts', async () => {
    const spy = tapped({ ...TAP, protocol: 'no-such-protocol' })
    const stage = await spied(spy)
    expect((await ask(stage, { key: undefined })).status).toBe(503)
    expect(await settledOnce(spy)).toEqual({ ended: 'unknown' })
  })

  it('a reply that cannot be read to its end: it is cut off', async () => {
    const spy = tapped({ ...TAP, candidates: BigInt(1) as unknown as number, maxOutputTokens: 3 })
    const stage = await spied(spy)
    await expect(ask(stage, { key: undefined, body: STREAM }).then((reply) => reply.text())).rejects.toThrow()
    expect(await settledOnce(spy)).toMatchObject({ ended: 'unknown', status: 200 })
  })

  it('a request that two policies judge: the second sees what the first made of it, the stricter tap wins', async () => {
    const edited = { ...STREAM, max_tokens: 7 }
    const body = Buffer.from(JSON.stringify(edited))
    const first = createSpy({
      name: 'llm-first',
      decide: (_, reservation) => ({
        type: 'pass',
        reservation,
        request: { body },
        tap: { ...TAP, withholdUsage: true },
      }),
    })
    const second = tapped()
    const policies = [{ 'llm-first': null }, SPY, PROXY]
    const stage = await setStage({ extra: [first.policy, second.policy], policies })
    const text = await (await ask(stage, { key: undefined, body: STREAM })).text()
    expect(second.seen[0]?.body).toBe(JSON.stringify(edited))
    expect(text).not.toContain('"choices":[]')
    for (const spy of [first, second]) expect(await settledOnce(spy)).toMatchObject({ usage: { outputTokens: 7 } })
  })

  it('a stream that is cut', async () => {
    const spy = tapped({ ...TAP, maxOutputTokens: 10 })
    const stage = await spied(spy)
    const body = { ...STREAM, max_tokens: 500 }
    const text = await (
      await ask(stage, { key: undefined, body, headers: { 'x-model-output': '500', 'x-model-hang': '100' } })
    ).text()
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
    expect(await stage.model.requests[0]?.ended).toBe('gone')
    expect(await settledOnce(spy)).toMatchObject({ ended: 'ended_early', status: 200 })
  })

  it.each([204, 304])('a reply of %i, which has no body', async (status) => {
    const spy = tapped()
    const stage = await spied(spy)
    const reply = await ask(stage, { key: undefined, headers: { 'x-model-status': String(status) } })
    expect([reply.status, await reply.text()]).toEqual([status, ''])
    expect(await settledOnce(spy)).toEqual({ ended: 'complete', status })
  })

  it('HEAD', async () => {
    const spy = tapped()
    const stage = await spied(spy)
    const reply = await ask(stage, { key: undefined, method: 'HEAD', path: '/v1/models' })
    expect(reply.status).toBe(404)
    expect(await settledOnce(spy)).toEqual({ ended: 'complete', status: 404 })
  })
})

describe('the reply', () => {
  it('compressed although it should not be is decompressed, and read', async () => {
    const spy = tapped({ ...TAP, withholdUsage: true })
    const stage = await spied(spy)
    for (const body of [CHAT, STREAM]) {
      const reply = await ask(stage, { key: undefined, body, headers: { 'x-model-gzip': '1' } })
      expect(reply.headers.get('content-encoding')).toBeNull()
      expect(await reply.text()).toMatch(body === STREAM ? /data: \[DONE\]\n\n$/ : /^\{"id"/)
    }
    expect(spy.settled.map(({ outcome }) => outcome.usage?.outputTokens)).toEqual([20, 20])
  })

  it('compressed and broken off is broken for the client', async () => {
    const spy = tapped()
    const stage = await spied(spy)
    const headers = { 'x-model-gzip': '1', 'x-model-break': '5' }
    const reply = await ask(stage, { key: undefined, body: STREAM, headers })
    await expect(reply.text()).rejects.toThrow()
    expect(await settledOnce(spy)).toMatchObject({ ended: 'upstream_failed' })
  })

  it('in an encoding that nobody can look into passes as it is', async () => {
    const url = await serve((_, response) => response.writeHead(200, { 'content-encoding': 'aes128gcm' }).end('opaque'))
    const spy = tapped()
    const stage = await spied(spy, { config: { serviceEndpoints: { model: { url } } } })
    const reply = await ask(stage, { key: undefined })
    expect([reply.headers.get('content-encoding'), await reply.text()]).toEqual(['aes128gcm', 'opaque'])
    expect(await settledOnce(spy)).toEqual({ ended: 'complete', status: 200 })
  })

  it('in an encoding that nobody can look into is not sent on where a stream may have to be cut', async () => {
    const url = await serve((_, response) => response.writeHead(200, { 'content-encoding': 'aes128gcm' }).end('opaque'))
    const spy = tapped({ ...TAP, maxOutputTokens: 10 })
    const stage = await spied(spy, { config: { serviceEndpoints: { model: { url } } } })
    const reply = await ask(stage, { key: undefined, body: STREAM })
    expect([reply.status, await reply.text()]).toEqual([503, expect.stringContaining('policy_unavailable')])
    // The upstream answered, and nobody knows what with.
    expect(await settledOnce(spy)).toMatchObject({ ended: 'unknown' })
  })

  it('is not collected for a slow client', async () => {
    const event = Buffer.from(`data: {"choices":[{"index":0,"delta":{"content":"${'x'.repeat(60_000)}"}}]}\n\n`)
    let sent = 0
    const url = await serve((_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      const more = (): void => {
        while (!response.destroyed && sent < TOO_MUCH) {
          sent += event.length
          if (!response.write(event)) return
        }
      }
      response.on('drain', more)
      more()
    })
    const spy = tapped({ ...TAP, withholdUsage: true })
    const stage = await spied(spy, { config: { serviceEndpoints: { model: { url } } } })
    const stop = new AbortController()
    const reply = await ask(stage, { key: undefined, body: STREAM, signal: stop.signal })
    await reply.body?.getReader().read()
    // Whatever the sockets between can hold is taken, and then no more.
    for (let before = -1, quiet = 0; quiet < 5 && sent < TOO_MUCH; before = sent) {
      await sleep(200)
      quiet = sent === before ? quiet + 1 : 0
    }
    expect(sent).toBeLessThan(TOO_MUCH)
    stop.abort()
    expect(await settledOnce(spy)).toMatchObject({ ended: 'client_gone' })
  })
})

describe('errors of the gateway itself', () => {
  it('have no stack trace and the API’s shape', async () => {
    const crash = { expression: { action: { jscode: "throw new Error('secret-of-the-gateway')" } } }
    const stage = await setStage({ policies: [{ 'llm-key': null }, { 'key-auth': null }, LIMIT, crash, PROXY] })
    const reply = await ask(stage, { path: '/v1/messages', headers: { 'anthropic-version': '2023-06-01' } })
    expect([reply.status, reply.headers.get('content-type')]).toEqual([500, 'application/json'])
    const text = await reply.text()
    expect(text).not.toMatch(/secret-of-the-gateway|node_modules|<html/)
    expect(JSON.parse(text)).toMatchObject({ type: 'error', error: { details: { error_code: 'policy_unavailable' } } })
  })

  it('of its own rate limit keep their headers', async () => {
    const rate = { 'rate-limit': { action: { max: 1, windowMs: 60_000, rateLimitBy: 'x' } } }
    const stage = await setStage({ policies: [{ 'llm-key': null }, { 'key-auth': null }, rate, LIMIT, PROXY] })
    expect((await ask(stage)).status).toBe(200)
    const reply = await ask(stage)
    expect([reply.status, await reply.json()]).toMatchObject([429, { error: { code: 'rate_limit_exceeded' } }])
    expect(reply.headers.get('x-ratelimit-limit')).toBe('1')
  })

  it.each([
    ['/v1/messages', 'x-nul: a\u0000b', 400, { type: 'error', error: { details: { error_code: 'invalid_request' } } }],
    ['/v1/chat/completions', `x-big: ${'a'.repeat(1_000_000)}`, 431, { error: { code: 'headers_too_large' } }],
  ])('about broken HTTP have a body too: %s', async (path, header, status, body) => {
    const stage = await setStage()
    const { hostname, port } = new URL(stage.gateway.baseUrl)
    const socket = connect(Number(port), hostname)
    socket.on('error', () => {})
    socket.write(`POST ${path} HTTP/1.1\r\nhost: x\r\n${header}\r\n\r\n`)
    const [piece] = await once(socket, 'data')
    const [head = '', text = ''] = String(piece).split('\r\n\r\n')
    expect(head).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
    expect(JSON.parse(text)).toMatchObject(body)
    expect((await ask(stage)).status).toBe(200)
  })

  it('a policy that fails shuts the door', async () => {
    const spy = createSpy({
      decide() {
        throw new Error('secret-of-the-policy')
      },
    })
    const lines: string[] = []
    const stage = await spied(spy, { log: (_, line) => lines.push(line) })
    const reply = await ask(stage, { key: undefined })
    expect(reply.status).toBe(503)
    expect(await reply.text()).not.toContain('secret-of-the-policy')
    expect(lines.join('\n')).not.toContain('secret-of-the-policy')
    expect(stage.model.requests).toEqual([])
  })
})
