/** `portcullis.Access`: what may come, and everything that may go wrong with it, on a connection that many requests share. */

import { Socket } from 'node:net'
import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import type { KongPdk } from '../../../../plugins/kong/adapter/pdk.ts'
import { createRecentFacts, readDirectRequest } from '../../../../plugins/kong/server/direct-event.ts'
import { RpcError } from '../../../../plugins/kong/server/instances.ts'
import { REFUSAL } from '../../../../plugins/kong/server/server.ts'
import { FACTS_KEY } from '../../../../plugins/kong/shared-context.ts'
import {
  accessMessage,
  type DirectAnswer,
  readAnswer,
  stepMessage,
  withHead,
} from '../../../support/kong-client/direct-message.ts'
import { createRequest } from '../../../support/kong-client/request.ts'
import {
  accessFrame,
  frame,
  PLUGIN,
  rawConnection,
  type SharedConnection,
  sharedConnection,
  startTestServer,
  type TestServer,
  type TestServerOptions,
  until,
} from './harness.ts'

let running: TestServer | undefined
afterEach(() => {
  running?.close()
  running = undefined
  vi.restoreAllMocks()
})

interface Stage extends TestServer {
  readonly instance: number
  readonly shared: SharedConnection
}

async function start(options: TestServerOptions): Promise<Stage> {
  const server = await startTestServer(options)
  running = server
  const connection = await rawConnection(server.socket)
  const [, , , status] = await connection.request(1, 'plugin.StartInstance', { Name: 'probe', Config: '{}' })
  connection.socket.destroy()
  await connection.closed
  const { Id: instance } = status as { readonly Id: number }
  return { ...server, instance, shared: await sharedConnection(server.socket) }
}

async function answerTo(connection: SharedConnection, id: number): Promise<DirectAnswer> {
  return readAnswer(await connection.reply(id))
}

const REFUSED: DirectAnswer = {
  calls: [[REFUSAL === 'ret' ? '' : REFUSAL.Method, ...(REFUSAL === 'ret' ? [] : REFUSAL.Args)]],
}

/** A plugin whose requests wait, by the id in their facts, until they are told to go on. */
function gates() {
  const open = new Map<string, () => void>()
  const failures: string[] = []
  return {
    open,
    failures,
    async access(kong: KongPdk) {
      const { request_id: id } = (await kong.ctx.shared.get(FACTS_KEY)) as { readonly request_id: string }
      await new Promise<void>((resolve) => open.set(id, resolve))
      await kong.ctx.shared.set('id', id).catch((error: { readonly code: string }) => failures.push(error.code))
    },
  }
}

describe('an access event', () => {
  const read = (text: string, body: Buffer | null = null, id: unknown = '5') =>
    readDirectRequest([id, text, body], createRecentFacts())
  const GOOD = '{"facts":[{"a":1},{"b":2}],"earlier":{"entry":{"claims":"{}"}},"taps":""}'

  test('is put together from its parts', () => {
    const body = Buffer.of(0xff)
    expect(read(GOOD)).toMatchObject({
      instanceId: 5,
      shared: { [FACTS_KEY]: { a: 1, b: 2 }, entry: { claims: '{}' } },
    })
    expect(read(GOOD, body).shared[FACTS_KEY]).toEqual({ a: 1, b: 2, body })
  })

  test.each([
    ['nothing', undefined],
    ['a map', { 0: '5', 1: GOOD, 2: null }],
    ['too few parts', ['5', GOOD]],
    ['too many', ['5', GOOD, null, null]],
    ['an instance that is a number', [5, GOOD, null]],
    ['an instance without a number', ['five', GOOD, null]],
    ['an instance beyond any number', ['9007199254740993', GOOD, null]],
    ['an instance with a fraction', ['5.5', GOOD, null]],
    ['bytes in place of the text', ['5', Buffer.from(GOOD), null]],
    ['a body that is a text', ['5', GOOD, 'x']],
    ['a body that is missing', ['5', GOOD, undefined]],
    ['no JSON', ['5', '{', null]],
    ['JSON and more', ['5', `${GOOD}x`, null]],
    ['a list', ['5', '[]', null]],
    ['nothing in JSON', ['5', 'null', null]],
    ['no facts', ['5', '{"earlier":{},"taps":""}', null]],
    ['facts that are no list', ['5', '{"facts":{},"earlier":{},"taps":""}', null]],
    ['nothing of earlier plugins', ['5', '{"facts":[],"taps":""}', null]],
    ['a list of earlier plugins', ['5', '{"facts":[],"earlier":[],"taps":""}', null]],
    ['no taps', ['5', '{"facts":[],"earlier":{}}', null]],
    ['taps that are no text', ['5', '{"facts":[],"earlier":{},"taps":[""]}', null]],
  ])('that is %s is none', (_, argument) => {
    expect(() => readDirectRequest(argument, createRecentFacts())).toThrow(RpcError)
  })

  test('of a request that was told before has the same facts, as long as they are known', () => {
    const recent = createRecentFacts()
    const told = (id: string, body: Buffer | null = null) =>
      readDirectRequest(['5', `{"facts":[{"request_id":"${id}"}],"earlier":{},"taps":""}`, body], recent)
    const same = (id: string) => readDirectRequest(['6', `{"same":${id},"earlier":{"e":1},"taps":"t"}`, null], recent)
    told('first')
    // Nobody had asked for any, so that none was kept.
    expect(() => same('"first"')).toThrow(RpcError)
    const { shared } = told('second', Buffer.of(1))
    expect(same('"second"')).toEqual({ instanceId: 6, shared: { ...shared, e: 1 }, taps: 't' })
    expect(same('"second"').shared[FACTS_KEY]).toBe(shared[FACTS_KEY])
    for (const id of ['"none"', '"__proto__"', '5', 'null', '{}']) expect(() => same(id)).toThrow(RpcError)
  })

  test('of two requests with one id does not take the one for the other', () => {
    const recent = createRecentFacts()
    expect(() => recent.find('none')).toThrow(RpcError)
    for (let request = 0; request < 3; request += 1) recent.keep({ request_id: 'r', request }, 1)
    expect(() => recent.find('r')).toThrow(RpcError)
  })

  test('keeps few facts, and few bytes of bodies', () => {
    const recent = createRecentFacts()
    expect(() => recent.find('none')).toThrow(RpcError)
    for (let id = 0; id < 600; id += 1) recent.keep({ request_id: `few-${id}` }, 1)
    expect(() => recent.find('few-87')).toThrow(RpcError)
    expect(recent.find('few-88')).toEqual({ request_id: 'few-88' })
    for (let id = 0; id < 3; id += 1) recent.keep({ request_id: `large-${id}` }, 4 * 1_048_576)
    expect(() => recent.find('large-0')).toThrow(RpcError)
    expect(() => recent.find('few-599')).toThrow(RpcError)
    expect(recent.find('large-1')).toEqual({ request_id: 'large-1' })
    recent.keep({ request_id: 'large-2' }, 1)
    recent.keep({ request_id: 'small' }, 1)
    expect(recent.find('large-1')).toEqual({ request_id: 'large-1' })
    for (let id = 0; id < 10_000; id += 1) recent.keep({ request_id: `then-${id}` }, 1)
    recent.keep({ request_id: 'beyond' }, 1)
    expect(() => recent.find('beyond')).toThrow(RpcError)
  })

  test('changes nothing but its own objects, whatever its members are called', () => {
    const evil = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}'
    const { shared } = read(`{"facts":[${evil},["x"],"text",5,null],"earlier":${evil},"taps":""}`)
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
    expect(Object.getPrototypeOf(shared)).toBe(Object.prototype)
    expect(Object.keys(shared).sort()).toEqual(['__proto__', 'constructor', FACTS_KEY].sort())
  })

  test('of any JSON at all is read, or is none', () => {
    fc.assert(
      fc.property(fc.json(), fc.json(), (facts, earlier) => {
        try {
          const { shared } = read(`{"facts":${facts},"earlier":${earlier},"taps":""}`)
          expect(typeof shared[FACTS_KEY]).toBe('object')
        } catch (error) {
          expect(error).toBeInstanceOf(RpcError)
        }
      }),
    )
  })

  test.each([
    ['no JSON', ['%', '{', null]],
    ['an instance that nobody started', ['77', GOOD, null]],
    ['no instance', ['x', GOOD, null]],
  ])('with %s is answered with an error, and the connection goes on', async (_, argument) => {
    const { shared, instance, violations, server } = await start({})
    shared.send(frame(1, 'portcullis.Access', argument))
    expect(await answerTo(shared, 1)).toEqual({ error: expect.any(String), calls: [] })
    shared.send(accessFrame(2, instance))
    expect(await answerTo(shared, 2)).toEqual({ calls: [] })
    expect([violations, server.openEvents]).toEqual([[], 0])
  })
})

describe('an answer', () => {
  test('has everything that the plugin wants done, after one message', async () => {
    const body = Buffer.from([0, 0xff, 0xc1])
    const seen: unknown[] = []
    const { shared, instance, ended } = await start({
      async access(kong) {
        seen.push(await kong.ctx.shared.get(FACTS_KEY), await kong.ctx.shared.get('constructor'))
        await kong.service.request.setRawBody(body)
        await kong.service.request.setHeaders({ a: 'ü' })
        await kong.service.request.clearHeader('b')
        await kong.log.err('odd')
        await kong.ctx.shared.set('entry', { version: 1 })
      },
    })
    const facts = { request_id: 'r-1', body_in: 'base64' }
    const sent = Buffer.from('{}')
    shared.send(withHead(7, accessMessage(instance, new Map([[FACTS_KEY, facts]]), sent)))
    expect(await answerTo(shared, 7)).toEqual({
      calls: [
        ['kong.service.request.set_raw_body', body],
        ['kong.service.request.set_headers', { a: 'ü' }],
        ['kong.service.request.clear_header', 'b'],
        ['kong.log.err', 'odd'],
        ['kong.ctx.shared.set', 'entry', { version: 1 }],
      ],
    })
    expect(seen).toEqual([{ ...facts, body: sent }, undefined])
    expect(ended).toEqual([{ how: 'returned', roundTrips: 1 }])
  })

  test('ends with a refusal, and what the plugin does then goes nowhere', async () => {
    let after: unknown
    const { shared, instance, server } = await start({
      async access(kong) {
        await kong.ctx.shared.set('note', 1)
        await kong.response.exit(429, '{}', { 'retry-after': '1' })
        after = await kong.ctx.shared.set('entry', {}).catch((error: { readonly code: string }) => error.code)
      },
    })
    shared.send(accessFrame(1, instance))
    expect(await answerTo(shared, 1)).toEqual({
      calls: [
        ['kong.ctx.shared.set', 'note', 1],
        ['kong.response.exit', 429, '{}', { 'retry-after': '1' }],
      ],
    })
    await until(() => after !== undefined)
    expect([after, server.openEvents]).toEqual(['event_over', 0])
  })

  test('is a refusal when the plugin throws, or wants what cannot be sent', async () => {
    const { shared, instance, logged } = await start({
      async access(kong) {
        const { request_id: id } = (await kong.ctx.shared.get(FACTS_KEY)) as { readonly request_id: string }
        if (id === 'throws') throw new Error('sk-canary')
        await kong.ctx.shared.set('entry', { big: 1n })
      },
    })
    shared.send(Buffer.concat(['throws', 'big'].map((id, at) => accessFrame(at + 1, instance, { request_id: id }))))
    expect(await answerTo(shared, 1)).toEqual(REFUSED)
    expect(await answerTo(shared, 2)).toEqual(REFUSED)
    expect(logged()).toContain('plugin fault')
    expect(logged()).not.toContain('sk-canary')
  })

  test('asks for what did not come with the event, and takes the step from any connection', async () => {
    const bodies: unknown[] = []
    const { shared, instance, server, socket, ended } = await start({
      async access(kong) {
        await kong.ctx.shared.set('before', 1)
        bodies.push(await kong.request.getRawBody(100).catch((error: Error) => error.name))
        await kong.ctx.shared.set('after', 2)
      },
    })
    const another = await sharedConnection(socket)
    for (const [turn, message] of [
      (event: number) => stepMessage(event, Buffer.from('bytes')),
      (event: number) => stepMessage(event, undefined, 'too large'),
    ].entries()) {
      shared.send(accessFrame(turn * 2 + 1, instance))
      const asked = await answerTo(shared, turn * 2 + 1)
      expect(asked.calls).toEqual([
        ['kong.ctx.shared.set', 'before', 1],
        ['kong.request.get_raw_body', 100],
      ])
      const over = turn === 0 ? shared : another
      over.send(withHead(turn * 2 + 2, message(asked.event ?? -1)))
      expect(await answerTo(over, turn * 2 + 2)).toEqual({ calls: [['kong.ctx.shared.set', 'after', 2]] })
    }
    expect(bodies).toEqual([Buffer.from('bytes'), 'PDKError'])
    expect(ended).toEqual([
      { how: 'returned', roundTrips: 2 },
      { how: 'returned', roundTrips: 2 },
    ])
    expect(server.openEvents).toBe(0)
  })

  test('comes in time, whatever the plugin waits for, and others are not held up', async () => {
    const { access, open } = gates()
    const { shared, instance, server, ended } = await start({ access, answerMs: 1_000 })
    shared.send(accessFrame(1, instance, { request_id: 'slow' }))
    await until(() => open.has('slow'))
    shared.send(accessFrame(2, instance, { request_id: 'quick' }))
    await until(() => open.has('quick'))
    open.get('quick')?.()
    expect(await answerTo(shared, 2)).toEqual({ calls: [['kong.ctx.shared.set', 'id', 'quick']] })
    expect(await answerTo(shared, 1)).toEqual(REFUSED)
    expect(ended.map(({ how }) => how)).toEqual(['returned', 'deadline'])
    expect(server.openEvents).toBe(0)
  })
})

describe('a connection that requests share', () => {
  test('begins a few of many in one turn of the event loop, so that others need not wait for all', async () => {
    const steps: string[] = []
    const { shared, instance } = await start({
      async access(kong) {
        const { request_id: id } = (await kong.ctx.shared.get(FACTS_KEY)) as { readonly request_id: string }
        steps.push(id)
      },
    })
    const ids = Array.from({ length: 11 }, (_, at) => at + 1)
    const tick = (): void => {
      steps.push('turn')
      if (!ids.every((id) => steps.includes(String(id)))) setImmediate(tick)
    }
    setImmediate(tick)
    shared.send(Buffer.concat(ids.map((id) => accessFrame(id, instance, { request_id: String(id) }))))
    await Promise.all(ids.map((id) => shared.reply(id)))
    expect(steps.filter((step) => step !== 'turn')).toEqual(ids.map(String))
    const turns = steps.join(' ').split('turn')
    expect(Math.max(...turns.map((turn) => turn.split(' ').filter(Boolean).length))).toBeLessThan(5)
  })

  test('that ends begins none of those that still waited for their turn', async () => {
    const { access, open } = gates()
    const { shared, instance, server, ended } = await start({ access })
    const ids = Array.from({ length: 40 }, (_, at) => at + 1)
    shared.send(Buffer.concat(ids.map((id) => accessFrame(id, instance, { request_id: String(id) }))))
    await until(() => open.size > 0)
    shared.socket.destroy()
    await until(() => server.openEvents === 0)
    // Turns enough for all of them, had they been kept.
    for (let turn = 0; turn < ids.length; turn++) await new Promise((resolve) => setImmediate(resolve))
    expect(server.openEvents).toBe(0)
    expect(ended.map(({ how }) => how)).toEqual(Array.from({ length: open.size }, () => 'disconnected'))
  })

  test('brings answers in the order in which they are there, several in one write', async () => {
    const { access, open } = gates()
    const { shared, instance, violations } = await start({ access })
    const ids = Array.from({ length: 20 }, (_, at) => at + 1)
    shared.send(Buffer.concat(ids.map((id) => accessFrame(id, instance, { request_id: String(id) }))))
    await until(() => open.size === 20)
    open.get('13')?.()
    await shared.reply(13)
    expect(shared.replies).toHaveLength(1)
    const writes = vi.spyOn(Socket.prototype, 'write')
    for (const id of ids.toReversed()) open.get(String(id))?.()
    await Promise.all(ids.map((id) => shared.reply(id)))
    expect(writes.mock.calls.length).toBeLessThan(10)
    expect(shared.replies.map(({ id }) => id)).toEqual([13, ...ids.toReversed().filter((id) => id !== 13)])
    for (const reply of shared.replies)
      expect(readAnswer(reply)).toEqual({ calls: [['kong.ctx.shared.set', 'id', String(reply.id)]] })
    expect(violations).toEqual([])
  })

  test('that ends ends all its events, and tells their plugins, but nobody else’s', async () => {
    const { access, open, failures } = gates()
    const { shared, instance, server, ended, socket } = await start({ access })
    const another = await sharedConnection(socket)
    shared.send(Buffer.concat([1, 2, 3].map((id) => accessFrame(id, instance, { request_id: `lost-${id}` }))))
    another.send(accessFrame(1, instance, { request_id: 'kept' }))
    await until(() => open.size === 4)
    shared.socket.destroy()
    await until(() => ended.length === 3)
    expect(ended.map(({ how }) => how)).toEqual(['disconnected', 'disconnected', 'disconnected'])
    for (const go of open.values()) go()
    expect(await answerTo(another, 1)).toEqual({ calls: [['kong.ctx.shared.set', 'id', 'kept']] })
    await until(() => failures.length === 3)
    expect(failures).toEqual(['event_over', 'event_over', 'event_over'])
    expect(server.openEvents).toBe(0)
  })

  test('that had ended by the time a stall was over decides none of its messages', async () => {
    const reserved: string[] = []
    const { shared, instance, ended, connections } = await start({
      access: async (kong) => {
        reserved.push('a reservation')
        await kong.ctx.shared.set('id', 1)
      },
    })
    await until(() => connections() === 1)
    shared.send(Buffer.concat([1, 2, 3].map((id) => accessFrame(id, instance))))
    shared.socket.destroy()
    // The server finds messages and end at once.
    const stalled = performance.now() + 600
    while (performance.now() < stalled);
    await until(() => connections() === 0)
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect([reserved, ended]).toEqual([[], []])
  })

  test.each([
    ['garbage', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['a frame and garbage', Buffer.concat([accessFrame(9, 1), Buffer.of(0x93)])],
    ['garbage and garbage', Buffer.concat([Buffer.of(0xc1), Buffer.of(0x94, 0, 1, 0xc1)])],
    ['an answer', Buffer.from([0x94, 1, 1, 0xc0, 0xc0])],
    ['a frame of a gigabyte', Buffer.from([0x94, 0, 1, 0xdb, 0x40, 0, 0, 0])],
    ['a frame beyond the cap', accessFrame(9, 1, { request_id: 'x'.repeat(200_000) })],
  ])('and brings %s is destroyed, with its events and no others', async (_, bytes) => {
    const { access, open } = gates()
    const { shared, instance, violations, ended, socket } = await start({ access, maxFrameBytes: 100_000 })
    const another = await sharedConnection(socket)
    shared.send(Buffer.concat([1, 2].map((id) => accessFrame(id, instance, { request_id: `lost-${id}` }))))
    another.send(accessFrame(1, instance, { request_id: 'kept' }))
    await until(() => open.size === 3)
    shared.send(bytes)
    await shared.closed
    await until(() => ended.length === 2)
    expect([violations.length, shared.replies.length]).toEqual([1, 0])
    open.get('kept')?.()
    expect(await answerTo(another, 1)).toEqual({ calls: [['kong.ctx.shared.set', 'id', 'kept']] })
  })

  test('waits for the rest of a frame while others are answered, but not for ever', async () => {
    const { shared, instance, violations } = await start({ frameMs: 200 })
    const [whole, late] = [accessFrame(1, instance), accessFrame(2, instance)]
    shared.send(Buffer.concat([whole, late.subarray(0, 20)]))
    await shared.reply(1)
    shared.send(late.subarray(20))
    expect(await answerTo(shared, 2)).toEqual({ calls: [] })
    shared.send(accessFrame(3, instance).subarray(0, 20))
    await shared.closed
    expect(violations).toEqual(['a frame that does not get on'])
  })

  test.each([
    ['plugin.StartInstance', { Name: 'probe', Config: '{}' }],
    ['plugin.CloseInstance', 77],
    ['plugin.HandleEvent', { InstanceId: 77, EventName: 'access' }],
    ['portcullis.Settle', 'no JSON'],
    ['sk-canary', null],
  ])('answers %s in its own form: nothing is done with it', async (method, argument) => {
    const { shared, instance, logged } = await start({})
    shared.send(Buffer.concat([accessFrame(1, instance), frame(2, method, argument), accessFrame(3, instance)]))
    expect(await answerTo(shared, 2)).toEqual({ error: expect.any(String), calls: [] })
    expect(await answerTo(shared, 3)).toEqual({ calls: [] })
    expect(logged()).not.toContain('sk-canary')
  })

  test('a step of an event that nobody knows refuses that request: of access with 503, of log with an error', async () => {
    const { shared, instance } = await start({})
    shared.send(Buffer.concat([accessFrame(1, instance), withHead(2, stepMessage(1_000_000, 'x'))]))
    expect(await answerTo(shared, 2)).toEqual(REFUSED)
    shared.send(withHead(3, stepMessage(1_000_001, 'x')))
    expect(await answerTo(shared, 3)).toEqual({ error: 'event id 1000001 not found', calls: [] })
  })

  test('may begin with the steps of requests whose connection went away', async () => {
    const { shared, instance, socket, violations } = await start({
      access: async (kong) => void (await kong.ctx.shared.set('body', String(await kong.request.getRawBody(100)))),
    })
    shared.send(Buffer.concat([1, 2].map((id) => accessFrame(id, instance))))
    const events = [(await answerTo(shared, 1)).event ?? -1, (await answerTo(shared, 2)).event ?? -1]
    shared.socket.destroy()
    const next = await sharedConnection(socket)
    const steps = events.map((event, at) => withHead(at + 3, stepMessage(event, Buffer.from(`body ${at}`))))
    next.send(Buffer.concat([...steps, accessFrame(5, instance), withHead(6, stepMessage(1_000_000, 'x'))]))
    expect(await answerTo(next, 3)).toEqual({ calls: [['kong.ctx.shared.set', 'body', 'body 0']] })
    expect(await answerTo(next, 4)).toEqual({ calls: [['kong.ctx.shared.set', 'body', 'body 1']] })
    expect((await answerTo(next, 5)).calls).toEqual([['kong.request.get_raw_body', 100]])
    expect(await answerTo(next, 6)).toEqual(REFUSED)
    expect(violations).toEqual([])
  })
})

describe('a connection of Kong’s own', () => {
  test('stays one, whatever comes over it', async () => {
    const { socket, instance, violations } = await start({})
    const connection = await rawConnection(socket)
    const event = { InstanceId: instance, EventName: 'log' }
    const answer = await connection.request(1, 'plugin.HandleEvent', event)
    expect(answer[3]).toMatchObject({ Data: 'ret' })
    connection.send(accessFrame(2, instance))
    await connection.receive()
    // In Kong's own form still.
    expect((await connection.request(3, 'plugin.HandleEvent', event))[3]).toMatchObject({ Data: 'ret' })
    connection.send(Buffer.concat([accessFrame(4, instance), accessFrame(5, instance)]))
    await connection.closed
    expect(violations).toEqual(['a frame before the answer to the last one'])
  })

  test('is not disturbed by those that are shared', async () => {
    const { access, open } = gates()
    const { shared, instance, worker, violations } = await start({ access })
    shared.send(accessFrame(1, instance))
    await until(() => open.has('r'))
    const request = createRequest({})
    request.shared.set(FACTS_KEY, { request_id: 'own' })
    const ended = worker().access(request, PLUGIN)
    await until(() => open.has('own'))
    for (const go of open.values()) go()
    expect([await ended, request.shared.get('id'), violations]).toEqual(['done', 'own', []])
    await shared.reply(1)
  })
})

describe('a server that retires', () => {
  test('asks shared connections to go away at once, answers all that wait, and closes none of them', async () => {
    const { access, open } = gates()
    const { shared, instance, retire, connections } = await start({ access })
    shared.send(Buffer.concat(['1', '2'].map((id) => accessFrame(Number(id), instance, { request_id: id }))))
    await until(() => open.size === 2)
    retire()
    expect((await shared.reply(0)).text).toBe('{}')
    // What was on its way is answered, too.
    shared.send(accessFrame(3, instance, { request_id: '3' }))
    await until(() => open.size === 3)
    for (const id of ['3', '1', '2']) {
      open.get(id)?.()
      expect(await answerTo(shared, Number(id))).toEqual({ calls: [['kong.ctx.shared.set', 'id', id]] })
    }
    expect(shared.socket.destroyed).toBe(false)
    expect(connections()).toBe(1)
    shared.socket.destroy()
    await until(() => connections() === 0)
  })

  test('tells a connection that only now turns out to be shared', async () => {
    const { shared, instance, retire } = await start({})
    retire()
    shared.send(accessFrame(1, instance))
    expect(await answerTo(shared, 1)).toEqual({ calls: [] })
    await shared.reply(0)
  })
})
