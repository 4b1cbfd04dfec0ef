/** Gateway nodes that share one limit through Redis: what a caller may do does not depend on which nodes are asked. */

import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type RedisServer, startRedis } from '../support/redis/server.ts'
import { type OpenedStore, openRedisStore } from '../support/redis/store.ts'
import { CREDENTIALS, type Credential, type RedisAddress, SHARED_LIMIT } from './sharing-setup.ts'

const [IN_TURN, AT_ONCE, IN_OUTAGE] = CREDENTIALS
const CALLERS_A_NODE = 16

export interface Answer {
  readonly status: number
  /** Of the `calls` limit; NaN when the answer does not say. */
  readonly remaining: number
}

export interface SharingNode {
  readonly name: string
  /** One chat call, answered and settled as soon as the node does. */
  ask(credential: Credential): Promise<Answer>
}

export interface SharingNodes {
  readonly nodes: readonly SharingNode[]
  /** Tokens that the answers so far have used. */
  used(): number
  stop(): Promise<void>
}

export function sharing(name: string, start: (redis: RedisAddress) => Promise<SharingNodes>): void {
  describe(`${name} share one limit`, { timeout: 60_000 }, () => {
    let redis: RedisServer
    let all: SharingNodes
    let operator: OpenedStore

    beforeAll(async () => {
      redis = await startRedis()
      all = await start(redis)
      operator = openRedisStore({ port: redis.port, command_timeout_ms: 2_000 }, { observer: true })
      await operator.store.ready()
    }, 120_000)
    afterAll(async () => {
      await operator?.store.close()
      await all?.stop()
      await redis?.close()
    })

    /** Every node is asked by many callers at once until each of them was refused. */
    async function askUntilRefused(credential: Credential): Promise<{ admitted: number; odd: readonly Answer[] }> {
      let admitted = 0
      const odd: Answer[] = []
      const caller = async ({ ask }: SharingNode) => {
        for (;;) {
          const answer = await ask(credential)
          if (answer.status === 429) return
          if (answer.status === 200) admitted++
          else odd.push(answer)
          if (odd.length > 10) return
        }
      }
      await Promise.all(all.nodes.flatMap((node) => Array.from({ length: CALLERS_A_NODE }, () => caller(node))))
      return { admitted, odd }
    }

    async function usedOf(credential: Credential): Promise<number | undefined> {
      const views = await operator.store.show(`credential=${credential.length}:${credential}`)
      return views[0]?.used
    }

    async function tokensUsed(): Promise<number | undefined> {
      for await (const { used } of operator.store.scan('nobody')) return used
      return undefined
    }

    it('every node counts on from where the one before stood', async () => {
      const seen: [string, number][] = []
      const expected: [string, number][] = []
      for (let turn = 0; turn < 3; turn++) {
        for (const node of all.nodes) {
          const { status, remaining } = await node.ask(IN_TURN)
          expect(status).toBe(200)
          expected.push([node.name, SHARED_LIMIT - 1 - seen.length])
          seen.push([node.name, remaining])
        }
      }
      expect(seen).toEqual(expected)
    })

    it('together they admit exactly what the limit allows, and book exactly what was used', async () => {
      expect(await askUntilRefused(AT_ONCE)).toEqual({ admitted: SHARED_LIMIT, odd: [] })
      expect(await usedOf(AT_ONCE)).toBe(SHARED_LIMIT)
      await vi.waitFor(async () => expect(await tokensUsed()).toBe(all.used()), { timeout: 10_000, interval: 50 })
    })

    it('while Redis is away each admits its share, and what it admitted is counted when Redis is back', async () => {
      await redis.kill()
      const share = Math.floor(SHARED_LIMIT / all.nodes.length)
      expect(await askUntilRefused(IN_OUTAGE)).toEqual({ admitted: share * all.nodes.length, odd: [] })
      // Who had used it all before has no share left.
      expect(await askUntilRefused(AT_ONCE)).toEqual({ admitted: 0, odd: [] })
      await redis.restart()
      await vi.waitFor(async () => expect(await usedOf(IN_OUTAGE)).toBe(share * all.nodes.length), {
        timeout: 15_000,
        interval: 50,
      })
      for (const node of all.nodes)
        await vi.waitFor(async () => expect((await node.ask(IN_TURN)).remaining).toBeGreaterThan(SHARED_LIMIT / 2), {
          timeout: 15_000,
          interval: 100,
        })
      // Redis lost what was counted before: that is the one more limit that an outage may cost, and nothing beyond it.
      expect(await askUntilRefused(AT_ONCE)).toEqual({ admitted: SHARED_LIMIT, odd: [] })
      expect(await usedOf(AT_ONCE)).toBe(SHARED_LIMIT)
    })
  })
}
