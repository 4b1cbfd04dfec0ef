/** The limits themselves: they hold under a burst, they recover, and they do what their modes say. */

import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { at, chat, messages } from './apis.ts'
import { COUNTED, QUICK, ROOMY, TIGHT } from './setup.ts'
import { call, expectRemaining, json, lastReceived, remaining, type Stage, type World, worldOf } from './world.ts'

export function limits(stage: Stage): void {
  describe('limits', () => {
    for (const [caller, stream] of [
      ['tight-burst', false],
      ['tight-stream-burst', true],
    ] as const) {
      it(`20 calls at once never overshoot${stream ? ', streaming' : ''}`, async () => {
        const world = worldOf(stage)
        const start = world.model.requests.length
        const options = { maxTokens: 100, stream, knobs: { output: 100, delay: 50 } }
        const replies = await Promise.all(Array.from({ length: 20 }, () => call(world, caller, chat, options)))
        await Promise.all(replies.map((reply) => reply.arrayBuffer()))
        const statuses = replies.map((reply) => reply.status)
        const admitted = statuses.filter((status) => status === 200).length
        expect(statuses.filter((status) => status === 429)).toHaveLength(20 - admitted)
        expect(admitted).toBeGreaterThan(5)
        expect(world.model.requests.length - start).toBe(admitted)
        await expectRemaining(world, caller, TIGHT - billed(world, start))
      })
    }

    it('one caller’s use is no other’s', async () => {
      expect(await remaining(worldOf(stage), 'roomy-other')).toBe(ROOMY)
    })

    it('recovers after the wait that it named', async () => {
      const world = worldOf(stage)
      const ask = { maxTokens: QUICK.limit - 60, knobs: { output: QUICK.limit - 60 } }
      const first = await call(world, 'quick-recovery', chat, ask)
      expect(first.status).toBe(200)
      await first.arrayBuffer()
      const second = await call(world, 'quick-recovery', chat, ask)
      expect(second.status).toBe(429)
      const wait = Number(second.headers.get('retry-after-ms'))
      expect(wait).toBeGreaterThan(0)
      expect(wait).toBeLessThanOrEqual(QUICK.windowSeconds * 1_000 * (13 / 12) + 1)
      await second.arrayBuffer()
      await sleep(wait)
      expect((await call(world, 'quick-recovery', chat, ask)).status).toBe(200)
    })

    it('clamps the budget that is forwarded to what is left', async () => {
      const world = worldOf(stage)
      const reply = await call(world, 'clamp-budget', chat, { maxTokens: 5_000 })
      expect(reply.status).toBe(200)
      await reply.arrayBuffer()
      const forwarded = Number(at(JSON.parse(lastReceived(world).body.toString()), 'max_tokens'))
      expect(forwarded).toBeLessThan(TIGHT)
      expect(forwarded).toBeGreaterThan(TIGHT - 100)
    })

    it('counts requests, also those that the upstream fails', async () => {
      const world = worldOf(stage)
      const statuses: number[] = []
      for (let sent = 0; sent < COUNTED + 1; sent++) {
        const reply = await call(world, 'counted-calls', messages, sent === 0 ? { knobs: { status: 500 } } : {})
        await reply.arrayBuffer()
        statuses.push(reply.status)
        expect(reply.headers.get('x-ratelimit-limit-requests')).toBe(String(COUNTED))
        expect(reply.headers.get('x-ratelimit-remaining-requests')).toBe(String(Math.max(0, COUNTED - 1 - sent)))
      }
      expect(statuses).toEqual([500, 200, 200, 429])
    })

    it('a rule in shadow mode refuses nothing and shows nothing', async () => {
      const world = worldOf(stage)
      for (let sent = 0; sent < 3; sent++) {
        const reply = await call(world, 'shadow-over', chat, { maxTokens: 500 })
        expect(reply.status).toBe(200)
        expect([...reply.headers.keys()].filter((name) => name.includes('ratelimit'))).toEqual([])
        expect(at(await json(reply), 'usage', 'completion_tokens')).toBe(40)
      }
    })
  })
}

function billed(world: World, since: number): number {
  return world.model.requests
    .slice(since)
    .reduce((sum, { generation }) => sum + (generation?.inputTokens ?? 0) + (generation?.pieces.length ?? 0), 0)
}
