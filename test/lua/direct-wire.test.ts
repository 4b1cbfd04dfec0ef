/** What the real Lua puts on the wire, read by the real server, and sent alike by the stand-in for Kong's worker. */

import { describe, expect, test } from 'vitest'
import { readDirectRequest } from '../../plugins/kong/server/direct-event.ts'
import { FrameReader } from '../../plugins/kong/server/frame-reader.ts'
import { decode } from '../../plugins/kong/server/msgpack-decode.ts'
import { encodeText } from '../../plugins/kong/server/msgpack-encode.ts'
import { FACTS_KEY, readFacts } from '../../plugins/kong/shared-context.ts'
import { accessMessage, readReply, stepMessage, withHead } from '../support/kong-client/direct-message.ts'
import { luajitMissing, runLua } from './support/luajit.ts'

const FACTS = {
  version: 1,
  request_id: '0123456789abcdef0123456789abcdef',
  method: 'POST',
  path: '/v1/chat/completions',
  query: 'a&b=c',
  host: 'llm.example',
  address: '192.0.2.7',
  headers: { 'content-type': 'application/json', 'x-odd': 'tab\t quote" back\\slash ünï \u007f / </script>' },
  extra_headers: ['x-odd'],
  header_count: 7,
  consumer: { id: 'c-1', username: 'ada', tags: ['gold', 'ünï'] },
  groups: ['ops'],
  credential: { id: 'k-1', created_at: 1_700_000_000, fingerprint: 'f00d' },
  route: { id: 'r-1', name: 'chat' },
  service: { id: 's-1' },
  body_in: 'base64',
  body_size: 7,
}
const BARE = {
  version: 1,
  request_id: 'r',
  method: 'GET',
  path: '/',
  address: '::1',
  headers: { a: 'b' },
  header_count: 0,
}
/** Beyond four bytes, as instances and events have them. */
const INSTANCE = 4_503_599_627_370_497
const EVENT = 9_007_199_254_740_990
const LARGE = Buffer.alloc(65_536, 'x')

interface Case {
  readonly facts: object
  readonly body?: Buffer
  readonly earlier?: Readonly<Record<string, object>>
  readonly asks?: Readonly<Record<string, unknown>>
  /** Ids that the request's messages get, for they go on from case to case. */
  readonly answers?: readonly Buffer[]
}

interface Driven {
  readonly sent: readonly Buffer[]
  readonly shared: Readonly<Record<string, unknown>>
  readonly exit?: number
  readonly body?: string
  readonly headers?: Readonly<Record<string, string>>
}

function drive(one: Case): Driven {
  const line = {
    facts: one.facts,
    body: one.body?.toString('hex'),
    earlier: one.earlier ?? {},
    asks: one.asks ?? {},
    instance: INSTANCE,
    answers: (one.answers ?? []).map((answer) => answer.toString('hex')),
  }
  const { status, output } = runLua(['support/drive-direct.lua'], `${JSON.stringify(line)}\n`)
  expect(status, output).toBe(0)
  const driven = JSON.parse(output) as Driven & { readonly sent: readonly string[] }
  return { ...driven, sent: [...driven.sent].map((hex) => Buffer.from(hex, 'hex')) }
}

/** As the listener reads it. */
function read(bytes: Buffer) {
  const reader = new FrameReader(1_000_000)
  const frames = reader.push(bytes)
  expect([frames.length, reader.partial]).toEqual([1, false])
  return decode(frames[0] ?? bytes) as readonly [number, number, string, readonly unknown[]]
}

const CASES: Readonly<Record<string, Case>> = {
  'all facts, a body and what was found before': {
    facts: FACTS,
    body: Buffer.from([0x7b, 0xff, 0x00, 0xc1, 0x0a, 0x22, 0x7d]),
    earlier: {
      portcullis_llm_api_key: {
        identity: '{"id":"ada \\"x\\""}',
        mark: { plugin: 'llm-api-key' },
        reservations: '[1]',
      },
      portcullis_llm_scope: { claims: '{"sub":"s"}', identity: '{}' },
      portcullis_llm_gateway: { mark: { plugin: 'llm-gateway' } },
    },
  },
  'few facts and no body': { facts: { ...BARE, body_in: 'none' } },
  'the largest body that is packed': { facts: { ...BARE, body_in: 'base64', body_size: 65_536 }, body: LARGE },
}

describe.skipIf(luajitMissing)('an access event of llm-edge', () => {
  test.each(Object.entries(CASES))('with %s', (_, one) => {
    const { sent } = drive(one)
    expect(sent).toHaveLength(1)
    const bytes = sent[0] ?? Buffer.of()

    const [type, id, method, args] = read(bytes)
    expect([type, id, method, args.length]).toEqual([0, 1, 'portcullis.Access', 1])
    const { instanceId, shared } = readDirectRequest(args[0])
    expect(instanceId).toBe(INSTANCE)
    expect(shared[FACTS_KEY]).toEqual({ ...one.facts, ...(one.body === undefined ? {} : { body: one.body }) })
    expect(readFacts(shared[FACTS_KEY])).toBeDefined()
    const { [FACTS_KEY]: _facts, ...earlier } = shared
    const told = Object.entries(one.earlier ?? {}).flatMap(([key, entry]) => {
      const { claims, identity } = entry as { readonly claims?: string; readonly identity?: string }
      if (claims === undefined && identity === undefined) return []
      return [[key, { ...(claims === undefined ? {} : { claims }), ...(identity === undefined ? {} : { identity }) }]]
    })
    expect(earlier).toEqual(Object.fromEntries(told))

    const standIn = new Map<string, unknown>([[FACTS_KEY, one.facts], ...Object.entries(one.earlier ?? {})])
    expect(withHead(1, accessMessage(INSTANCE, standIn, one.body)).toString('hex')).toBe(bytes.toString('hex'))
  })
})

describe.skipIf(luajitMissing)('a step of llm-edge', () => {
  const ask = (id: number, name: string) =>
    encodeText(id, JSON.stringify({ event: EVENT, calls: [[`kong.request.${name}`, 1_000_000]] }), undefined)

  test('carries what Kong answers, as Kong itself would send it', () => {
    const { sent } = drive({
      facts: { ...BARE, body_in: 'raw', body_size: 70_000 },
      asks: { 'kong.request.get_raw_body': 'x'.repeat(70_000), 'kong.request.get_method': 'POST' },
      answers: [ask(1, 'get_raw_body'), ask(2, 'get_method'), ask(3, 'get_header')],
    })
    expect(sent.slice(1).map(read)).toEqual([
      [0, 2, 'plugin.Step', [{ EventId: EVENT, Data: Buffer.alloc(70_000, 'x') }]],
      [0, 3, 'plugin.Step', [{ EventId: EVENT, Data: 'POST' }]],
      [0, 4, 'plugin.Step', [{ EventId: EVENT }]],
    ])
    const standIn = [Buffer.alloc(70_000, 'x'), 'POST', undefined].map((data, at) =>
      withHead(at + 2, stepMessage(EVENT, data)).toString('hex'),
    )
    expect(sent.slice(1).map((bytes) => bytes.toString('hex'))).toEqual(standIn)
  })
})

describe.skipIf(luajitMissing)('an answer of the server', () => {
  const entry = { version: 1, mark: { plugin: 'llm-token-limit', plugin_id: 'ünï' }, reply_headers: [['a', '"']] }
  const facts = { ...BARE, body_in: 'none' }

  test('is done by the real Lua, new bytes of a body included', () => {
    const text = JSON.stringify({
      calls: [
        ['kong.service.request.set_raw_body'],
        ['kong.service.request.set_headers', { 'x-new': 'ünï' }],
        ['kong.ctx.shared.set', 'portcullis_llm_token_limit', entry],
      ],
    })
    const body = Buffer.from([0, 255, 0xc1, 10, 13])
    const answer = encodeText(1, ` \t${text}\n`, body)
    const driven = drive({ facts, answers: [answer] })
    expect(driven.shared).toEqual({ portcullis_llm_token_limit: entry })
    expect(driven.headers).toEqual({ 'x-new': 'ünï' })
    expect(driven.body).toBe(body.toString('hex'))
    expect(driven.exit).toBeUndefined()
    expect(readReply(answer)).toEqual({ reply: { id: 1, text: ` \t${text}\n`, body }, rest: Buffer.of() })
    expect(readReply(answer.subarray(0, -1))).toBeUndefined()
  })

  test('to another id is not done', () => {
    const text = JSON.stringify({ calls: [['kong.ctx.shared.set', 'portcullis_llm_token_limit', entry]] })
    expect(drive({ facts, answers: [encodeText(2, text, undefined)] }).shared).toEqual({})
  })

  test('that refuses ends the request', () => {
    const text = JSON.stringify({
      calls: [
        ['kong.response.exit', 429, '{}', {}],
        ['kong.ctx.shared.set', 'a', 1],
      ],
    })
    const driven = drive({ facts, answers: [encodeText(1, text, undefined)] })
    expect([driven.exit, driven.shared]).toEqual([429, {}])
  })
})
