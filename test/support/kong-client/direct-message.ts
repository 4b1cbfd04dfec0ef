/** What `kong/plugins/llm-edge/direct.lua` and `channel.lua` send, byte for byte, and how they read what comes back. */

import { Encoder } from '@msgpack/msgpack'
import { FACTS_KEY } from '../../../plugins/kong/shared-context.ts'
import { pack } from './lua.ts'

/** Members of the facts that go in one piece. */
const SEEN = [
  'version',
  'method',
  'path',
  'query',
  'host',
  'address',
  'headers',
  'extra_headers',
  'header_count',
  'groups',
  'body_in',
  'body_size',
] as const
const KNOWN = ['consumer', 'credential', 'route', 'service'] as const
const EARLIER = ['portcullis_llm_api_key', 'portcullis_llm_scope', 'portcullis_llm_gateway'] as const
const ANSWER_HEAD = 19

type Table = Readonly<Record<string, unknown>>

/**
 * From its method on.
 * @param body `same` for a request that the server was told before
 * @param taps ids of those whose text the worker knows
 */
export function accessMessage(
  instance: number,
  shared: ReadonlyMap<string, unknown>,
  body: Uint8Array | 'same' | undefined,
  taps: readonly string[] = [],
): Buffer {
  const facts = shared.get(FACTS_KEY) as Table
  const parts = [{ request_id: facts.request_id }, pick(facts, SEEN), pick(facts, KNOWN)].map(luaJson)
  const which = body === 'same' ? `"same":${luaJson(facts.request_id)}` : `"facts":[${parts.join(',')}]`
  const earlier = EARLIER.flatMap((key) => {
    const entry = (shared.get(key) ?? {}) as Table
    const told = pick(entry, ['claims', 'identity'])
    return Object.keys(told).length === 0 ? [] : [`"${key}":${luaJson(told)}`]
  })
  const known = taps.map((id) => ` ${id}`).join('')
  const text = Buffer.from(`{${which},"earlier":{${earlier.join(',')}},"taps":"${known}"}`)
  return Buffer.concat([
    Buffer.of(0xb1),
    Buffer.from('portcullis.Access'),
    Buffer.of(0x91, 0x93),
    sized(0xdb, Buffer.from(String(instance))),
    sized(0xdb, text),
    body === undefined || body === 'same' ? Buffer.of(0xc0) : sized(0xc6, body),
  ])
}

/** The result of an answer's last call, as Kong itself would send it back. */
export function stepMessage(event: number, result: unknown, error?: string): Buffer {
  const encoder = new Encoder()
  const method = error === undefined ? 'portcullis.Step' : 'portcullis.StepError'
  const argument = pack({ Data: error ?? result, EventId: event })
  return Buffer.concat([encoder.encode(method), encoder.encode([argument])])
}

/** A request of MessagePack-RPC. */
export function withHead(id: number, message: Uint8Array): Buffer {
  const head = Buffer.from([0x94, 0, 0xce, 0, 0, 0, 0])
  head.writeUInt32BE(id, 3)
  return Buffer.concat([head, message])
}

export interface DirectReply {
  readonly id: number
  readonly text: string
  readonly body: Buffer | undefined
}

/** The first answer in what came, and the rest; undefined while it is not whole. @throws when it is no answer. */
export function readReply(bytes: Buffer): { readonly reply: DirectReply; readonly rest: Buffer } | undefined {
  if (bytes.length < ANSWER_HEAD) return undefined
  const size = bytes.readUInt32BE(10)
  const total = bytes.readUInt32BE(15)
  if (bytes.readUIntBE(0, 3) !== 0x9401ce || size > total) throw new Error('not an answer')
  const end = ANSWER_HEAD + total
  if (bytes.length < end) return undefined
  const text = bytes.toString('utf8', ANSWER_HEAD, ANSWER_HEAD + size)
  const body = total === size ? undefined : Buffer.from(bytes.subarray(ANSWER_HEAD + size, end))
  return { reply: { id: bytes.readUInt32BE(3), text, body }, rest: bytes.subarray(end) }
}

export interface DirectAnswer {
  readonly event?: number
  readonly error?: string
  /** Each with its method first. */
  readonly calls: ReadonlyArray<readonly [method: string, ...args: unknown[]]>
}

/** What an answer says, with the bytes from behind its text where they belong. */
export function readAnswer({ text, body }: DirectReply): DirectAnswer {
  const answer = JSON.parse(text) as DirectAnswer
  let at = 0
  const take = ({ bytes }: { readonly bytes: number }): Buffer => {
    at += bytes
    return Buffer.from(body?.subarray(at - bytes, at) ?? [])
  }
  const calls = answer.calls.map((call): readonly [string, ...unknown[]] => {
    const [method, first, second, ...others] = call
    if (method === 'kong.service.request.set_raw_body') return [method, take(first as { bytes: number })]
    const { reservations } = (second ?? {}) as { readonly reservations?: { readonly bytes: number } }
    if (reservations === undefined) return call
    return [method, first, { ...(second as object), reservations: take(reservations).toString() }, ...others]
  })
  return { ...answer, calls }
}

function sized(type: number, bytes: Uint8Array): Buffer {
  const head = Buffer.from([type, 0, 0, 0, 0])
  head.writeUInt32BE(bytes.length, 1)
  return Buffer.concat([head, bytes])
}

function pick(from: Table, names: readonly string[]): Table {
  return Object.fromEntries(names.flatMap((name) => (from[name] === undefined ? [] : [[name, from[name]]])))
}

/** JSON as test/lua/support/json.lua writes it: in which order Kong's own writes members is nobody's concern. */
function luaJson(value: unknown): string {
  if (typeof value === 'string') return `"${value.replace(CONTROL, escaped)}"`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) return value.length === 0 ? '{}' : `[${value.map(luaJson).join(',')}]`
  const members = Object.entries(value).map(([key, member]) => `${luaJson(key)}:${luaJson(member)}`)
  return `{${members.sort().join(',')}}`
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is escaped.
const CONTROL = /[\u0000-\u001f\u007f"\\]/g

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}
