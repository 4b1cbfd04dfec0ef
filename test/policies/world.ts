/** A clock that tests turn, dependencies around it, and requests as a gateway would hand them over. */

import type {
  Decision,
  Deps,
  Exchange,
  FetchDocument,
  MaybePromise,
  Pass,
  Random,
  Reject,
} from '../../policies/policy.ts'
import { createRuntime } from '../../policies/runtime.ts'
import { createMemoryStore } from '../../policies/stores/memory.ts'

export interface WorldOptions {
  /** Epoch milliseconds. */
  readonly start: number
  /** Default: counts ids. */
  readonly random?: Random
  readonly fetchDocument?: FetchDocument
}

export interface LoggedLine {
  readonly level: string
  readonly message: string
  readonly fields?: unknown
}

export function createTurnedWorld({ start, random = countingRandom(), fetchDocument }: WorldOptions) {
  let now = start
  const tasks: { readonly at: number; readonly run: () => void }[] = []
  const lines: LoggedLine[] = []
  const log = (level: string) => (message: string, fields?: unknown) => void lines.push({ level, message, fields })
  const clock = {
    now: () => now,
    monotonic: () => now - start,
    after(ms: number, run: () => void) {
      const task = { at: now + ms, run }
      tasks.push(task)
      return () => void tasks.splice(tasks.indexOf(task), 1)
    },
  }
  const deps: Deps = {
    clock,
    random,
    runtime: createRuntime(),
    logger: { info: log('info'), warn: log('warn'), error: log('error') },
    openLimitStore: () => createMemoryStore({ clock, random }),
    ...(fetchDocument === undefined ? {} : { fetchDocument }),
  }
  return {
    deps,
    lines,
    /** Moves the clock, and runs what was due. */
    wait(ms: number) {
      now += ms
      for (const task of tasks.filter(({ at }) => at <= now)) {
        tasks.splice(tasks.indexOf(task), 1)
        task.run()
      }
    },
  }
}

function countingRandom(): Random {
  let ids = 0
  return { id: () => `id-${ids++}`, fraction: () => 0.5 }
}

export interface ExchangeParts extends Pick<Exchange, 'body' | 'caller'> {
  readonly method?: string | undefined
  readonly path?: string | undefined
  readonly headers: Readonly<Record<string, string>>
}

export function exchangeOf({
  method = 'POST',
  path = '/v1/chat/completions',
  headers,
  body,
  caller,
}: ExchangeParts): Exchange {
  return {
    requestId: 'request-1',
    method,
    path,
    route: {},
    queryNames: () => [],
    header: (name) => headers[name],
    body,
    caller,
  }
}

/** Decisions that a test knows beforehand; it fails where another one is made. */
export function verdictsOf<Parts>(decide: (parts: Parts | undefined) => MaybePromise<Decision>) {
  return {
    async passed(parts?: Parts): Promise<Pass> {
      const decision = await decide(parts)
      if (decision.type !== 'pass') throw new Error(`refused with ${decision.code}: ${decision.message}`)
      return decision
    },
    async refused(parts?: Parts): Promise<Reject> {
      const decision = await decide(parts)
      if (decision.type !== 'reject') throw new Error('let through')
      return decision
    },
  }
}
