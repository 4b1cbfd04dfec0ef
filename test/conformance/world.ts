/** The gateway, its upstream and its callers, as the scenarios use them. */

import { connect } from 'node:net'
import { expect, vi } from 'vitest'
import type { Knobs, Model, Received } from '../support/model/index.ts'
import { type ApiCase, type Ask, chat } from './apis.ts'
import type { RunningGateway } from './gateway.ts'

export interface World {
  readonly gateway: RunningGateway
  readonly model: Model
}

/** Set before the first scenario runs. */
export interface Stage {
  current: World | undefined
}

export function worldOf(stage: Stage): World {
  if (stage.current === undefined) throw new Error('the gateway did not start')
  return stage.current
}

export interface CallOptions {
  readonly maxTokens?: number
  readonly stream?: boolean
  readonly model?: string
  /** How the upstream behaves. */
  readonly knobs?: Partial<Knobs>
  readonly headers?: Readonly<Record<string, string>>
  /** Replaces or adds members of the body. */
  readonly body?: Readonly<Record<string, unknown>>
  readonly signal?: AbortSignal
}

export function keyOf(world: World, caller: string): string {
  const key = world.gateway.keys[caller]
  if (key === undefined) throw new Error(`no consumer ${caller}`)
  return key
}

/** Calls an API as its SDK would. */
export function call(world: World, caller: string, api: ApiCase, options: CallOptions = {}): Promise<Response> {
  const { maxTokens = 20, stream = false, model = 'gpt-4o-mini' } = options
  const ask: Ask = { model, maxTokens, stream }
  const body = JSON.stringify({ ...api.body(ask), ...options.body })
  const headers = { ...api.headers, ...knobHeaders(options.knobs ?? {}), ...options.headers }
  return send(world, caller, api, api.path(ask), {
    body,
    headers,
    ...(options.signal ? { signal: options.signal } : {}),
  })
}

export type Body = string | Uint8Array | ReadableStream

export interface RawOptions {
  readonly method?: string
  readonly body?: Body
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

export function send(world: World, caller: string, api: ApiCase, path: string, options: RawOptions): Promise<Response> {
  const key = keyOf(world, caller)
  const { method = 'POST', body, signal } = options
  const url = new URL(world.gateway.baseUrl + path)
  const headers: Record<string, string> = { 'content-type': 'application/json', ...options.headers }
  if (api.keyIn === 'query') url.searchParams.set('key', key)
  else headers[api.keyIn] = api.keyIn === 'authorization' ? `Bearer ${key}` : key
  return fetch(url, {
    method,
    headers,
    ...(body === undefined ? {} : { body, duplex: 'half' }),
    ...(signal === undefined ? {} : { signal }),
  } as RequestInit)
}

export function knobHeaders(knobs: Partial<Knobs>): Record<string, string> {
  return Object.fromEntries(Object.entries(knobs).map(([name, value]) => [`x-model-${name}`, String(value)]))
}

export async function json(reply: Response): Promise<unknown> {
  return reply.json()
}

/** Data of every event of a stream. */
export async function events(reply: Response): Promise<string[]> {
  const text = await reply.text()
  return text.split(/\r\n|\r|\n/).flatMap((line) => (line.startsWith('data: ') ? [line.slice('data: '.length)] : []))
}

export function saidInStream(api: ApiCase, data: readonly string[]): string {
  return data
    .filter((event) => event !== '[DONE]')
    .map((event) => api.saidIn(JSON.parse(event)))
    .filter((text) => typeof text === 'string')
    .join('')
}

/** The upstream's last request. */
export function lastReceived(world: World): Received {
  const received = world.model.requests.at(-1)
  if (received === undefined) throw new Error('nothing reached the upstream')
  return received
}

/** What the upstream billed for its last request. */
export function lastBill(world: World): number {
  const { generation } = lastReceived(world)
  if (generation === undefined) throw new Error('the upstream generated nothing')
  const output = (generation.pieces.length + generation.reasoningTokens) * generation.candidates
  return generation.inputTokens + output
}

export function remainingIn(reply: Response): number {
  return Number(reply.headers.get('x-ratelimit-remaining-tokens') ?? Number.NaN)
}

/**
 * What is left of a caller's token limit now: a request that can never fit is refused with that number, takes nothing
 * and does not reach the upstream.
 */
export async function remaining(world: World, caller: string): Promise<number> {
  const reply = await call(world, caller, chat, { maxTokens: 1_000_000_000 })
  expect(chat.code(await reply.json())).toBe('request_exceeds_limit')
  return remainingIn(reply)
}

/** Waits for a settlement: a gateway may settle after the reply is through. */
export async function expectRemaining(world: World, caller: string, expected: number): Promise<void> {
  await vi.waitFor(async () => expect(await remaining(world, caller)).toBe(expected), { timeout: 5_000, interval: 20 })
}

export async function expectRemainingBetween(world: World, caller: string, low: number, high: number): Promise<void> {
  const left = await vi.waitFor(
    async () => {
      const now = await remaining(world, caller)
      expect(now).toBeGreaterThan(low)
      return now
    },
    { timeout: 5_000, interval: 20 },
  )
  expect(left).toBeLessThan(high)
}

/** One request, byte for byte, on a connection of its own. Returns the status, or 0 when the gateway just hung up. */
export function rawRequest(world: World, bytes: string | Uint8Array): Promise<number> {
  const { hostname, port } = new URL(world.gateway.baseUrl)
  return new Promise((resolve) => {
    let answer = ''
    const socket = connect(Number(port), hostname, () => socket.write(bytes))
    const done = (): void => {
      socket.destroy()
      resolve(Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1] ?? 0))
    }
    socket.on('data', (piece: Buffer) => {
      answer += piece.toString('latin1')
      if (answer.includes('\r\n\r\n')) done()
    })
    socket.on('error', done)
    socket.on('close', done)
  })
}
