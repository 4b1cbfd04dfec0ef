import { describe, expect, test } from 'vitest'
import { REFUSAL_KEY } from '../../../../plugins/kong/ending.ts'
import { entryKey, type PluginEntry } from '../../../../plugins/kong/shared-context.ts'
import type { Caller, Exchange, Pass } from '../../../../policies/policy.ts'
import { createRequest } from '../../../support/kong-client/request.ts'
import { FACTS, PLUGIN, PLUGIN_ID, RESERVATION, type Stage, stage } from './harness.ts'

const entryOf = ({ request }: Stage) => request.shared.get(entryKey(PLUGIN)) as PluginEntry | undefined
const errorOf = ({ request }: Stage) => JSON.parse(request.reply?.body ?? '{}').error as { readonly code: string }
const readBody = async (exchange: Exchange): Promise<Pass> => {
  await exchange.body()
  return { type: 'pass' }
}
const fault = () => {
  throw new Error("sk-secret in somebody else's message")
}

describe('a request with facts of llm-edge', () => {
  test('takes one read and one write', async () => {
    const kong = stage({
      facts: FACTS,
      async decide(exchange) {
        await exchange.body()
        await exchange.caller()
        await exchange.header('content-type')
        await exchange.header('content-encoding')
        return { type: 'pass', request: { setHeaders: { 'accept-encoding': 'identity' } }, reservation: RESERVATION }
      },
    })
    await kong.access()
    expect(kong.calls).toEqual(['kong.ctx.shared.get', 'kong.ctx.shared.set'])
    expect(kong.unseen()).toBe(0)
    expect(kong.reserved).toEqual([RESERVATION])
  })

  test('shows the policy all of them, the body byte for byte', async () => {
    let seen: Exchange | undefined
    let body: Uint8Array | undefined
    let caller: Caller | undefined
    let headers: ReadonlyArray<string | undefined> = []
    const kong = stage({
      facts: { ...FACTS, headers: { ...FACTS.headers, 'x-team': 'red' }, extra_headers: ['x-team', 'x-none'] },
      async decide(exchange) {
        seen = exchange
        body = await exchange.body()
        caller = await exchange.caller()
        headers = await Promise.all(
          ['x-team', 'x-none', 'content-encoding', 'host'].map((name) => exchange.header(name)),
        )
        return { type: 'pass' }
      },
    })
    await kong.access()
    expect(seen).toMatchObject({
      requestId: 'req-1',
      method: 'POST',
      path: '/v1/chat/completions',
      route: { id: 'r', name: 'keyed', serviceId: 's', serviceName: 'llm' },
    })
    expect([...(body ?? [])]).toEqual([0xff, 0x00, 0xfe])
    expect(caller).toEqual({
      address: '192.0.2.7',
      consumer: { id: 'c1', username: 'alice', customId: 'a-1', tags: ['gold'], groups: ['red'] },
      credential: { id: 'k1', createdAt: 1_795_411_028, tags: ['llm:chat'], fingerprint: 'f00d' },
    })
    expect(headers).toEqual(['red', undefined, undefined, 'llm.example'])
    expect(kong.calls.filter((call) => call === 'kong.request.get_header')).toHaveLength(0)
  })

  test('asks Kong for a header that llm-edge did not look for', async () => {
    let value: string | undefined
    const kong = stage({
      facts: FACTS,
      request: createRequest({ headers: [['x-other', 'read from Kong']] }),
      async decide(exchange) {
        value = await exchange.header('x-other')
        return { type: 'pass' }
      },
    })
    await kong.access()
    expect(value).toBe('read from Kong')
  })

  test('reads a body above 64 KiB with its own call', async () => {
    const body = Buffer.alloc(100_000, 0xfe)
    const { body_base64: _, ...facts } = FACTS
    let seen: Uint8Array | undefined
    const kong = stage({
      facts: { ...facts, body_in: 'raw', body_size: body.length },
      request: createRequest({ body }),
      async decide(exchange) {
        seen = await exchange.body()
        return { type: 'pass' }
      },
    })
    await kong.access()
    expect(body.equals(seen ?? Buffer.of())).toBe(true)
    expect(kong.calls).toEqual(['kong.ctx.shared.get', 'kong.request.get_raw_body', 'kong.ctx.shared.set'])
  })

  test('without a body has none', async () => {
    let seen: unknown = 'unread'
    const { body_base64: _, body_size: __, ...facts } = FACTS
    const kong = stage({
      facts: { ...facts, body_in: 'none' },
      async decide(exchange) {
        seen = await exchange.body()
        return { type: 'pass' }
      },
    })
    await kong.access()
    expect(seen).toBeUndefined()
  })

  test('an anonymous consumer is no identity', async () => {
    let caller: Caller | undefined
    const { credential: _, ...facts } = FACTS
    const kong = stage({
      facts,
      async decide(exchange) {
        caller = await exchange.caller()
        return { type: 'pass' }
      },
    })
    await kong.access()
    expect(caller?.credential).toBeUndefined()
    expect(caller?.consumer?.id).toBe('c1')
  })
})

describe('a pass', () => {
  const pass: Pass = {
    type: 'pass',
    request: {
      body: Buffer.from([1, 0xff]),
      setHeaders: { 'accept-encoding': 'identity', 'x-new': '1' },
      removeHeaders: ['x-old'],
    },
    replyHeaders: { 'x-ratelimit-remaining-tokens': '7' },
    reservation: RESERVATION,
    tap: { protocol: 'openai-chat', stream: true, withholdUsage: true },
  }

  test('edits the request, then writes one entry with everything for Lua', async () => {
    const kong = stage({ facts: FACTS, decide: () => pass, request: createRequest({ headers: [['x-old', '1']] }) })
    await kong.access()
    expect([...kong.request.upstreamBody]).toEqual([1, 0xff])
    // Already so, as llm-edge's facts say: no round trip for it.
    expect(Object.fromEntries(kong.request.upstreamHeaders)).toEqual({ 'x-new': '1' })
    expect(kong.calls.slice(1)).toEqual([
      'kong.service.request.set_raw_body',
      'kong.service.request.clear_header',
      'kong.service.request.clear_header',
      'kong.service.request.set_headers',
      'kong.ctx.shared.set',
    ])
    expect(entryOf(kong)).toMatchObject({
      version: 1,
      mark: { plugin: PLUGIN, plugin_id: PLUGIN_ID },
      protocol: 'openai-chat',
    })
    expect(JSON.parse(String(entryOf(kong)?.reply_headers))).toEqual(['x-ratelimit-remaining-tokens', '7'])
    expect(JSON.parse(entryOf(kong)?.tap ?? '')).toMatchObject({
      protocol: 'openai-chat',
      stream: true,
      withhold_usage: true,
      usage_mark: '"usage"',
    })
    expect(JSON.parse(entryOf(kong)?.reservations ?? '')).toEqual([RESERVATION])
  })

  test('removes a header first, then sets it, although the client sent the same value', async () => {
    const kong = stage({
      facts: FACTS,
      decide: () => ({
        type: 'pass',
        request: { setHeaders: { 'accept-encoding': 'identity' }, removeHeaders: ['accept-encoding'] },
      }),
    })
    kong.request.upstreamHeaders.set('accept-encoding', 'identity')
    await kong.access()
    expect(Object.fromEntries(kong.request.upstreamHeaders)).toEqual({ 'accept-encoding': 'identity' })
  })

  test('removes a header in underscores too, and in a mix of both', async () => {
    const kong = stage({ facts: FACTS, decide: () => ({ type: 'pass', request: { removeHeaders: ['x-api-key'] } }) })
    for (const name of ['x-api-key', 'x_api_key', 'x_api-key', 'x-api_key', 'x-kept'])
      kong.request.upstreamHeaders.set(name, '1')
    await kong.access()
    expect([...kong.request.upstreamHeaders.keys()]).toEqual(['x-kept'])
  })

  test('leaves nothing empty in the entry', async () => {
    const kong = stage({ facts: FACTS })
    await kong.access()
    expect(entryOf(kong)).toEqual({ version: 1, mark: { plugin: PLUGIN, plugin_id: PLUGIN_ID } })
  })

  test('without llm-edge sets reply headers itself and asks for no tap', async () => {
    const request = createRequest({ method: 'POST', uri: '/v1/chat/completions', requestId: 'r' })
    const kong = stage({ request, decide: () => pass })
    await kong.access()
    expect(Object.fromEntries(kong.request.replyHeaders)).toEqual({ 'x-ratelimit-remaining-tokens': '7' })
    expect(entryOf(kong)).not.toHaveProperty('reply')
    expect(kong.unseen()).toBe(1)
  })
})

describe('without llm-edge', () => {
  const spec = {
    method: 'POST',
    uri: '/v1/chat/completions?key=secret',
    requestId: 'req-2',
    clientIp: '198.51.100.1',
    headers: [
      ['Content-Type', 'application/json'],
      ['X-Two', 'a'],
      ['X-Two', 'b'],
    ] as const,
    body: Buffer.from([0xff, 1]),
    consumer: { id: 'c1', username: 'alice', tags: ['gold'], created_at: 1 },
    credential: { id: 'k1', key: 'sk-raw', created_at: 5, tags: ['t'], consumer: { id: 'c1' } },
    route: { id: 'r', name: 'keyed', paths: ['/'] },
    service: { id: 's', name: 'llm', host: 'h' },
  }

  test('everything comes through PDK calls, and never the raw key', async () => {
    let seen: Exchange | undefined
    let caller: Caller | undefined
    let body: Uint8Array | undefined
    const kong = stage({
      request: createRequest(spec),
      async decide(exchange) {
        seen = exchange
        caller = await exchange.caller()
        body = await exchange.body()
        await exchange.header('content-type')
        await exchange.header('content-type')
        return { type: 'pass' }
      },
    })
    await kong.access()
    expect(seen).toMatchObject({
      requestId: 'req-2',
      path: '/v1/chat/completions',
      route: { id: 'r', name: 'keyed', serviceId: 's', serviceName: 'llm' },
    })
    expect(caller).toEqual({
      address: '198.51.100.1',
      consumer: { id: 'c1', username: 'alice', tags: ['gold'], groups: [] },
      credential: { id: 'k1', createdAt: 5, tags: ['t'] },
    })
    expect([...(body ?? [])]).toEqual([0xff, 1])
    expect(kong.calls.filter((call) => call === 'kong.request.get_header')).toHaveLength(2)
    expect(kong.calls).not.toContain('kong.request.get_headers')
    expect(kong.calls).not.toContain('kong.request.get_query')
    expect(JSON.stringify([...kong.request.shared])).not.toContain('sk-raw')
  })

  test('a declared length over the cap is 413 without reading', async () => {
    const kong = stage({
      request: createRequest({ ...spec, headers: [['content-length', '2000000']] }),
      decide: readBody,
      maxBodyBytes: 1_000,
    })
    await kong.access()
    expect([kong.request.reply?.status, errorOf(kong).code]).toEqual([413, 'request_too_large'])
    expect(kong.calls).not.toContain('kong.request.get_raw_body')
  })
})

describe('a refusal', () => {
  test('is the reply of the API that was called, and nothing else is written', async () => {
    const kong = stage({
      facts: { ...FACTS, path: '/v1/messages' },
      decide: () => ({
        type: 'reject',
        status: 429,
        code: 'rate_limit_exceeded',
        message: 'Wait.',
        headers: { 'retry-after': '3' },
      }),
    })
    await kong.access()
    expect(kong.request.reply?.status).toBe(429)
    expect(kong.request.reply?.headers).toMatchObject({
      'retry-after': '3',
      'content-type': 'application/json',
      'cache-control': 'no-store',
      'x-request-id': 'req-1',
      'request-id': 'req-1',
    })
    expect(JSON.parse(kong.request.reply?.body ?? '')).toMatchObject({
      type: 'error',
      error: { type: 'rate_limit_error' },
    })
    expect(kong.calls).toEqual(['kong.ctx.shared.get', 'kong.ctx.shared.set', 'kong.response.exit'])
    expect(entryOf(kong)).toBeUndefined()
    expect(kong.request.shared.get(REFUSAL_KEY)).toEqual({
      version: 1,
      plugin: PLUGIN,
      policy: 'fake',
      code: 'rate_limit_exceeded',
    })
  })

  test('for headers that Kong cut off is 431, before any policy', async () => {
    const kong = stage({ facts: { ...FACTS, headers_truncated: true }, decide: fault })
    await kong.access()
    expect([kong.request.reply?.status, errorOf(kong).code]).toEqual([431, 'headers_too_large'])
  })

  test('for a body over the policy cap is 413, even when llm-edge packed it', async () => {
    const kong = stage({
      facts: FACTS,
      maxBodyBytes: 2,
      decide: readBody,
    })
    await kong.access()
    expect([kong.request.reply?.status, errorOf(kong).code]).toEqual([413, 'request_too_large'])
  })

  test('of a path that two readers understand differently still has a shape', async () => {
    const kong = stage({
      facts: { ...FACTS, path: '/v1/chat%2Fcompletions' },
      decide: () => ({ type: 'reject', status: 400, code: 'invalid_request', message: 'No.' }),
    })
    await kong.access()
    expect([kong.request.reply?.status, errorOf(kong).code]).toEqual([400, 'invalid_request'])
  })
})

describe('the door stays shut', () => {
  const unavailable = (kong: Stage) => {
    expect([kong.request.reply?.status, errorOf(kong).code]).toEqual([503, 'policy_unavailable'])
    expect(entryOf(kong)).toBeUndefined()
    expect(kong.logged()).not.toContain('sk-secret')
  }

  test('when a policy throws', async () => {
    const kong = stage({ facts: FACTS, decide: fault })
    await kong.access()
    unavailable(kong)
    // Where Kong's operators look.
    expect(kong.calls).toContain('kong.log.err')
  })

  test.each([
    ['is text', 'not a table'],
    ['is of another version', { ...FACTS, version: 2 }],
    ['has no method', { ...FACTS, method: undefined }],
    ['has an empty path', { ...FACTS, path: '' }],
    ['has a number for an address', { ...FACTS, address: 7 }],
    ['has a header that is no text', { ...FACTS, headers: { 'content-type': ['a'] } }],
    ['has a consumer without an id', { ...FACTS, consumer: { username: 'alice' } }],
    ['has tags that are no list', { ...FACTS, credential: { id: 'k', tags: 'gold' } }],
    ['does not say where the body is', { ...FACTS, body_in: 'somewhere' }],
    ['has no size', { ...FACTS, body_size: undefined }],
    ['has lost the body', { ...FACTS, body_base64: undefined }],
  ])('when the facts table %s', async (_name, facts) => {
    const kong = stage({ facts: facts as never })
    await kong.access()
    unavailable(kong)
  })

  test('when the body is not as long as llm-edge said', async () => {
    const kong = stage({
      facts: { ...FACTS, body_size: 4 },
      decide: readBody,
    })
    await kong.access()
    unavailable(kong)
  })

  test('when Kong does not say what the request is', async () => {
    const kong = stage({ request: createRequest({ method: 'POST' }) })
    await kong.access()
    unavailable(kong)
  })

  test('when a PDK call fails while deciding', async () => {
    const kong = stage({
      intercept: (method) => (method === 'kong.ctx.shared.get' ? Promise.reject(fault) : undefined),
    })
    await kong.access()
    unavailable(kong)
  })

  test('when an edit fails: what was reserved is given back', async () => {
    const kong = stage({
      facts: FACTS,
      decide: () => ({ type: 'pass', request: { body: Buffer.of(1) }, reservation: RESERVATION }),
      intercept: (method) => (method.endsWith('set_raw_body') ? Promise.reject(new Error('over')) : undefined),
    })
    await kong.access()
    await Promise.all(kong.background)
    unavailable(kong)
    expect(kong.settled).toEqual([{ reservation: RESERVATION, outcome: { ended: 'not_forwarded' } }])
    expect(kong.reserved).toEqual([])
  })

  test('when the entry may or may not have arrived: then nothing is given back', async () => {
    const kong = stage({
      facts: FACTS,
      decide: () => ({ type: 'pass', reservation: RESERVATION }),
      intercept: (method) => (method === 'kong.ctx.shared.set' ? Promise.reject(new Error('over')) : undefined),
    })
    await kong.access()
    await Promise.all(kong.background)
    unavailable(kong)
    expect(kong.settled).toEqual([])
  })

  test('when the deadline passes: what comes late is given back', async () => {
    let finish: (decision: Pass) => void = () => undefined
    const kong = stage({
      facts: FACTS,
      deadlineMs: 20,
      decide: () =>
        new Promise<Pass>((resolve) => {
          finish = resolve
        }),
    })
    await kong.access()
    unavailable(kong)
    expect(kong.calls).toEqual(['kong.ctx.shared.get', 'kong.log.err', 'kong.ctx.shared.set', 'kong.response.exit'])
    finish({ type: 'pass', reservation: RESERVATION, request: { body: Buffer.of(1) } })
    await Promise.all(kong.background)
    expect(kong.settled).toEqual([{ reservation: RESERVATION, outcome: { ended: 'not_forwarded' } }])
    expect(kong.calls).toHaveLength(4)
  })

  test('when the deadline passes no late read goes to Kong', async () => {
    let late: unknown
    const kong = stage({
      facts: FACTS,
      deadlineMs: 20,
      async decide(exchange) {
        await new Promise((resolve) => setTimeout(resolve, 60))
        late = await Promise.resolve(exchange.header('x-other')).catch((error: { readonly code: string }) => error.code)
        return { type: 'pass' }
      },
    })
    await kong.access()
    await Promise.all(kong.background)
    expect(late).toBe('turn_over')
    unavailable(kong)
  })
})

test("a slow upload is not the adapter's delay", async () => {
  const { body_base64: _, ...facts } = FACTS
  const kong = stage({
    facts: { ...facts, body_in: 'raw', body_size: 2 },
    deadlineMs: 40,
    decide: readBody,
    intercept: (method) =>
      method === 'kong.request.get_raw_body'
        ? new Promise((resolve) => setTimeout(resolve, 120, Buffer.of(1, 2)))
        : undefined,
  })
  await kong.access()
  expect(kong.request.reply).toBeUndefined()
  expect(entryOf(kong)).toBeDefined()
})
