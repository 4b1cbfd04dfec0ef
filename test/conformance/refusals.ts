/** Refusals: in the API's own shape, with everything a client needs to behave, and nothing forwarded. */

import { describe, expect, it, vi } from 'vitest'
import { APIS, chat, messages } from './apis.ts'
import { TIGHT, WINDOW_SECONDS } from './setup.ts'
import { call, json, keyOf, remaining, type Stage, send, worldOf } from './world.ts'

export function refusals(stage: Stage): void {
  describe('refusals', () => {
    for (const api of APIS) {
      it(`${api.name}: 429 in its own shape`, async () => {
        const world = worldOf(stage)
        const reached = world.model.requests.length
        const reply = await call(world, 'roomy-bad', api, {
          maxTokens: 1_000_000_000,
          headers: { 'x-request-id': 'mine-1' },
        })
        expect(reply.status).toBe(429)
        const body = await json(reply)
        expect(api.code(body)).toBe('request_exceeds_limit')
        expect(JSON.stringify(body)).not.toContain(keyOf(world, 'roomy-bad'))
        expect(reply.headers.get('content-type')).toContain('application/json')
        expect(reply.headers.get('cache-control')).toBe('no-store')
        expect(reply.headers.get('x-request-id')).toBeTruthy()
        expect(reply.headers.get('x-should-retry')).toBe('false')
        expect(reply.headers.get('retry-after')).toBeNull()
        expect(world.model.requests).toHaveLength(reached)
      })
    }

    it('says how long to wait when the limit is used up, and takes nothing', async () => {
      const world = worldOf(stage)
      const first = await call(world, 'tight-full', chat, { maxTokens: 800, knobs: { output: 800 } })
      expect(first.status).toBe(200)
      const { usage } = (await first.json()) as { readonly usage: { readonly total_tokens: number } }
      const left = TIGHT - usage.total_tokens
      await vi.waitFor(async () => expect(await remaining(world, 'tight-full')).toBe(left), { timeout: 5_000 })
      const reply = await call(world, 'tight-full', messages, { maxTokens: 500 })
      expect(reply.status).toBe(429)
      expect(messages.code(await json(reply))).toBe('rate_limit_exceeded')
      const header = (name: string): string => reply.headers.get(name) ?? ''
      expect(header('retry-after')).toMatch(/^[1-9]\d*$/)
      expect(Number(header('retry-after-ms'))).toBeGreaterThan((Number(header('retry-after')) - 1) * 1_000)
      expect(header('x-ratelimit-limit-tokens')).toBe(String(TIGHT))
      expect(header('x-ratelimit-remaining-tokens')).toBe(String(left))
      expect(header('x-ratelimit-reset-tokens')).toMatch(/s$/)
      expect(header('anthropic-ratelimit-tokens-remaining')).toBe(String(left))
      expect(header('ratelimit-policy')).toBe(`"tokens";q=${TIGHT};qu="tokens";w=${WINDOW_SECONDS}`)
      expect(header('ratelimit')).toMatch(new RegExp(`^"tokens";r=${left};t=[1-9]`))
      expect(await remaining(world, 'tight-full')).toBe(left)
    })

    it.each([
      ['POST', '/v1/batches', { input_file_id: 'f' }],
      ['POST', '/v1/fine_tuning/jobs', { model: 'm' }],
      ['POST', '/v1/nothing/like/that', {}],
      ['POST', '/v1/responses', { model: 'gpt-5.1', input: 'x', background: true, max_output_tokens: 5 }],
      ['PUT', '/v1/chat/completions', {}],
    ])('what nobody can meter is refused: %s %s', async (method, path, body) => {
      const world = worldOf(stage)
      const reached = world.model.requests.length
      const reply = await send(world, 'roomy-unmetered', chat, path, { method, body: JSON.stringify(body) })
      expect([reply.status, chat.code(await json(reply))]).toEqual([400, 'unmetered_operation'])
      expect(world.model.requests).toHaveLength(reached)
    })

    it('what the operator lists as unmetered, and reads, pass', async () => {
      const world = worldOf(stage)
      const moderation = JSON.stringify({ input: 'x' })
      expect((await send(world, 'roomy-unmetered', chat, '/v1/moderations', { body: moderation })).status).toBe(200)
      expect((await send(world, 'roomy-unmetered', chat, '/v1/models', { method: 'GET' })).status).toBe(200)
      const counting = await call(world, 'roomy-unmetered', { ...messages, path: () => '/v1/messages/count_tokens' })
      expect(await json(counting)).toMatchObject({ input_tokens: expect.any(Number) })
    })

    it('without a key, or with an unknown one, nothing passes', async () => {
      const world = worldOf(stage)
      const reached = world.model.requests.length
      const body = JSON.stringify(chat.body({ model: 'm', maxTokens: 5, stream: false }))
      const type = { 'content-type': 'application/json' }
      for (const headers of [
        type,
        { ...type, authorization: 'Bearer no:such' },
        { ...type, 'x-api-key': 'nonsense' },
        { ...type, authorization: 'Bearer' },
        { ...type, authorization: 'Basic bm86c3VjaA==' },
        { ...type, 'eg-consumer-id': 'roomy-other', 'x-consumer-id': 'roomy-other' },
      ]) {
        const reply = await fetch(`${world.gateway.baseUrl}/v1/chat/completions`, { method: 'POST', headers, body })
        expect(reply.status).toBe(401)
      }
      expect(world.model.requests).toHaveLength(reached)
    })

    it('two different keys are refused, the same one twice is not', async () => {
      const world = worldOf(stage)
      const other = keyOf(world, 'roomy-other')
      const two = await call(world, 'roomy-key', chat, { headers: { 'x-api-key': other } })
      expect([two.status, chat.code(await json(two))]).toEqual([401, 'invalid_key'])
      const same = await call(world, 'roomy-key', chat, { headers: { 'x-api-key': keyOf(world, 'roomy-key') } })
      expect(same.status).toBe(200)
    })
  })
}
