/** Input that nobody should send: a clear refusal or a correct pass, never a crash, a bypass or a leak. */

import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { APIS, at, chat, messages } from './apis.ts'
import {
  type Body,
  call,
  expectRemaining,
  json,
  keyOf,
  lastBill,
  rawRequest,
  remaining,
  type Stage,
  send,
  type World,
  worldOf,
} from './world.ts'

const OK = '"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hi"}]'

const BODIES: readonly (readonly [what: string, body: string])[] = [
  ['not JSON', 'hello'],
  ['cut off', `{${OK},"max_tokens":`],
  ['an array', `[{${OK}}]`],
  ['a string', '"text"'],
  ['two documents', `{${OK}}{${OK}}`],
  ['a byte order mark only', '\ufeff'],
  ['a duplicate limit', `{${OK},"max_tokens":1,"max_tokens":9000}`],
  ['a duplicate limit, escaped', `{${OK},"max_tokens":1,"max\\u005ftokens":9000}`],
  ['a duplicate model', `{${OK},"model":"gpt-5"}`],
  ['a limit in another case', `{${OK},"max_tokens":1,"MAX_TOKENS":9000}`],
  ['stream: "true"', `{${OK},"stream":"true"}`],
  ['stream: 1', `{${OK},"stream":1}`],
  ['a negative limit', `{${OK},"max_tokens":-5}`],
  ['a fractional limit', `{${OK},"max_tokens":1.5}`],
  ['a limit of 1e400', `{${OK},"max_tokens":1e400}`],
  ['a limit in a string', `{${OK},"max_tokens":"10"}`],
  ['n: 0', `{${OK},"n":0}`],
  ['n in a string', `{${OK},"n":"2"}`],
  ['deep nesting', `{${OK},"x":${'['.repeat(5_000)}${']'.repeat(5_000)}}`],
  ['no model', '{"messages":[{"role":"user","content":"Hi"}]}'],
  ['a model that is no string', '{"model":5,"messages":[]}'],
]

export function badInput(stage: Stage): void {
  describe('bad input', () => {
    it.each(BODIES)('%s is 400 invalid_request', async (_, body) => {
      await refused(worldOf(stage), { body }, 400, 'invalid_request')
    })

    it('no body is 400', async () => {
      await refused(worldOf(stage), {}, 400, 'invalid_request')
    })

    it('invalid UTF-8 is 400', async () => {
      const body = Buffer.concat([Buffer.from(`{${OK},"user":"`), Buffer.from([0xc3, 0x28]), Buffer.from('"}')])
      await refused(worldOf(stage), { body }, 400, 'invalid_request')
    })

    it('n: 1e9 asks for more than the limit', async () => {
      await refused(worldOf(stage), { body: `{${OK},"max_tokens":1,"n":1000000000}` }, 429, 'request_exceeds_limit')
    })

    it('a wrong content type is 400, a compressed body or a foreign charset 415', async () => {
      const world = worldOf(stage)
      await refused(world, { body: `{${OK}}`, headers: { 'content-type': 'text/plain' } }, 400, 'invalid_request')
      const gzip = { body: gzipSync(`{${OK}}`), headers: { 'content-encoding': 'gzip' } }
      await refused(world, gzip, 415, 'unsupported_encoding')
      const charset = { body: `{${OK}}`, headers: { 'content-type': 'application/json; charset=utf-16' } }
      await refused(world, charset, 415, 'unsupported_encoding')
    })

    it('a body over the cap is 413, with or without a declared length', async () => {
      const world = worldOf(stage)
      const big = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'x'.repeat(80_000) }] })
      await refused(world, { body: big }, 413, 'request_too_large')
      await refused(world, { body: streamOf(big) }, 413, 'request_too_large')
    })

    it('a body of 100 MB is 413 and not read', async () => {
      const world = worldOf(stage)
      const head = requestHead(world, ['content-length: 104857600'])
      expect(await rawRequest(world, `${head}{"model":"m"`)).toBe(413)
    })

    it('a body just below the cap passes, chunked as well', async () => {
      const world = worldOf(stage)
      const body = JSON.stringify({
        model: 'm',
        max_tokens: 5,
        messages: [{ role: 'user', content: 'x '.repeat(30_000) }],
      })
      for (const sent of [body, streamOf(body)]) {
        const before = await remaining(world, 'roomy-bad')
        const reply = await send(world, 'roomy-bad', chat, '/v1/chat/completions', { body: sent })
        expect(reply.status).toBe(200)
        await reply.arrayBuffer()
        expect(world.model.requests.at(-1)?.body.toString()).toBe(body)
        await expectRemaining(world, 'roomy-bad', before - lastBill(world))
      }
    })

    it('a decoy limit does not lower the real one', async () => {
      const world = worldOf(stage)
      const body = { max_completion_tokens: 1_000_000_000 }
      const reply = await call(world, 'roomy-bad', chat, { maxTokens: 1, body })
      expect(chat.code(await json(reply))).toBe('request_exceeds_limit')
    })

    it.each([
      '/v1/chat%2Fcompletions',
      '/v1/chat/completions;x=1',
      '/v1%252Fchat/completions',
      '//v1//chat/completions',
      '/v1/./chat/completions',
      '/v1/x/../chat/completions',
      '/v1/chat/completions/',
      '/V1/chat/completions',
      '/v1/moderations/../chat/completions',
      '/v1/moderations%2F..%2Fchat/completions',
      '/v1\\chat/completions',
    ])('the path %s is refused or counted', async (path) => {
      const world = worldOf(stage)
      const reached = world.model.requests.length
      const body = `{${OK},"max_tokens":5}`
      const before = await remaining(world, 'roomy-bad')
      const lines = [`content-length: ${body.length}`]
      const status = await rawRequest(world, `${requestHead(world, lines, path)}${body}`)
      if (status === 200) await expectRemaining(world, 'roomy-bad', before - lastBill(world))
      else {
        // 403 where scopes are judged: no grant covers a path that nobody knows.
        expect([400, 403, 404]).toContain(status)
        expect(world.model.requests).toHaveLength(reached)
      }
    })

    it('HEAD and OPTIONS get an answer', async () => {
      const world = worldOf(stage)
      for (const method of ['HEAD', 'OPTIONS']) {
        const reply = await send(world, 'roomy-bad', chat, '/v1/models', { method })
        expect(reply.status).toBeLessThan(500)
        await reply.arrayBuffer()
      }
    })

    it('an Upgrade is refused', async () => {
      const world = worldOf(stage)
      const reached = world.model.requests.length
      const lines = [
        'connection: Upgrade',
        'upgrade: websocket',
        'sec-websocket-version: 13',
        'sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==',
      ]
      expect(await rawRequest(world, requestHead(world, lines, '/v1/realtime', 'GET'))).toBe(400)
      expect(world.model.requests).toHaveLength(reached)
    })

    it('broken HTTP does no harm', async () => {
      const world = worldOf(stage)
      const hostile = [
        requestHead(world, ['x-nul: a\u0000b', 'content-length: 2']).concat('{}'),
        requestHead(world, [`x-big: ${'a'.repeat(1_000_000)}`, 'content-length: 2']).concat('{}'),
        requestHead(world, ['content-length: 2', 'content-length: 3']).concat('{}'),
        requestHead(world, ['content-length: -1']),
        requestHead(world, ['transfer-encoding: chunked']).concat('zz\r\n'),
      ]
      for (const bytes of hostile) {
        const status = await rawRequest(world, bytes)
        expect([0, 400, 413, 431, 494]).toContain(status)
      }
      expect(await remaining(world, 'roomy-bad')).toBeGreaterThan(0)
    })

    it('a body that never comes costs nothing', async () => {
      const world = worldOf(stage)
      const before = await remaining(world, 'roomy-bad')
      const stop = new AbortController()
      const endless = new ReadableStream({ start: (controller) => controller.enqueue(Buffer.from(`{${OK},`)) })
      const options = { body: endless, signal: stop.signal }
      const pending = send(world, 'roomy-bad', chat, '/v1/chat/completions', options).catch(() => undefined)
      setTimeout(() => stop.abort(), 50)
      await pending
      expect(await remaining(world, 'roomy-bad')).toBe(before)
    })

    it('names fields, never their values, in errors', async () => {
      const world = worldOf(stage)
      for (const api of APIS) {
        const reply = await call(world, 'roomy-bad', api, {
          body: {
            max_tokens: 'canary-4711',
            n: 'canary-4711',
            contents: 'canary-4711',
            max_output_tokens: 'canary-4711',
            stream: 'canary-4711',
          },
        })
        expect(reply.status).toBe(400)
        expect(await reply.text()).not.toContain('canary-4711')
      }
      const anthropic = await call(world, 'roomy-bad', messages, { body: { max_tokens: null } })
      expect(at(await json(anthropic), 'type')).toBe('error')
    })
  })
}

interface Bad {
  readonly body?: Body
  readonly headers?: Readonly<Record<string, string>>
}

async function refused(world: World, bad: Bad, status: number, code: string): Promise<void> {
  const reached = world.model.requests.length
  const reply = await send(world, 'roomy-bad', chat, '/v1/chat/completions', bad)
  expect([reply.status, chat.code(await json(reply))]).toEqual([status, code])
  expect(world.model.requests).toHaveLength(reached)
}

/** Sent in chunks, without a length. */
function streamOf(text: string): ReadableStream {
  return new ReadableStream({
    start(controller) {
      for (let at = 0; at < text.length; at += 10_000) controller.enqueue(Buffer.from(text.slice(at, at + 10_000)))
      controller.close()
    },
  })
}

function requestHead(world: World, lines: readonly string[], path = '/v1/chat/completions', method = 'POST'): string {
  const { host } = new URL(world.gateway.baseUrl)
  const common = [`host: ${host}`, `authorization: Bearer ${keyOf(world, 'roomy-bad')}`]
  const type = method === 'POST' ? ['content-type: application/json'] : []
  return `${method} ${path} HTTP/1.1\r\n${[...common, ...type, ...lines].join('\r\n')}\r\n\r\n`
}
