import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createSpy } from './support/spy.ts'
import { ask, CHAT, LIMIT, PROXY, setStage } from './support/stage.ts'

const SPY = { 'llm-spy': null }

/** What an upstream of our own sees and says. */
async function upstream(
  answer: Parameters<typeof createServer>[1],
): Promise<{ readonly url: string; readonly server: Server }> {
  const server = createServer(answer as never)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(async () => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server }
}

describe('the path that the upstream sees', () => {
  it.each<readonly [string, { path: string; action?: object; base?: string }, string, string]>([
    ['as it is', { path: '/*' }, '/v1/chat/completions?a=1', '/v1/chat/completions'],
    ['with slashes folded', { path: '/*' }, '//v1///chat/completions', '/v1/chat/completions'],
    ['with a base path', { path: '/*', base: '/v1' }, '/chat/completions', '/v1/chat/completions'],
    ['with a base path and a slash', { path: '/*', base: '/v1/' }, '/chat/completions', '/v1/chat/completions'],
    [
      'stripped',
      { path: '/openai/*', action: { stripPath: true } },
      '/openai/v1/chat/completions?a=1',
      '/v1/chat/completions',
    ],
    [
      'stripped of a key in the query',
      { path: '/openai/*', action: { stripPath: true } },
      '/openai/v1/chat/completions?key=k:s&a=1',
      '/v1/chat/completions',
    ],
    [
      'stripped whole',
      { path: '/chat', base: '/v1/chat/completions', action: { stripPath: true } },
      '/chat?a=1',
      '/v1/chat/completions/',
    ],
    [
      'ignored',
      { path: '/*', base: '/v1/chat/completions', action: { ignorePath: true } },
      '/whatever',
      '/v1/chat/completions',
    ],
    [
      'without the base path',
      { path: '/*', base: '/x', action: { prependPath: false } },
      '/v1/chat/completions',
      '/v1/chat/completions',
    ],
    [
      'with characters that are escaped beside an @',
      { path: '/*' },
      '/v1/@a{b}|c^d`e"f<g>\'h',
      '/v1/@a%7Bb%7D%7Cc%5Ed%60e%22f%3Cg%3E%27h',
    ],
    ['with characters that pass', { path: '/*' }, '/v1/a{b}|c^d`e"f<g>\'h', '/v1/a{b}|c^d`e"f<g>\'h'],
    [
      'under a named parameter',
      { path: '/p/:tenant/*', action: { stripPath: true } },
      '/p/acme/v1/chat/completions',
      '/acme/v1/chat/completions',
    ],
  ])('%s', async (_, { path, action, base = '' }, sent, expected) => {
    const spy = createSpy()
    const seen: string[] = []
    const { url } = await upstream((request, response) => {
      seen.push(request.url ?? '')
      response.end('{}')
    })
    const stage = await setStage({
      extra: [spy.policy],
      policies: [SPY, { proxy: { action: { serviceEndpoint: 'model', ...action } } }],
      config: { apiEndpoints: { llm: { host: '*', paths: path } }, serviceEndpoints: { model: { url: url + base } } },
    })
    expect(await rawStatus(stage.gateway.baseUrl, sent)).toBe(200)
    expect(spy.seen[0]?.path).toBe(expected)
    expect(seen[0]?.split('?')[0]).toBe(expected)
    expect(seen[0]).not.toContain('key=')
  })

  it.each(['http://evil/v1/chat/completions', '*'])('the target %s is refused', async (target) => {
    const stage = await setStage()
    expect([400, 404]).toContain(await rawStatus(stage.gateway.baseUrl, target, stage.gateway.keys.ada))
    expect(stage.model.requests).toEqual([])
  })

  it('is told apart from the origin that a forward proxy needs', async () => {
    const targets: string[] = []
    const forwarder = await upstream((request, response) => {
      targets.push(request.url ?? '')
      request.resume()
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    })
    const action = { serviceEndpoint: 'model', proxyUrl: forwarder.url }
    const proxied = await setStage({
      policies: [{ 'llm-key': null }, { 'key-auth': null }, LIMIT, { proxy: { action } }],
    })
    expect((await ask(proxied)).status).toBe(200)
    expect(targets).toEqual([`${proxied.model.url}/v1/chat/completions`])
    expect(proxied.model.requests).toEqual([])
  })

  it('is not another one than was judged, whatever later policies do', async () => {
    const spy = createSpy()
    const rewrite = { expression: { action: { jscode: "req.url = '/v1/embeddings'" } } }
    const lines: string[] = []
    const stage = await setStage({
      extra: [spy.policy],
      policies: [SPY, rewrite, PROXY],
      log: (_, line) => lines.push(line),
    })
    const reply = await ask(stage, { key: undefined })
    expect([reply.status, await reply.json()]).toMatchObject([503, { error: { code: 'policy_unavailable' } }])
    expect(stage.model.requests).toEqual([])
    expect(spy.settled).toEqual([{ id: 'llm-spy-1', outcome: { ended: 'not_forwarded' } }])
  })
})

describe('the body', () => {
  it('may come from a request-transformer, whose stream never ends', async () => {
    const transformer = { 'request-transformer': { action: { body: { add: { user: "'u-1'" } } } } }
    const stage = await setStage({ policies: [{ 'llm-key': null }, { 'key-auth': null }, transformer, LIMIT, PROXY] })
    expect((await ask(stage)).status).toBe(200)
    expect(JSON.parse(stage.model.requests[0]?.body.toString() ?? '')).toEqual({ ...CHAT, user: 'u-1' })
  })

  it('of a transformer alone goes without the client’s key', async () => {
    const transformer = { 'request-transformer': { action: { body: { add: { user: "'u-1'" } } } } }
    const headers = { headers: { authorization: 'Bearer upstream' } }
    const proxy = { proxy: { action: { serviceEndpoint: 'model', ...headers } } }
    const stage = await setStage({ policies: [{ 'llm-key': null }, transformer, { 'key-auth': null }, proxy] })
    expect((await ask(stage)).status).toBe(200)
    expect(stage.model.requests[0]?.headers.authorization).toBe('Bearer upstream')
    const bare = await setStage({ policies: [{ 'llm-key': null }, { 'key-auth': null }, transformer, PROXY] })
    expect((await ask(bare)).status).toBe(200)
    expect(bare.model.requests[0]?.headers.authorization).toBeUndefined()
  })

  it('passes unread where no policy reads it', async () => {
    const stage = await setStage({ policies: [{ 'llm-key': null }, { 'key-auth': null }, PROXY] })
    const body = JSON.stringify({ ...CHAT, user: 'x'.repeat(3_000_000) })
    expect((await ask(stage, { body })).status).toBe(200)
    expect(stage.model.requests[0]?.body.length).toBe(body.length)
    expect((await ask(stage, { method: 'GET', path: '/v1/models' })).status).toBe(200)
  })

  it('is never a later policy’s', async () => {
    const spy = createSpy()
    const code = 'const { PassThrough } = req.constructor; req.egContext.requestStream = { pipe() {}, on() {} }'
    const stage = await setStage({
      extra: [spy.policy],
      policies: [SPY, { expression: { action: { jscode: code } } }, PROXY],
    })
    expect((await ask(stage, { key: undefined })).status).toBe(503)
    expect(stage.model.requests).toEqual([])
  })

  it('that another policy has eaten shuts the door', async () => {
    const spy = createSpy()
    const eat = {
      expression: { action: { jscode: 'req.resume(); req.destroy = () => req; req._readableState.endEmitted = true' } },
    }
    const stage = await setStage({ extra: [spy.policy], policies: [eat, SPY, PROXY] })
    expect((await ask(stage, { key: undefined })).status).toBe(503)
  })

  it('edited by a policy goes out with its own length', async () => {
    const edited = Buffer.from(JSON.stringify({ ...CHAT, max_tokens: 3 }))
    const spy = createSpy({
      decide: () => ({
        type: 'pass',
        request: { body: edited, setHeaders: { 'x-set': '1' }, removeHeaders: ['x-drop', 'x-set'] },
      }),
    })
    const stage = await setStage({ extra: [spy.policy], policies: [SPY, PROXY] })
    await ask(stage, { key: undefined, headers: { 'x-drop': 'gone', x_drop: 'gone', 'x-set': '0' } })
    const { body, headers } = stage.model.requests[0] ?? {}
    expect(body?.toString()).toBe(edited.toString())
    expect([headers?.['content-length'], headers?.['transfer-encoding']]).toEqual([String(edited.length), undefined])
    expect([headers?.['x-set'], headers?.['x-drop'], headers?.x_drop]).toEqual(['1', undefined, undefined])
  })

  it('too large is refused while it is still coming, and the connection lives on or closes cleanly', async () => {
    const stage = await setStage()
    const { hostname, port } = new URL(stage.gateway.baseUrl)
    const socket = connect(Number(port), hostname)
    const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${stage.gateway.keys.ada}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n`
    socket.write(head)
    let answer = ''
    socket.on('data', (piece) => {
      answer += piece
    })
    socket.on('error', () => {})
    const closed = once(socket, 'close')
    const chunk = `10000\r\n${'x'.repeat(65_536)}\r\n`
    while (!socket.destroyed) {
      if (!socket.write(chunk)) await Promise.race([once(socket, 'drain').catch(() => {}), closed])
      else await sleep(0)
    }
    expect(answer).toMatch(/^HTTP\/1\.1 413 /)
    expect(answer).toContain('"request_too_large"')
  })
})

/** Sends a request target as it is written. */
async function rawStatus(baseUrl: string, target: string, key?: string): Promise<number> {
  const { hostname, port } = new URL(baseUrl)
  const socket = connect(Number(port), hostname)
  const auth = key === undefined ? '' : `authorization: Bearer ${key}\r\n`
  const body = JSON.stringify(CHAT)
  socket.write(
    `POST ${target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${auth}content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  )
  let answer = ''
  for await (const piece of socket) answer += piece
  return Number(answer.slice(9, 12))
}
