/** What is held while a call runs, and what becomes of it however the call ends. */

import { describe, expect, it, vi } from 'vitest'
import { APIS, chat, messages } from './apis.ts'
import { ROOMY } from './setup.ts'
import {
  call,
  events,
  expectRemaining,
  expectRemainingBetween,
  lastBill,
  lastReceived,
  remaining,
  remainingIn,
  type Stage,
  worldOf,
} from './world.ts'

const SOON = { timeout: 5_000, interval: 20 }

export function settling(stage: Stage): void {
  describe('settling', () => {
    for (const status of [400, 429, 500, 503, 529]) {
      it(`gives everything back when the upstream answers ${status}`, async () => {
        const world = worldOf(stage)
        for (const api of APIS) {
          for (const stream of [false, true]) {
            const reply = await call(world, 'roomy-failures', api, { stream, knobs: { status } })
            expect(reply.status).toBe(status)
            expect(remainingIn(reply)).toBeLessThan(ROOMY)
            await reply.arrayBuffer()
          }
        }
        await expectRemaining(world, 'roomy-failures', ROOMY)
      })
    }

    it('gives everything back when the upstream hangs up before it answers', async () => {
      const world = worldOf(stage)
      const reply = await call(world, 'roomy-unreachable', chat, { knobs: { break: 0 } })
      expect(reply.status).toBeGreaterThanOrEqual(500)
      await expectRemaining(world, 'roomy-unreachable', ROOMY)
    })

    it('a stream that breaks is broken for the caller too, and counted as far as it came', async () => {
      const world = worldOf(stage)
      for (const api of [chat, messages]) {
        const before = await remaining(world, 'roomy-broken')
        const reply = await call(world, 'roomy-broken', api, { stream: true, maxTokens: 500, knobs: { break: 12 } })
        const held = remainingIn(reply)
        await expect(reply.text()).rejects.toThrow()
        await expectRemainingBetween(world, 'roomy-broken', held, before)
      }
    })

    it('a reply that breaks is broken for the caller too', async () => {
      const world = worldOf(stage)
      const reply = await call(world, 'roomy-broken', chat, { knobs: { break: 2 } })
      await expect(reply.text()).rejects.toThrow()
    })

    it('an error event in a stream is passed on', async () => {
      const world = worldOf(stage)
      for (const api of [chat, messages]) {
        const data = await events(await call(world, 'roomy-broken', api, { stream: true, knobs: { error: 5 } }))
        expect(data.at(-1)).toContain('"error"')
      }
    })

    it('holds the reservation while a call runs, and keeps it when the caller leaves unseen', async () => {
      const world = worldOf(stage)
      const stop = new AbortController()
      const pending = call(world, 'roomy-waiting', chat, { maxTokens: 700, knobs: { hang: 0 }, signal: stop.signal })
      pending.catch(() => {})
      await vi.waitFor(async () => expect(await remaining(world, 'roomy-waiting')).toBeLessThan(ROOMY - 700), SOON)
      const held = await remaining(world, 'roomy-waiting')
      await vi.waitFor(() => expect(lastReceived(world).headers['x-model-hang']).toBe('0'), SOON)
      stop.abort()
      await expect(pending).rejects.toThrow()
      expect(await lastReceived(world).ended).toBe('gone')
      await expectRemaining(world, 'roomy-waiting', held)
    })

    it('a caller who leaves a stream pays for what was streamed', async () => {
      const world = worldOf(stage)
      const before = await remaining(world, 'roomy-waiting')
      const stop = new AbortController()
      const options = { stream: true, maxTokens: 5_000, knobs: { hang: 20 }, signal: stop.signal }
      const reply = await call(world, 'roomy-waiting', chat, options)
      const held = remainingIn(reply)
      const reader = reply.body?.pipeThrough(new TextDecoderStream()).getReader()
      let seen = ''
      while (!seen.includes('" token"')) seen += (await reader?.read())?.value ?? ''
      stop.abort()
      expect(await lastReceived(world).ended).toBe('gone')
      await expectRemainingBetween(world, 'roomy-waiting', held + 4_000, before)
    })

    for (const usage of ['omit', 'null', 'missing', 'negative', 'strings', 'floats', 'huge'] as const) {
      it(`usage that is ${usage} is no usage: the reservation stays`, async () => {
        const world = worldOf(stage)
        for (const stream of [false, true]) {
          const reply = await call(world, 'roomy-odd', chat, { stream, maxTokens: 100, knobs: { usage } })
          const held = remainingIn(reply)
          await reply.arrayBuffer()
          await expectRemaining(world, 'roomy-odd', held)
        }
      })
    }

    it('a reported zero is zero', async () => {
      const world = worldOf(stage)
      const before = await remaining(world, 'roomy-odd')
      await (await call(world, 'roomy-odd', chat, { knobs: { usage: 'zero' } })).arrayBuffer()
      await expectRemaining(world, 'roomy-odd', before)
    })

    it('text that looks like usage is text', async () => {
      const world = worldOf(stage)
      for (const api of APIS) {
        for (const stream of [false, true]) {
          const before = await remaining(world, 'roomy-lies')
          const reply = await call(world, 'roomy-lies', api, { stream, knobs: { say: 'usage', input: 4_321 } })
          await reply.arrayBuffer()
          await expectRemaining(world, 'roomy-lies', before - lastBill(world))
        }
      }
    })

    it('an upstream that lies about its content type is counted all the same', async () => {
      const world = worldOf(stage)
      for (const [stream, type] of [
        [true, 'text/plain'],
        [true, 'application/json'],
        [false, 'text/event-stream'],
        [false, 'text/html'],
      ] as const) {
        const before = await remaining(world, 'roomy-lies')
        await (await call(world, 'roomy-lies', chat, { stream, knobs: { type } })).arrayBuffer()
        await expectRemaining(world, 'roomy-lies', before - lastBill(world))
      }
    })
  })
}
