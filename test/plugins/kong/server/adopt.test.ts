/** `portcullis.Adopt` on both sides: what a server takes from another one, and what it passes on. */

import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decode } from '@msgpack/msgpack'
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../../../plugins/deps.ts'
import { type PassOn, passOn } from '../../../../plugins/kong/server/pass-on.ts'
import { reachPeer } from '../../../../plugins/kong/server/peer.ts'
import type { Content } from '../../../../policies/audit/content.ts'
import { createHeldContent, type HeldContent } from '../../../../policies/audit/held-content.ts'
import { LOST } from '../../../../policies/audit/missing-content.ts'
import { frame, rawConnection, startTestServer, type TestServer, until } from './harness.ts'

const REQUEST = 'portcullis.content.request'
const text = (of: string): Content => ({ [REQUEST]: of })

const servers: TestServer[] = []
const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
  for (const server of servers.splice(0)) server.close()
})

async function start(): Promise<TestServer> {
  const server = await startTestServer({})
  servers.push(server)
  return server
}

function message(change: object = {}): string {
  return JSON.stringify({
    version: 1,
    contents: [{ id: 'a', waitedMs: 5, content: text('[EMAIL]') }],
    wanted: [],
    ...change,
  })
}

async function ask(server: TestServer, argument: unknown): Promise<unknown> {
  const peer = await reachPeer(server.socket, { patienceMs: 60_000, maxFrameBytes: 8 * 1_048_576 })
  const answer = await peer?.ask('portcullis.Adopt', argument)
  peer?.close()
  return answer !== undefined && 'result' in answer ? JSON.parse(String(answer.result)) : answer
}

describe('a server that is handed content', () => {
  test('holds it as its own, once', async () => {
    const server = await start()
    for (let time = 0; time < 2; time++)
      expect(await ask(server, message())).toEqual({ version: 1, refused: 0, found: [] })
    expect(server.held.size).toBe(1)
    expect(server.held.find('a')).toMatchObject({ id: 'a', content: text('[EMAIL]') })
  })

  test('gives back what is wanted and there, a piece at a time', async () => {
    const server = await start()
    const contents = ['a', 'b', 'c', 'd'].map((id) => ({ id, waitedMs: 0, content: text(id.repeat(100_000)) }))
    expect(await ask(server, message({ contents }))).toMatchObject({ refused: 0 })
    const wanted = ['a', 'unknown', 'b', 'c']
    const answers = [
      await ask(server, message({ contents: [], wanted })),
      await ask(server, message({ contents: [], wanted })),
    ]
    expect(answers).toMatchObject([
      { found: [{ id: 'a' }, { id: 'b' }] },
      { found: [{ id: 'c', content: text('c'.repeat(100_000)) }] },
    ])
    expect(server.held.size).toBe(1)
  })

  test('takes no more than it has room for, and says how much that was', async () => {
    const server = await start()
    const contents = Array.from({ length: 6 }, (_, n) => ({
      id: `r${n}`,
      waitedMs: 0,
      content: text('x'.repeat(500_000)),
    }))
    expect(await ask(server, message({ contents }))).toMatchObject({ refused: 2 })
    expect(server.held.size).toBe(4)
  })

  test('takes nothing of what is no content, and the rest', async () => {
    const server = await start()
    const contents = [
      { id: 'raw', waitedMs: 0, content: { body: 'x' } },
      { id: '../..', waitedMs: 0, content: text('x') },
      null,
      { id: 'good', waitedMs: 0, content: text('x') },
    ]
    expect(await ask(server, message({ contents }))).toEqual({ version: 1, refused: 3, found: [] })
    expect([server.held.size, server.held.find('good')?.id]).toEqual([1, 'good'])
  })

  test.each([
    ['nothing', null],
    ['a number', 5],
    ['a table', { contents: [] }],
    ['a list', [message()]],
    ['bytes', new TextEncoder().encode(message())],
    ['no JSON', 'x'],
    ['another JSON', '[]'],
    ['another version', message({ version: 2 })],
    ['no contents', message({ contents: undefined })],
    ['contents that are no list', message({ contents: {} })],
    ['too many contents', message({ contents: Array.from({ length: 10_001 }, () => 0) })],
    ['nothing wanted', message({ wanted: undefined })],
    ['wanted things that are no ids', message({ wanted: ['../x'] })],
    ['wanted things that are no texts', message({ wanted: [1] })],
    ['too many wanted', message({ wanted: Array.from({ length: 10_001 }, () => 'a') })],
  ])('declines %s', async (_name, argument) => {
    const server = await start()
    expect(await ask(server, argument)).toEqual({ declined: true })
    expect(server.held.size).toBe(0)
  })

  test('destroys no more than the connection over a message that is too long', async () => {
    const server = await start()
    const connection = await rawConnection(server.socket)
    connection.send(frame(1, 'portcullis.Adopt', message({ more: 'x'.repeat(5 * 1_048_576) })))
    await connection.closed
    expect(server.held.size).toBe(0)
    expect(await ask(server, message())).toMatchObject({ refused: 0 })
  })

  test('stays as it is whatever comes', async () => {
    const server = await start()
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), fc.jsonValue(), fc.jsonValue(), async (contents, wanted, whole) => {
        for (const argument of [whole, JSON.stringify(whole), message({ contents, wanted })])
          await ask(server, argument)
        expect(server.held.size).toBe(0)
      }),
      { numRuns: 50 },
    )
    expect(server.logged()).not.toContain('fault')
  })
})

/** A process that is replaced. */
function predecessor(path: string, mayCome = true) {
  const held = createHeldContent({ clock: systemClock, mostBytes: 64 * 1_048_576, patienceMs: 60_000 })
  const lines: string[] = []
  const line = (message: string, fields?: unknown) => void lines.push(`${message} ${JSON.stringify(fields)}`)
  const logger = { info: line, warn: line, error: line }
  let ended: Promise<void> | undefined
  const passing: PassOn = passOn({ path, held, logger, now: systemClock.monotonic, mayCome: () => mayCome })
  const end = (ms = 10_000) => {
    ended ??= passing.end(ms)
    return ended
  }
  closing.push(() => end(0))
  return { held, passing, lines, end }
}

function holdMany(held: HeldContent, count: number, length: number): void {
  for (let n = 0; n < count; n++) held.hold(`r${n}`, length, () => text(`${n} `.padEnd(length, '"')))
}

function place(): string {
  const folder = mkdtempSync(join(tmpdir(), 'kong-adopt-'))
  closing.push(() => rmSync(folder, { recursive: true }))
  return join(folder, 's')
}

/** Listens as a successor that is none of this version. */
async function listenAs(
  answer: (request: readonly unknown[], socket: Socket) => void,
  path = place(),
): Promise<string> {
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    sockets.push(socket)
    let bytes = Buffer.alloc(0)
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk])
      let request: unknown
      try {
        request = decode(bytes)
      } catch (error) {
        if (error instanceof RangeError) return
        throw error
      }
      bytes = Buffer.alloc(0)
      answer(request as readonly unknown[], socket)
    })
  }).listen(path)
  closing.push(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  await once(server, 'listening')
  return path
}

describe('a server that is replaced', () => {
  test('passes on all that it has, and what comes after', async () => {
    const server = await start()
    const { held, passing, lines, end } = predecessor(server.socket)
    expect(passing.idle).toBe(true)
    holdMany(held, 10, 100_000)
    expect(passing.idle).toBe(false)
    await until(() => passing.idle)
    expect([held.size, server.held.size]).toEqual([0, 10])
    held.hold('late', 100, () => text('late'))
    await until(() => passing.idle)
    expect(server.held.find('late')).toMatchObject({ content: text('late') })
    expect(server.held.find('r7')?.content[REQUEST]).toHaveLength(100_000)
    await end()
    expect(lines).toEqual([])
  })

  test('gets back what is asked for here', async () => {
    const server = await start()
    const { held, end } = predecessor(server.socket)
    server.held.hold('theirs', 10, () => text('theirs'))
    const given: Content[] = []
    expect(held.take('theirs', (content) => void given.push(content))).toBe(true)
    await end()
    expect(given).toEqual([text('theirs')])
    expect([held.size, server.held.size]).toEqual([0, 0])
  })

  test('is not kept from it by what no server ever let through', async () => {
    const server = await start()
    const { held, end } = predecessor(server.socket)
    server.held.hold('theirs', 10, () => text('theirs'))
    const given: Content[] = []
    for (const id of ['../x', 'x'.repeat(1_000), 'theirs']) held.take(id, (content) => void given.push(content))
    await end()
    expect(given).toEqual([text('theirs'), LOST, LOST])
  })

  test('leaves its connections only then', async () => {
    const server = await start()
    const connection = await rawConnection(server.socket)
    await connection.request(1, 'plugin.CloseInstance', 0)
    let passed = false
    server.handOver(() => passed)
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(server.connections()).toBe(1)
    passed = true
    await connection.closed
  })

  test('waits for a successor that is still to come, and keeps its content until then', async () => {
    const path = place()
    const { held, end } = predecessor(path)
    held.hold('a', 10, () => text('a'))
    const requests: (readonly unknown[])[] = []
    const ended = end()
    await until(() => held.find('a') !== undefined || held.size === 0)
    held.hold('b', 10, () => text('b'))
    await listenAs((request, socket) => {
      requests.push(request)
      socket.write(
        Buffer.from([0x94, 1, request[1] as number, 0xc0, ...string(`{"version":1,"refused":0,"found":[]}`)]),
      )
    }, path)
    await ended
    expect(requests.map(([type, , method]) => [type, method])).toEqual([[0, 'portcullis.Adopt']])
    const [[, , , [argument]]] = requests as [[number, number, string, [string]]]
    expect(JSON.parse(argument)).toMatchObject({ contents: [{ id: 'b', content: text('b') }] })
  })

  test.each([
    ['knows no such message', (id: number) => [0x94, 1, id, ...string('no such method'), 0xc0]],
    ['answers something else', (id: number) => [0x94, 1, id, 0xc0, ...string('{"version":2}')]],
  ])('keeps what it has when the successor %s, and says once what is lost', async (_name, answer) => {
    let asked = 0
    const path = await listenAs((request, socket) => {
      asked += 1
      socket.write(Buffer.from(answer(request[1] as number)))
    })
    const { held, passing, lines, end } = predecessor(path)
    holdMany(held, 3, 10)
    await until(() => passing.idle)
    const given: Content[] = []
    expect(held.take('r1', (content) => void given.push(content))).toBe(true)
    expect(given[0]?.[REQUEST]).toContain('1 ')
    expect(held.take('unknown', () => undefined)).toBe(false)
    await end()
    expect([asked, lines]).toEqual([
      1,
      ['content of requests under way is lost: no other server took it {"requests":2}'],
    ])
  })

  test.each([
    ['answers nothing', () => undefined],
    ['ends the connection', (socket: Socket) => socket.destroy()],
    ['answers what is no answer', (socket: Socket) => socket.write('HTTP/1.1 400')],
    ['answers to something else', (socket: Socket) => socket.write(Buffer.from([0x94, 1, 0x7f, 0xc0, 0xc0]))],
  ])('keeps what it has when the successor %s, and ends in time', async (_name, answer) => {
    const path = await listenAs((_request, socket) => void answer(socket))
    const { held, lines, end } = predecessor(path)
    holdMany(held, 3, 10)
    await end(100)
    expect(held.size).toBe(3)
    expect(lines).toEqual(['content of requests under way is lost: no other server took it {"requests":3}'])
  })

  test('says what the successor had no room for', async () => {
    const server = await start()
    const { held, lines, end } = predecessor(server.socket)
    holdMany(held, 6, 500_000)
    await end()
    expect([held.size, server.held.size]).toEqual([0, 4])
    expect(lines).toEqual(['content of requests under way is lost: no other server took it {"requests":2}'])
  })

  test('that ends for good without a successor says nothing, and waits for nobody', async () => {
    const { held, lines, end } = predecessor(place(), false)
    holdMany(held, 3, 10)
    await end(60_000)
    expect(lines).toEqual([])
  })
})

function string(value: string): readonly number[] {
  return [0xd9, value.length, ...Buffer.from(value)]
}
