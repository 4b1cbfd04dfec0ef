import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { createRequest } from '../../../support/kong-client/request.ts'
import {
  frame,
  PLUGIN,
  type RawConnection,
  rawConnection,
  startTestServer,
  type TestServer,
  type TestServerOptions,
  until,
} from './harness.ts'

let running: TestServer | undefined
afterEach(() => {
  running?.close()
  running = undefined
})

async function start(options: TestServerOptions = {}): Promise<TestServer> {
  running = await startTestServer(options)
  return running
}

async function startInstance(connection: RawConnection): Promise<number> {
  const [, , , result] = await connection.request(1, 'plugin.StartInstance', { Name: 'probe', Config: '{}' })
  return (result as { readonly Id: number }).Id
}

/** A plugin that waits until told, and tells how its PDK call ended. */
function waiting() {
  const state = { failure: undefined as string | undefined, go: (): void => undefined }
  return {
    state,
    access: async (kong: { request: { getMethod(): Promise<string> } }) => {
      await new Promise<void>((resolve) => {
        state.go = resolve
      })
      await kong.request.getMethod().catch((error: Error) => {
        state.failure = error.name
      })
    },
  }
}

describe('what no Kong sends destroys the connection and nothing else', () => {
  const step = Buffer.from(frame(2, 'plugin.Step', { EventId: 4, Data: 'x' }))
  test.each([
    ['text', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['a type that does not exist', Buffer.of(0x94, 0, 1, 0xc1, 0x90)],
    ['a notification', Buffer.from([0x93, 2, 0xa1, 0x78, 0x90])],
    ['an answer', Buffer.from([0x94, 1, 1, 0xc0, 0xc0])],
    ['a method that is no string', Buffer.from([0x94, 0, 1, 5, 0x91, 0xc0])],
    ['no argument', Buffer.concat([Buffer.of(0x94, 0, 1, 0xa1, 0x78, 0x90)])],
    ['two arguments', Buffer.concat([Buffer.of(0x94, 0, 1, 0xa1, 0x78, 0x92, 1, 1)])],
    ['arguments that are no list', Buffer.concat([Buffer.of(0x94, 0, 1, 0xa1, 0x78, 0x80)])],
    ['a frame of a gigabyte', Buffer.concat([Buffer.of(0x94, 0, 1, 0xdb, 0x40, 0, 0, 0)])],
    ['two frames at once', Buffer.concat([step, step])],
    ['a frame and a half', Buffer.concat([step, step.subarray(0, 5)])],
  ])('%s', async (_name, bytes) => {
    const { socket, worker, violations } = await start()
    const connection = await rawConnection(socket)
    connection.send(bytes)
    await connection.closed
    expect(violations).toHaveLength(1)
    expect(await worker().access(createRequest({}), PLUGIN)).toBe('done')
  })

  test('any bytes at all', async () => {
    const { socket, worker } = await start({ frameMs: 20 })
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 50 }), async (bytes) => {
        const connection = await rawConnection(socket)
        connection.send(Buffer.concat([Buffer.of(0x94), bytes]))
        await Promise.race([connection.closed, connection.receive()])
        connection.socket.destroy()
      }),
      { numRuns: 50 },
    )
    expect(await worker().access(createRequest({}), PLUGIN)).toBe('done')
  })
})

describe('a frame while one is unanswered', () => {
  test('destroys the connection, tells the plugin, and leaves others alone', async () => {
    const { access, state } = waiting()
    const { socket, server, ended, connections } = await start({ access })
    const connection = await rawConnection(socket)
    const bystander = await rawConnection(socket)
    const id = await startInstance(connection)
    connection.send(frame(2, 'plugin.HandleEvent', { InstanceId: id, EventName: 'access' }))
    await until(() => server.openEvents === 1)
    connection.send(frame(3, 'plugin.HandleEvent', { InstanceId: id, EventName: 'access' }))
    await connection.closed
    expect([server.openEvents, ended[0]?.how]).toEqual([0, 'disconnected'])
    state.go()
    await until(() => state.failure !== undefined)
    expect(state.failure).toBe('PDKError')
    expect((await bystander.request(1, 'plugin.HandleEvent', { InstanceId: 1, EventName: 'log' }))[2]).toContain(
      'no plugin instance',
    )
    expect(connections()).toBe(1)
  })

  test('is what Kong sends after it gave up waiting', async () => {
    const { access, state } = waiting()
    const { worker, violations, server } = await start({ access })
    const kong = worker({ readTimeoutMs: 30 })
    expect(await kong.access(createRequest({}), PLUGIN)).toBe('failed_open')
    expect(kong.rpc.idle).toBe(1)
    expect(await kong.access(createRequest({}), PLUGIN)).toBe('failed_open')
    expect(violations).toEqual(['a frame before the answer to the last one'])
    await until(() => server.openEvents === 0)
    state.go()
  })
})

describe('a connection that ends', () => {
  test('while Kong waits ends the event', async () => {
    const { access, state } = waiting()
    const { socket, server, ended } = await start({ access })
    const connection = await rawConnection(socket)
    const id = await startInstance(connection)
    connection.send(frame(2, 'plugin.HandleEvent', { InstanceId: id, EventName: 'access' }))
    await until(() => server.openEvents === 1)
    connection.socket.destroy()
    await until(() => server.openEvents === 0)
    expect(ended[0]?.how).toBe('disconnected')
    state.go()
    await until(() => state.failure !== undefined)
  })

  test('while it is our turn to wait ends nothing: Kong goes on with another one', async () => {
    const { socket, server, ended } = await start({ access: async (kong) => void (await kong.request.getMethod()) })
    const first = await rawConnection(socket)
    const id = await startInstance(first)
    const answer = await first.request(2, 'plugin.HandleEvent', { InstanceId: id, EventName: 'access' })
    const { EventId } = answer[3] as { readonly EventId: number }
    first.socket.destroy()
    const second = await rawConnection(socket)
    expect((await second.request(3, 'plugin.Step', { EventId, Data: 'POST' }))[3]).toEqual({ Data: 'ret', EventId })
    expect([server.openEvents, ended[0]?.how]).toEqual([0, 'returned'])
  })

  test('in the middle of a frame is no event at all', async () => {
    const { socket, server, connections } = await start()
    const connection = await rawConnection(socket)
    connection.send(frame(2, 'plugin.Step', { EventId: 4, Data: 'x'.repeat(100) }).subarray(0, 50))
    await until(() => connections() === 1)
    connection.socket.destroy()
    await until(() => connections() === 0)
    expect(server.openEvents).toBe(0)
  })
})

test('a server that retires in unbroken traffic closes a connection with the answer that ends an event, and no sooner', async () => {
  const { socket, retire, connections } = await start({ access: async (kong) => void (await kong.request.getMethod()) })
  const connection = await rawConnection(socket)
  const id = await startInstance(connection)
  retire()
  const answer = await connection.request(2, 'plugin.HandleEvent', { InstanceId: id, EventName: 'access' })
  const { EventId } = answer[3] as { readonly EventId: number }
  expect((await connection.request(3, 'plugin.Step', { EventId, Data: 'POST' }))[3]).toEqual({ Data: 'ret', EventId })
  await connection.closed
  await until(() => connections() === 0)
  await expect(rawConnection(socket)).rejects.toThrow(/ENOENT|ECONNREFUSED/)
})

test('a server that hands over ends connections in a quiet moment, but not while an event is open', async () => {
  const { socket, handOver, connections } = await start({
    access: async (kong) => void (await kong.request.getMethod()),
  })
  const connection = await rawConnection(socket)
  const id = await startInstance(connection)
  const answer = await connection.request(2, 'plugin.HandleEvent', { InstanceId: id, EventName: 'access' })
  const { EventId } = answer[3] as { readonly EventId: number }
  handOver()
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(connections()).toBe(1)
  expect((await connection.request(3, 'plugin.Step', { EventId, Data: 'POST' }))[3]).toEqual({ Data: 'ret', EventId })
  await connection.closed
  await expect(rawConnection(socket)).rejects.toThrow(/ENOENT|ECONNREFUSED/)
})

describe('frames', () => {
  test('in pieces are put together', async () => {
    const { socket } = await start()
    const connection = await rawConnection(socket)
    for (const byte of frame(9, 'plugin.HandleEvent', { InstanceId: 3, EventName: 'access' })) {
      connection.send(Uint8Array.of(byte))
      await new Promise(setImmediate)
    }
    expect(await connection.receive()).toEqual([1, 9, 'no plugin instance #3', null])
  })

  test('that do not get on are given up', async () => {
    const { socket, violations } = await start({ frameMs: 30 })
    const connection = await rawConnection(socket)
    connection.send(frame(9, 'plugin.Step', { EventId: 4 }).subarray(0, 5))
    await connection.closed
    expect(violations).toEqual(['a frame that does not get on'])
  })

  test('as large as the cap carry a whole body, byte for byte', async () => {
    let seen: Uint8Array | undefined
    const { worker } = await start({
      access: async (kong) => {
        seen = await kong.request.getRawBody(4_000_000)
        if (seen !== undefined) await kong.service.request.setRawBody(seen)
      },
    })
    const body = Buffer.from(Array.from({ length: 3_000_000 }, (_, index) => (index * 7) % 256))
    const request = createRequest({ body })
    expect(await worker().access(request, PLUGIN)).toBe('done')
    expect(body.equals(seen ?? Buffer.of())).toBe(true)
    expect(body.equals(request.upstreamBody)).toBe(true)
  })

  test('over the cap fail that request alone', async () => {
    const { worker, violations } = await start({
      access: async (kong) => void (await kong.request.getRawBody(4_000_000)),
      maxFrameBytes: 100_000,
    })
    const kong = worker()
    expect(await kong.access(createRequest({ body: Buffer.alloc(200_000) }), PLUGIN)).toBe('failed_open')
    expect(violations).toEqual(['larger than the cap'])
    expect(await kong.access(createRequest({ body: Buffer.alloc(1_000) }), PLUGIN)).toBe('done')
  })

  test('never show in the log', async () => {
    const { socket, logged, server } = await start({
      access() {
        throw new Error('sk-canary')
      },
    })
    const connection = await rawConnection(socket)
    const id = await startInstance(connection)
    await connection.request(2, 'sk-canary', { EventId: 'sk-canary', Data: 'sk-canary' })
    await connection.request(3, 'plugin.HandleEvent', { InstanceId: id, EventName: 'sk-canary' })
    await connection.request(4, 'plugin.HandleEvent', { InstanceId: 'sk-canary', EventName: 'access' })
    await connection.request(5, 'plugin.HandleEvent', { InstanceId: id, EventName: 'access' })
    await connection.request(6, 'plugin.StartInstance', { Name: 'sk-canary', Config: 'sk-canary' })
    await connection.request(7, 'plugin.CloseInstance', 'sk-canary')
    expect(server.openEvents).toBe(0)
    expect(logged()).not.toBe('')
    expect(logged()).not.toContain('sk-canary')
  })
})
