/** One instance of the policy, and requests as a gateway would hand them over. */

import type { Caller, Exchange, FetchDocument } from '../../../policies/policy.ts'
import { parsePolicyConfig } from '../../../policies/schema/parse.ts'
import { scope } from '../../../policies/scope/index.ts'
import { createTurnedWorld, exchangeOf, verdictsOf } from '../world.ts'

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
  const { method, path, headers = {}, caller = granted() } = parts
  return exchangeOf({
    method,
    path,
    headers: { 'content-type': 'application/json', ...headers },
    body: () => bytesOf(parts.body === undefined ? chat() : parts.body),
    caller: () => caller,
  })
}

function bytesOf(body: unknown): Uint8Array | undefined {
  if (body === null) return undefined
  if (body instanceof Uint8Array) return body
  return new TextEncoder().encode(typeof body === 'string' ? body : JSON.stringify(body))
}

export interface World {
  readonly fetchDocument?: FetchDocument
}

export function createWorld(world: World = {}) {
  return createTurnedWorld({ start: START, ...world })
}

export function setUp(config: Readonly<Record<string, unknown>> = {}, world = createWorld()) {
  const instance = scope.create(parsePolicyConfig(scope, config), world.deps)

  return { ...world, instance, ...verdictsOf((parts?: RequestParts) => instance.decide(exchange(parts))) }
}

/** A form as SDKs write it. */
export function form(boundary: string, fields: readonly (readonly [name: string, value: string, more?: string])[]) {
  const parts = fields.map(
    ([name, value, more = '']) =>
      `--${boundary}\r\nContent-Disposition: form-data; name="${name}"${more}\r\n\r\n${value}\r\n`,
  )
  return `${parts.join('')}--${boundary}--\r\n`
}
