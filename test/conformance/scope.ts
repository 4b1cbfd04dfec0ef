/** Runs the table of `scope-cases.ts` against a gateway: what reaches the upstream is judged on what it received. */

import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Model, type Received, startModel } from '../support/model/index.ts'
import { GRANTS, MAX_BODY_BYTES, SCOPE_CASES, type ScopeCase } from './scope-cases.ts'
import { trespasses } from './scope-oracle.ts'

export interface ScopeSetup {
  /** `/...` reaches it as it came, `/strip/...` without the prefix. */
  readonly upstreamUrl: string
  /** The config of `llm-scope`. */
  readonly scope: Readonly<Record<string, unknown>>
  /** Of the one consumer, whose key is returned. */
  readonly tags: readonly string[]
}

export interface ScopeGateway {
  readonly baseUrl: string
  readonly key: string
  stop(): Promise<void>
}

export function scopeConformance(name: string, start: (setup: ScopeSetup) => Promise<ScopeGateway>): void {
  describe(`scopes on ${name}`, () => {
    let model: Model
    let gateway: ScopeGateway

    beforeAll(async () => {
      model = await startModel()
      const scope = { max_body_bytes: MAX_BODY_BYTES, groups: { admin: ['llm:*'] } }
      gateway = await start({ upstreamUrl: model.url, scope, tags: GRANTS })
    })
    afterAll(async () => {
      await gateway?.stop()
      await model?.close()
    })

    it.each(SCOPE_CASES)('$what', async (asked) => {
      const before = model.requests.length
      const reply = await exchange(gateway, asked)
      const reached = model.requests.slice(before)
      for (const received of reached) expect(trespasses(received), describeReceived(received)).toEqual([])
      if (asked.expect === 'passes') {
        expect(reached, reply.text).toHaveLength(1)
        if (asked.body !== undefined) expect(reached[0]?.body).toEqual(Buffer.from(asked.body))
      } else if (reached.length === 0) {
        // Some break HTTP itself, and the gateway hangs up; whatever answers, it is no success.
        expect([0, 400, 401, 403, 404, 405, 411, 413, 414, 415, 431, 501]).toContain(reply.status)
        expect(reply.text).not.toContain(gateway.key)
      }
      if (asked.expect === 'refused') expect(reached, reply.text).toHaveLength(0)
    })

    it('are at least 150 hostile ones, each of its own', () => {
      expect(SCOPE_CASES.filter((one) => one.expect !== 'passes').length).toBeGreaterThanOrEqual(150)
      expect(new Set(SCOPE_CASES.map(({ what }) => what)).size).toBe(SCOPE_CASES.length)
    })

    it('a refusal names what is missing, in the shape of the API', async () => {
      const body = '{"model":"gpt-5","messages":[]}'
      const reply = await exchange(gateway, { what: '', body, expect: 'refused' })
      expect(reply.status).toBe(403)
      expect(reply.text).toContain(
        'www-authenticate: Bearer realm="llm", error="insufficient_scope", scope="llm:chat:gpt-5"',
      )
      expect(reply.text).toContain('"code":"insufficient_scope"')
    })
  })
}

export function describeReceived({ method, url, body }: Received): string {
  return `${method} ${url} ${body.toString('latin1').slice(0, 300)}`
}

/** Byte for byte, on a connection of its own. Status 0 when the gateway just hung up. */
export function exchange(
  gateway: ScopeGateway,
  asked: ScopeCase,
): Promise<{ readonly status: number; readonly text: string }> {
  const { hostname, port } = new URL(gateway.baseUrl)
  return new Promise((resolve) => {
    let text = ''
    const socket = connect(Number(port), hostname, () => socket.write(bytesOf(asked, gateway.key)))
    const done = (): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve({ status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0), text })
    }
    const timer = setTimeout(done, 10_000)
    socket.on('data', (piece: Buffer) => {
      text += piece.toString('latin1')
      // A refused upgrade leaves its connection open.
      const [head = '', rest] = text.split('\r\n\r\n', 2)
      if (rest !== undefined && rest.length >= Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? Infinity)) done()
    })
    socket.on('error', done)
    socket.on('close', done)
  })
}

function bytesOf(
  { method, path = '/v1/chat/completions', headers = [], body, chunked, key }: ScopeCase,
  secret: string,
): Buffer {
  const verb = method ?? (body === undefined ? 'GET' : 'POST')
  const bytes = Buffer.from(body ?? '')
  const named = (name: string) => headers.some((line) => line.toLowerCase().startsWith(`${name}:`))
  const lines = [
    `${verb} ${path} HTTP/1.1`,
    'host: gateway.test',
    ...(named('connection') ? [] : ['connection: close']),
    ...(key === 'none' ? [] : [`authorization: Bearer ${secret}`]),
    ...(body === undefined || named('content-type') ? [] : ['content-type: application/json']),
    ...(body === undefined ? [] : [chunked ? 'transfer-encoding: chunked' : `content-length: ${bytes.length}`]),
    ...headers,
  ]
  const framed = chunked ? chunksOf(bytes) : bytes
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`), framed])
}

/** In pieces of seven bytes at first, so that names are cut. */
function chunksOf(bytes: Buffer): Buffer {
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const piece = bytes.subarray(at, at + (at < 700 ? 7 : 4_096))
    pieces.push(Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n'))
    at += piece.length
  }
  return Buffer.concat([...pieces, Buffer.from('0\r\n\r\n')])
}
