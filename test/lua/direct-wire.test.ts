/** What the real Lua puts on the wire, read by the real server, and sent alike by the stand-in for Kong's worker. */

import { describe, expect, test } from 'vitest'
import { createRecentFacts, readDirectRequest } from '../../plugins/kong/server/direct-event.ts'
import { FrameReader } from '../../plugins/kong/server/frame-reader.ts'
import { decode } from '../../plugins/kong/server/msgpack-decode.ts'
import { FACTS_KEY, readFacts } from '../../plugins/kong/shared-context.ts'
import { type Handler, rawConnection, sharedConnection, startTestServer } from '../plugins/kong/server/harness.ts'
import { accessMessage, stepMessage, withHead } from '../support/kong-client/direct-message.ts'
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
/** Beyond four bytes, as instances have them. */
const INSTANCE = 4_503_599_627_370_497
const LARGE = Buffer.alloc(65_536, 'x')

interface Case {
  readonly facts: object
  readonly body?: Buffer
  readonly earlier?: Readonly<Record<string, object>>
  readonly asks?: Readonly<Record<string, unknown>>
  /** The server heard of the request before. */
  readonly told?: boolean
  /** Bytes from the server, in turn. */
  readonly answers?: readonly Buffer[]
}

interface Driven {
  readonly sent: readonly Buffer[]
  readonly shared: Readonly<Record<string, unknown>>
  readonly exit?: number
  readonly body?: string
  readonly headers?: Readonly<Record<string, string>>
}

function drive(one: Case, instance = INSTANCE): Driven {
  const line = {
    facts: one.facts,
    body: one.body?.toString('hex'),
    earlier: one.earlier ?? {},
    asks: one.asks ?? {},
    told: one.told ?? false,
    instance,
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
    const { instanceId, shared } = readDirectRequest(args[0], createRecentFacts())
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

  test('of a request that the server was told before, with its id alone', () => {
    const one: Case = { facts: FACTS, body: LARGE, earlier: { portcullis_llm_scope: { claims: '{}' } }, told: true }
    const bytes = drive(one).sent[0] ?? Buffer.of()
    const [, , , args] = read(bytes)
    const recent = createRecentFacts()
    expect(() => readDirectRequest(args[0], recent)).toThrow('facts that are not here')
    recent.keep(FACTS, 0)
    expect(readDirectRequest(args[0], recent)).toEqual({
      instanceId: INSTANCE,
      shared: { [FACTS_KEY]: FACTS, portcullis_llm_scope: { claims: '{}' } },
      taps: '',
    })
    const standIn = new Map<string, unknown>([[FACTS_KEY, FACTS], ...Object.entries(one.earlier ?? {})])
    expect(withHead(1, accessMessage(INSTANCE, standIn, 'same')).toString('hex')).toBe(bytes.toString('hex'))
  })
})

/** The whole of a request between the real Lua and a real server: each message of the one is what the other answers to. */
async function together(one: Omit<Case, 'answers'>, access: Handler) {
  const server = await startTestServer({ access })
  try {
    const starting = await rawConnection(server.socket)
    const [, , , status] = await starting.request(1, 'plugin.StartInstance', { Name: 'probe', Config: '{}' })
    const { Id: instance } = status as { readonly Id: number }
    const { socket } = starting
    const connection = await sharedConnection(server.socket)
    socket.destroy()
    const answers: Buffer[] = []
    for (;;) {
      // Lua begins anew each time, and gets as far as the answers go.
      const driven = drive({ ...one, answers }, instance)
      const last = driven.sent[answers.length]
      if (last === undefined) return { ...driven, violations: server.violations }
      const came = connection.received().length
      connection.send(last)
      await connection.reply(answers.length + 1)
      answers.push(connection.received().subarray(came))
    }
  } finally {
    server.close()
  }
}

describe.skipIf(luajitMissing)('an access phase between the real Lua and the real server', () => {
  const facts = { ...BARE, body_in: 'none' }
  const ENTRY = {
    version: 1,
    mark: { plugin: 'llm-token-limit', plugin_id: 'ünï' },
    reply_headers: ['a', '"'],
    reservations: '  [{"id":"ünï"}]\n',
    batch: true,
  }

  test('is done as the plugin wants it, new bytes of a body included', async () => {
    const body = Buffer.from([0, 255, 0xc1, 10, 13])
    const driven = await together({ facts }, async (kong) => {
      await kong.service.request.setRawBody(body)
      await kong.service.request.setHeaders({ 'x-new': 'ünï' })
      await kong.ctx.shared.set('portcullis_llm_token_limit', ENTRY)
      await kong.ctx.shared.set('portcullis_llm_scope', { reservations: '[2]' })
    })
    expect(driven).toMatchObject({ headers: { 'x-new': 'ünï' }, body: body.toString('hex'), violations: [] })
    expect(driven.shared).toEqual({ portcullis_llm_token_limit: ENTRY, portcullis_llm_scope: { reservations: '[2]' } })
    expect(driven.exit).toBeUndefined()
  })

  test('goes on in steps, as Kong itself would send them, and the stand-in as well', async () => {
    const seen: unknown[] = []
    const asks = { 'kong.request.get_raw_body': 'x'.repeat(70_000), 'kong.request.get_method': 'POST' }
    const one = { facts: { ...BARE, body_in: 'raw', body_size: 70_000 }, asks }
    const driven = await together(one, async (kong) => {
      seen.length = 0
      seen.push(
        await kong.request.getRawBody(80_000),
        await kong.request.getMethod(),
        await kong.request.getHeader('a'),
      )
      await kong.ctx.shared.set('portcullis_llm_token_limit', ENTRY)
    })
    expect(seen).toEqual([Buffer.alloc(70_000, 'x'), 'POST', undefined])
    expect(driven.shared).toEqual({ portcullis_llm_token_limit: ENTRY })
    const steps = driven.sent.slice(1)
    const [{ EventId: event }] = read(steps[0] ?? Buffer.of())[3] as [{ readonly EventId: number }]
    const standIn = [Buffer.alloc(70_000, 'x'), 'POST', undefined].map((data, at) =>
      withHead(at + 2, stepMessage(event, data)).toString('hex'),
    )
    expect(steps.map((bytes) => bytes.toString('hex'))).toEqual(standIn)
  })

  test('ends with a refusal, and with nothing behind it', async () => {
    const driven = await together({ facts }, async (kong) => {
      await kong.response.exit(429, '{}', {})
      await kong.ctx.shared.set('portcullis_llm_token_limit', ENTRY).catch(() => undefined)
    })
    expect([driven.exit, driven.shared]).toEqual([429, {}])
  })
})
