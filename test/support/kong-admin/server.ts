/**
 * A stand-in for the Admin API of Kong 3.9 with a database, no Kong: only the calls that keys need, answering as a real one on
 * PostgreSQL was seen to (shapes, status codes, paging, `UNIQUE violation` for a taken id too).
 */

import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface StandInCredential {
  readonly id: string
  readonly created_at: number
  readonly key: string
  readonly consumer: { readonly id: string }
  readonly tags: readonly string[] | null
  readonly ttl: null
}

export interface KongAdminStandIn {
  readonly url: string
  readonly credentials: Map<string, StandInCredential>
  /** Method and path of each request, without the query. */
  readonly requests: string[]
  /** Headers of the last request. */
  lastHeaders: Readonly<Record<string, string | string[] | undefined>>
  addConsumer(username: string): string
  addCredential(consumer: string, key: string, tags?: readonly string[] | null, createdAt?: number): string
  /** Answers instead of the API; undefined lets the request through. */
  intercept?: (
    method: string,
    path: string,
  ) => { status: number; body: unknown; headers?: Record<string, string> } | undefined
  close(): Promise<void>
}

interface Answer {
  readonly status: number
  readonly body?: unknown
}

const TAG = /^[ !-+\-.0-~\u0080-\u{10ffff}]+$/u

/** @param options what a Kong without a database says of itself and refuses */
export async function startKongAdmin(options: { readonly dbless?: boolean } = {}): Promise<KongAdminStandIn> {
  const consumers = new Map<string, { id: string; username: string; custom_id: null; tags: null; created_at: number }>()
  const credentials = new Map<string, StandInCredential>()
  const notFound: Answer = { status: 404, body: { message: 'Not found' } }

  function page(items: readonly object[], query: URLSearchParams): Answer {
    const size = Number(query.get('size') ?? 100)
    if (!(size >= 1 && size <= 1000))
      return {
        status: 400,
        body: { code: 9, name: 'invalid size', message: 'size must be an integer between 1 and 1000' },
      }
    const from = Number(Buffer.from(query.get('offset') ?? '', 'base64url').toString() || 0)
    const more = from + size < items.length
    const offset = more ? Buffer.from(String(from + size)).toString('base64url') : undefined
    return { status: 200, body: { next: more ? '/next' : null, data: items.slice(from, from + size), offset } }
  }

  function insert(consumerId: string, body: Record<string, unknown>): Answer {
    const { id = randomUUID(), key = randomUUID(), tags = null } = body
    const list = tags as readonly string[] | null
    if (list?.some((tag) => !TAG.test(tag)) === true)
      return { status: 400, body: { code: 2, name: 'schema violation', message: `invalid tag ${list}` } }
    const taken = credentials.has(String(id)) || [...credentials.values()].some((each) => each.key === key)
    if (taken)
      return {
        status: 409,
        body: {
          code: 5,
          name: 'unique constraint violation',
          message: `UNIQUE violation detected on '{key="${key}"}'`,
        },
      }
    const created: StandInCredential = {
      id: String(id),
      key: String(key),
      created_at: Math.floor(Date.now() / 1000),
      consumer: { id: consumerId },
      tags: list,
      ttl: null,
    }
    credentials.set(created.id, created)
    return { status: 201, body: created }
  }

  function answer(method: string, url: URL, body: Record<string, unknown>): Answer {
    const [collection, name = '', nested, id = ''] = url.pathname.split('/').slice(1).map(decodeURIComponent)
    if (collection === 'status')
      return {
        status: 200,
        body: { database: { reachable: true }, ...(options.dbless ? { configuration_hash: 'a1b2' } : {}) },
      }
    if (options.dbless && method !== 'GET')
      return {
        status: 405,
        body: { code: 12, name: 'operation unsupported', message: 'cannot write when not using a database' },
      }
    if (collection === 'key-auths' && name === '') return page([...credentials.values()], url.searchParams)
    if (collection !== 'consumers') return notFound
    if (name === '') return page([...consumers.values()], url.searchParams)
    const consumer = [...consumers.values()].find((each) => each.id === name || each.username === name)
    if (consumer === undefined) return notFound
    if (nested === undefined) return { status: 200, body: consumer }
    if (method === 'POST') return insert(consumer.id, body)
    const found = credentials.get(id)
    if (found === undefined || found.consumer.id !== consumer.id) return notFound
    if (method === 'DELETE') {
      credentials.delete(id)
      return { status: 204 }
    }
    if (method === 'PATCH') credentials.set(id, { ...found, tags: body.tags as readonly string[] })
    return { status: 200, body: credentials.get(id) }
  }

  const server = createServer(async (request, response) => {
    const url = new URL(request.url ?? '/', 'http://kong')
    const method = request.method ?? 'GET'
    standIn.requests.push(`${method} ${url.pathname}`)
    standIn.lastHeaders = request.headers
    const body = await readJson(request)
    const instead = standIn.intercept?.(method, url.pathname)
    const { status, body: reply, headers = {} } = instead ?? { ...answer(method, url, body), headers: {} }
    response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...headers })
    response.end(reply === undefined ? '' : JSON.stringify(reply))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  const standIn: KongAdminStandIn = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    credentials,
    requests: [],
    lastHeaders: {},
    addConsumer(username) {
      const id = randomUUID()
      consumers.set(id, { id, username, custom_id: null, tags: null, created_at: 1 })
      return id
    },
    addCredential(consumer, key, tags = null, createdAt = 1) {
      const id = randomUUID()
      credentials.set(id, { id, key, tags, created_at: createdAt, consumer: { id: consumer }, ttl: null })
      return id
    },
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return standIn
}

async function readJson(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Uint8Array[] = []
  for await (const chunk of request) chunks.push(chunk as Uint8Array)
  const text = Buffer.concat(chunks).toString()
  return text === '' ? {} : (JSON.parse(text) as Record<string, unknown>)
}
