/** One policy instance with a clock that tests turn, and requests as a gateway would hand them over. */

import type { Caller, Deps, Exchange, Outcome, Pass, Reject, RouteRef } from '../../../policies/policy.ts'
import { createRuntime } from '../../../policies/runtime.ts'
import { parsePolicyConfig } from '../../../policies/schema/parse.ts'
import { createMemoryStore } from '../../../policies/stores/memory.ts'
import type { LimitStore } from '../../../policies/stores/ports.ts'
import { tokenLimit } from '../../../policies/token-limit/index.ts'
import { createTokenLimit } from '../../../policies/token-limit/policy.ts'
import type { LlmToolkit } from '../../../policies/token-limit/toolkit.ts'

export const START = 1_700_000_000_000

export interface RequestParts {
  readonly method?: string
  readonly path?: string
  readonly headers?: Readonly<Record<string, string>>
  /** Names of the query's parameters. */
  readonly query?: readonly string[]
  /** Text is sent as it is, anything else as JSON; null is no body. */
  readonly body?: unknown
  readonly caller?: Caller
  readonly route?: RouteRef
}

export const ALICE: Caller = caller('alice')

export function caller(id: string, tags: readonly string[] = []): Caller {
  return {
    consumer: { id, username: id, tags, groups: [] },
    credential: { id: `key-of-${id}`, tags: [] },
    address: '192.0.2.1',
  }
}

export function exchange(parts: RequestParts = {}): Exchange {
  const { method = 'POST', path = '/v1/chat/completions', headers = {}, caller: who = ALICE, route = {} } = parts
  const all: Record<string, string> = { 'content-type': 'application/json', ...headers }
  const body = parts.body === undefined ? chat() : parts.body
  return {
    requestId: 'request-1',
    method,
    path,
    route,
    queryNames: () => parts.query ?? [],
    header: (name) => all[name],
    body: () =>
      body === null ? undefined : new TextEncoder().encode(typeof body === 'string' ? body : JSON.stringify(body)),
    caller: () => who,
  }
}

export function chat(parts: Readonly<Record<string, unknown>> = {}) {
  return { model: 'gpt-4o', messages: [{ role: 'user', content: 'Hello there, how are you?' }], ...parts }
}

export interface Setup {
  readonly store?: LimitStore
  readonly llm?: LlmToolkit
}

export function setUp(config: Readonly<Record<string, unknown>>, { store, llm }: Setup = {}) {
  let now = START
  let ids = 0
  const lines: { level: string; message: string; fields?: unknown }[] = []
  const log = (level: string) => (message: string, fields?: unknown) => void lines.push({ level, message, fields })
  const clock = { now: () => now, monotonic: () => now, after: () => () => {} }
  const random = { id: () => `id-${ids++}`, fraction: () => 0.5 }
  const memory = store ?? createMemoryStore({ clock, random })
  const deps: Deps = {
    clock,
    random,
    runtime: createRuntime(),
    logger: { info: log('info'), warn: log('warn'), error: log('error') },
    openLimitStore: () => memory,
  }
  const policy = llm === undefined ? tokenLimit : createTokenLimit(llm)
  const instance = policy.create(parsePolicyConfig(policy, config), deps)

  async function decide(parts: RequestParts = {}) {
    return instance.decide(exchange(parts))
  }

  async function passed(parts: RequestParts = {}): Promise<Pass> {
    const decision = await decide(parts)
    if (decision.type !== 'pass') throw new Error(`refused with ${decision.code}: ${decision.message}`)
    return decision
  }

  async function refused(parts: RequestParts = {}): Promise<Reject> {
    const decision = await decide(parts)
    if (decision.type !== 'reject') throw new Error('let through')
    return decision
  }

  /** Settles through JSON, as in another process. */
  async function settle({ reservation }: Pass, outcome: Outcome): Promise<void> {
    if (reservation === undefined) throw new Error('nothing reserved')
    await instance.settle?.(JSON.parse(JSON.stringify(reservation)), outcome)
  }

  return {
    instance,
    deps,
    store: memory,
    lines,
    decide,
    passed,
    refused,
    settle,
    wait(ms: number) {
      now += ms
    },
  }
}

export function rule(parts: Readonly<Record<string, unknown>> = {}) {
  return { name: 'tokens', limit: 1000, window_seconds: 60, ...parts }
}

/** Remaining by an OpenAI header. */
export function remaining(decision: Pass | Reject, kind: 'tokens' | 'requests' = 'tokens'): number {
  const headers = decision.type === 'pass' ? decision.replyHeaders : decision.headers
  return Number(headers?.[`x-ratelimit-remaining-${kind}`] ?? Number.NaN)
}

export function forwardedBody(decision: Pass): Record<string, unknown> | undefined {
  const body = decision.request?.body
  return body === undefined ? undefined : JSON.parse(new TextDecoder().decode(body))
}
