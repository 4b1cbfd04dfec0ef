/** Plain calls and streams of every API: what the caller gets, what is forwarded, what is counted. */

import { describe, expect, it } from 'vitest'
import { APIS, at, chat, messages } from './apis.ts'
import { ROOMY } from './setup.ts'
import {
  call,
  events,
  expectRemaining,
  json,
  keyOf,
  lastBill,
  lastReceived,
  remaining,
  remainingIn,
  type Stage,
  saidInStream,
  worldOf,
} from './world.ts'

export function calls(stage: Stage): void {
  describe('calls', () => {
    for (const api of APIS) {
      it(`${api.name}: a whole reply is passed on, and counted as the provider reported it`, async () => {
        const world = worldOf(stage)
        const before = await remaining(world, 'roomy-calls')
        const reply = await call(world, 'roomy-calls', api, { maxTokens: 30 })
        expect(reply.status).toBe(200)
        expect(reply.headers.get('x-ratelimit-limit-tokens')).toBe(String(ROOMY))
        expect(remainingIn(reply)).toBeLessThanOrEqual(before - 30)
        expect(api.said(await json(reply))).toBe(lastReceived(world).generation?.pieces.join(''))
        await expectRemaining(world, 'roomy-calls', before - lastBill(world))
      })

      it(`${api.name}: a stream is passed on event by event, and counted`, async () => {
        const world = worldOf(stage)
        const before = await remaining(world, 'roomy-streams')
        const reply = await call(world, 'roomy-streams', api, { maxTokens: 30, stream: true })
        expect(reply.headers.get('content-type')).toContain('text/event-stream')
        const data = await events(reply)
        expect(saidInStream(api, data)).toBe(lastReceived(world).generation?.pieces.join(''))
        expect(data.at(-1)).toMatch(api.lastEvent)
        await expectRemaining(world, 'roomy-streams', before - lastBill(world))
      })
    }

    it('Gemini: a stream without SSE is a JSON array, and counted', async () => {
      const world = worldOf(stage)
      const before = await remaining(world, 'roomy-streams')
      const api = { ...APIS[5], path: () => '/v1beta/models/gemini-2.5-flash:streamGenerateContent' } as typeof chat
      const reply = await call(world, 'roomy-streams', api, { maxTokens: 30 })
      expect(Array.isArray(await json(reply))).toBe(true)
      await expectRemaining(world, 'roomy-streams', before - lastBill(world))
    })

    it('the usage event reaches only a caller who asked for it', async () => {
      const world = worldOf(stage)
      const silent = await events(await call(world, 'roomy-usage-choice', chat, { stream: true }))
      expect(at(JSON.parse(lastReceived(world).body.toString()), 'stream_options', 'include_usage')).toBe(true)
      expect(silent.filter((event) => event.includes('"choices":[]'))).toEqual([])
      const asking = { stream: true, body: { stream_options: { include_usage: true } } }
      const told = await events(await call(world, 'roomy-usage-choice', chat, asking))
      expect(at(JSON.parse(told.at(-2) ?? ''), 'usage', 'completion_tokens')).toBe(20)
    })

    it('cached and reasoning tokens are counted', async () => {
      const world = worldOf(stage)
      for (const api of APIS) {
        const before = await remaining(world, 'roomy-calls')
        const reply = await call(world, 'roomy-calls', api, {
          maxTokens: 50,
          knobs: { reasoning: 10, cached: 4, output: 5 },
        })
        await reply.arrayBuffer()
        await expectRemaining(world, 'roomy-calls', before - lastBill(world))
      }
    })

    it.each([
      ['CRLF', { ending: 'crlf' }],
      ['CR', { ending: 'cr' }],
      ['comments', { comments: 1 }],
      ['one byte a write', { cut: 1, output: 3 }],
      ['no [DONE]', { done: 0 }],
      ['a content-length', { framing: 'length' }],
    ] as const)('a stream with %s is passed on and counted', async (_, knobs) => {
      const world = worldOf(stage)
      for (const api of [chat, messages]) {
        const before = await remaining(world, 'roomy-frames')
        const data = await events(await call(world, 'roomy-frames', api, { stream: true, knobs }))
        expect(saidInStream(api, data)).toBe(lastReceived(world).generation?.pieces.join(''))
        expect(data.filter((event) => event.includes('"choices":[]'))).toEqual([])
        await expectRemaining(world, 'roomy-frames', before - lastBill(world))
      }
    })

    it('a caller who takes gzip is counted all the same', async () => {
      const world = worldOf(stage)
      for (const stream of [false, true]) {
        const before = await remaining(world, 'roomy-frames')
        const reply = await call(world, 'roomy-frames', chat, { stream, headers: { 'accept-encoding': 'gzip, br' } })
        await reply.arrayBuffer()
        await expectRemaining(world, 'roomy-frames', before - lastBill(world))
      }
    })

    it('the first events arrive while the upstream is still busy', async () => {
      const world = worldOf(stage)
      const stop = new AbortController()
      const reply = await call(world, 'roomy-open', chat, { stream: true, knobs: { hang: 4 }, signal: stop.signal })
      const reader = reply.body?.pipeThrough(new TextDecoderStream()).getReader()
      let seen = ''
      while (!seen.includes('" model"')) seen += (await reader?.read())?.value ?? ''
      stop.abort()
      expect(await lastReceived(world).ended).toBe('gone')
    })

    it('the caller’s key never travels upstream, the operator’s does', async () => {
      const world = worldOf(stage)
      for (const api of APIS) {
        await (await call(world, 'roomy-key', api)).arrayBuffer()
        const { url, rawHeaders, body, headers } = lastReceived(world)
        const sent = [decodeURIComponent(url), ...rawHeaders, body.toString()].join('\n')
        for (const part of keyOf(world, 'roomy-key').split(':')) expect(sent).not.toContain(part)
        expect(headers.authorization).toBe('Bearer upstream-key-of-the-operator')
      }
    })

    it('every other header and member is forwarded as it came', async () => {
      const world = worldOf(stage)
      const body = { metadata: { a: [1, 2.5, 'ü'] }, temperature: 0.2, seed: 12345678901234 }
      await (await call(world, 'roomy-key', chat, { body, headers: { 'openai-project': 'p' } })).arrayBuffer()
      const { headers, body: sent } = lastReceived(world)
      expect(headers['openai-project']).toBe('p')
      expect(headers['content-length']).toBe(String(sent.length))
      expect(JSON.parse(sent.toString())).toMatchObject({ ...body, max_tokens: 20 })
    })
  })
}
