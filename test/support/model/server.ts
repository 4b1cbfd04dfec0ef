/** A local stand-in for model APIs: OpenAI, Azure, Anthropic and Gemini in recorded shapes, with knobs to misbehave. */

import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { anthropic } from './anthropic.ts'
import { type Api, isRefusal, type ModelCall, type Operation } from './api.ts'
import { gemini } from './gemini.ts'
import { type Generation, generate } from './generation.ts'
import { DEFAULT_KNOBS, type Knobs, knobsOfHeaders, knobsOfModel, readKnobs } from './knobs.ts'
import { openai } from './openai.ts'
import { arrayText, failing, jsonPieces, send, sseText, type Wire } from './transport.ts'

export interface ModelOptions {
  /** Default: any free port. */
  readonly port?: number
  /** Default 127.0.0.1. */
  readonly host?: string
  /** Default: no key is asked for. */
  readonly apiKey?: string
  /** Knobs of every reply, under those of the request. */
  readonly knobs?: Partial<Knobs>
  /** How many requests are remembered. Default 1,000. */
  readonly keep?: number
}

/** One request as it really arrived. */
export interface Received {
  readonly method: string
  /** With the query. */
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly rawHeaders: readonly string[]
  readonly body: Buffer
  /** What was generated for it; absent for a refusal. */
  generation?: Generation
  /** `gone`: the other side hung up first. `broken`: the stand-in did. */
  readonly ended: Promise<'finished' | 'gone' | 'broken'>
}

export interface Model {
  readonly url: string
  readonly port: number
  /** Oldest first. */
  readonly requests: Received[]
  /** Knobs for exactly one coming request; call again for the one after. */
  next(knobs: Partial<Knobs>): void
  close(): Promise<void>
}

const APIS: readonly Api[] = [openai, anthropic, gemini]

/** @throws when the port cannot be opened. */
export async function startModel(options: ModelOptions = {}): Promise<Model> {
  const requests: Received[] = []
  const queued: Partial<Knobs>[] = []
  let serial = 0

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      if (!response.headersSent) response.writeHead(500, { 'content-type': 'text/plain' })
      response.end(error instanceof Error ? error.message : 'the stand-in failed')
    })
  })
  server.keepAliveTimeout = 60_000

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let broken = false
    const closed = once(response, 'close')
    const body = await readAll(request)
    if (body === undefined) return
    const received: Received = {
      method: request.method ?? '',
      url: request.url ?? '',
      headers: request.headers,
      rawHeaders: request.rawHeaders,
      body,
      ended: closed.then(() => (response.writableFinished ? 'finished' : broken ? 'broken' : 'gone')),
    }
    requests.push(received)
    if (requests.length > (options.keep ?? 1_000)) requests.shift()

    const url = new URL(received.url, 'http://stand-in')
    const api =
      APIS.find((candidate) => candidate.find(received.method, url.pathname) !== undefined) ?? guess(url.pathname)
    const operation = api.find(received.method, url.pathname)
    const parsed = parse(body)
    const call: ModelCall = { method: received.method, path: url.pathname, query: url.searchParams, body: parsed ?? {} }
    const knobs: Knobs = {
      ...DEFAULT_KNOBS,
      ...options.knobs,
      ...queued.shift(),
      ...readKnobs(knobsOfModel(modelName(call))),
      ...readKnobs(knobsOfHeaders(request.headers)),
    }
    const wire: Wire = {
      response,
      knobs,
      acceptsGzip: /\bgzip\b/.test(String(request.headers['accept-encoding'] ?? '')),
      onBreak: () => {
        broken = true
      },
    }
    const id = String(++serial)
    const json = (status: number, value: unknown): Promise<void> => sendJson(wire, status, id, value)
    if (options.apiKey !== undefined && !keysOf(request, url).includes(options.apiKey))
      return json(401, api.failure(401))
    if (operation === undefined) return json(404, api.failure(404))
    if (knobs.status !== 0) return json(knobs.status, api.failure(knobs.status))
    if (parsed === undefined) return json(400, api.failure(400))
    const asked = operation.read(call)
    if (isRefusal(asked)) return json(asked.status, asked.body)
    const generation = generate(asked, knobs, serial, Math.floor(Date.now() / 1_000))
    received.generation = generation
    if (!operation.stream(call) || operation.frames === undefined) return json(200, operation.reply(generation, call))
    return sendStream(wire, id, operation, generation, call)
  }

  server.listen(options.port ?? 0, options.host ?? '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `http://${options.host ?? '127.0.0.1'}:${port}`,
    port,
    requests,
    next: (knobs) => void queued.push(knobs),
    async close() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

function sendJson(wire: Wire, status: number, id: string, value: unknown): Promise<void> {
  const headers: Record<string, string> = { 'content-type': 'application/json', 'x-request-id': `req_${id}` }
  if (status === 429) headers['retry-after'] = '1'
  return send(wire, status, headers, jsonPieces(JSON.stringify(value), wire.knobs), true)
}

function sendStream(
  wire: Wire,
  id: string,
  operation: Operation,
  generation: Generation,
  call: ModelCall,
): Promise<void> {
  const all = operation.frames?.(generation, call) ?? []
  const frames = wire.knobs.error < 0 ? all : failing(all, wire.knobs.error, operation.failureFrames?.() ?? [])
  const array = operation.framing?.(call) === 'array'
  const type = array ? 'application/json' : 'text/event-stream; charset=utf-8'
  const headers = { 'content-type': type, 'cache-control': 'no-cache', 'x-request-id': `req_${id}` }
  return send(wire, 200, headers, array ? arrayText(frames) : sseText(frames, wire.knobs), false)
}

function guess(path: string): Api {
  if (path.startsWith('/v1/messages')) return anthropic
  return /\/models\/[^/]+:/.test(path) ? gemini : openai
}

function modelName(call: ModelCall): string {
  const inPath = /\/(?:models|deployments)\/([^/:]+)/.exec(call.path)?.[1]
  if (inPath !== undefined) return decodeURIComponent(inPath)
  return typeof call.body.model === 'string' ? call.body.model : ''
}

function keysOf(request: IncomingMessage, url: URL): string[] {
  const { authorization, 'x-api-key': anthropicKey, 'api-key': azureKey, 'x-goog-api-key': googleKey } = request.headers
  return [authorization?.replace(/^Bearer /i, ''), anthropicKey, azureKey, googleKey, url.searchParams.get('key')].map(
    String,
  )
}

function parse(body: Buffer): Readonly<Record<string, unknown>> | undefined {
  if (body.length === 0) return {}
  try {
    const value: unknown = JSON.parse(body.toString('utf8'))
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined
  } catch {
    return undefined
  }
}

/** Undefined when the sender hung up in the middle. */
async function readAll(request: IncomingMessage): Promise<Buffer | undefined> {
  const pieces: Buffer[] = []
  try {
    for await (const piece of request) pieces.push(piece as Buffer)
  } catch {
    return undefined
  }
  return Buffer.concat(pieces)
}
