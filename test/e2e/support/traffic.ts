/** Steady traffic on several routes, every answer judged: whose config decided, whose body arrived. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Model } from '../../support/model/index.ts'
import { ask, chat } from './ask.ts'
import type { Kong } from './kong.ts'

export interface Answer {
  readonly route: string
  readonly status: number
  /** Milliseconds since the traffic began, at the end of the answer. */
  readonly at: number
  /** Milliseconds that it took. */
  readonly took: number
  /** What is wrong with it, if anything. */
  readonly wrong?: string
}

export interface Traffic {
  readonly answers: readonly Answer[]
  /** Milliseconds since it began. */
  now(): number
  /** Ends it, and waits for what is under way. */
  stop(): Promise<void>
}

export interface TrafficOptions {
  /** Limit of each route, by which the config that decided is told. */
  readonly limits: Readonly<Record<string, number>>
  readonly callers: number
  readonly keys: readonly string[]
}

/** Every request carries a word of its own in a header and in its body. */
export function startTraffic(kong: Kong, { limits, callers, keys }: TrafficOptions): Traffic {
  const answers: Answer[] = []
  const begun = performance.now()
  const now = () => performance.now() - begun
  const routes = Object.keys(limits)
  let going = true

  async function call(caller: number, turn: number): Promise<void> {
    const route = routes[(caller + turn) % routes.length] ?? ''
    const word = `caller-${caller}-turn-${turn}`
    const from = now()
    const answer = await ask(kong, {
      route,
      key: keys[caller % keys.length] ?? '',
      headers: { 'x-word': word },
      body: chat({ messages: [{ role: 'user', content: word }] }),
    }).then(
      (reply) => {
        const decidedBy = Number(reply.headers.get('x-ratelimit-limit-tokens'))
        const wrong =
          reply.status === 200 && decidedBy !== limits[route]
            ? { wrong: `decided by ${decidedBy}, not by ${route}` }
            : {}
        return { status: reply.status, ...wrong }
      },
      (error: unknown) => ({ status: 0, wrong: `no answer: ${String(error)}` }),
    )
    answers.push({ route, at: now(), took: now() - from, ...answer })
    if (answer.status !== 200) await sleep(20)
  }

  const loops = Array.from({ length: callers }, async (_, caller) => {
    for (let turn = 0; going; turn++) await call(caller, turn)
  })
  return {
    answers,
    now,
    async stop() {
      going = false
      await Promise.all(loops)
    },
  }
}

/** Requests that reached the upstream with somebody else's body. */
export function mixedUp(model: Model): readonly string[] {
  return model.requests.flatMap((request) => {
    const word = request.headers['x-word']
    if (word === undefined) return []
    return request.body.includes(`"${String(word)}"`) ? [] : [`${String(word)} got ${request.body.toString()}`]
  })
}

export function byStatus(answers: readonly Answer[]): Record<number, number> {
  const counts: Record<number, number> = {}
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1
  return counts
}
