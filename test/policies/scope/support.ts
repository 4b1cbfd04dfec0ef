/** One instance of the policy, and requests as a gateway would hand them over. */

import type { Caller, Deps, Exchange, FetchDocument, Pass, Reject } from '../../../policies/policy.ts'
import { createRuntime } from '../../../policies/runtime.ts'
import { parsePolicyConfig } from '../../../policies/schema/parse.ts'
import { scope } from '../../../policies/scope/index.ts'
import { createMemoryStore } from '../../../policies/stores/memory.ts'

export const START = 1_700_000_000_000

export interface RequestParts {
  readonly method?: string
  readonly path?: string
  readonly headers?: Readonly<Record<string, string>>
  /** Text and bytes are sent as they are, anything else as JSON; null is no body. */
  readonly body?: unknown
  readonly caller?: Caller
}

export const STRANGER: Caller = { address: '192.0.2.1' }

/** A caller whose key has these tags. */
export function granted(...tags: string[]): Caller {
  return {
    consumer: { id: 'c-1', username: 'ada', tags: [], groups: [] },
    credential: { id: 'k-1', tags },
    address: '192.0.2.1',
  }
}

export function chat(parts: Readonly<Record<string, unknown>> = {}) {
  return { model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'Hi' }], ...parts }
}

export function exchange(parts: RequestParts = {}): Exchange {
  const { method = 'POST', path = '/v1/chat/completions', headers = {}, caller = granted() } = parts
  const all: Record<string, string> = { 'content-type': 'application/json', ...headers }
  return {
    requestId: 'request-1',
    method,
    path,
    route: {},
    queryNames: () => [],
    header: (name) => all[name],
    body: () => bytesOf(parts.body === undefined ? chat() : parts.body),
    caller: () => caller,
  }
}

function bytesOf(body: unknown): Uint8Array | undefined {
  if (body === null) return undefined
  if (body instanceof Uint8Array) return body
  return new TextEncoder().encode(typeof body === 'string' ? body : JSON.stringify(body))
}

export interface World {
  readonly fetchDocument?: FetchDocument
}

/** A clock that tests turn, and deps around it. */
export function createWorld({ fetchDocument }: World = {}) {
  let now = START
  let ids = 0
  const tasks: { at: number; run: () => void }[] = []
  const lines: { level: string; message: string; fields?: unknown }[] = []
  const log = (level: string) => (message: string, fields?: unknown) => void lines.push({ level, message, fields })
  const clock = {
    now: () => now,
    monotonic: () => now - START,
    after(ms: number, run: () => void) {
      const task = { at: now + ms, run }
      tasks.push(task)
      return () => void tasks.splice(tasks.indexOf(task), 1)
    },
  }
  const random = { id: () => `id-${ids++}`, fraction: () => 0.5 }
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

export function setUp(config: Readonly<Record<string, unknown>> = {}, world = createWorld()) {
  const instance = scope.create(parsePolicyConfig(scope, config), world.deps)

  async function passed(parts: RequestParts = {}): Promise<Pass> {
    const decision = await instance.decide(exchange(parts))
    if (decision.type !== 'pass') throw new Error(`refused with ${decision.code}: ${decision.message}`)
    return decision
  }

  async function refused(parts: RequestParts = {}): Promise<Reject> {
    const decision = await instance.decide(exchange(parts))
    if (decision.type !== 'reject') throw new Error('let through')
    return decision
  }

  return { ...world, instance, passed, refused }
}

/** A form as SDKs write it. */
export function form(boundary: string, fields: readonly (readonly [name: string, value: string, more?: string])[]) {
  const parts = fields.map(
    ([name, value, more = '']) =>
      `--${boundary}\r\nContent-Disposition: form-data; name="${name}"${more}\r\n\r\n${value}\r\n`,
  )
  return `${parts.join('')}--${boundary}--\r\n`
}
