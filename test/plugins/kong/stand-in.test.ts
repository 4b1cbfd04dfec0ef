/** The stand-in for Kong sends what a real Kong sent: every recording, frame by frame. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type RecordedFrame, readRecording, replayServer } from '../../support/kong-client/recordings.ts'
import { createRequest, type KongRequest, type RequestSpec } from '../../support/kong-client/request.ts'
import { createWorker, type PluginConfig, type Worker } from '../../support/kong-client/worker.ts'

/** What a recording does not say about its request in Kong's own log data. */
interface Run {
  readonly body?: Uint8Array
  /** False when another plugin refused before ours. */
  readonly access?: false
  readonly credential?: Readonly<Record<string, unknown>>
  /** What the bundled post-function left in `kong.ctx.shared`. */
  readonly usage?: string
}

const CREDENTIAL = {
  created_at: 1795411028,
  tags: ['llm:chat'],
  consumer: { id: 'b32379d9-3d28-5683-a79c-72139be6e34f' },
  key: 'alice-key',
  id: 'ae119214-a9a8-4962-a475-82dff31a0e7a',
}
const NODE_ID = 'fdd6735e-3054-4a3d-86ef-4cad1ba91709'
const USAGE = '{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}'
const BIG = Buffer.alloc(20_000, 'a')

const RUNS: Readonly<Record<string, Run>> = {
  'facts-open': {},
  'facts-keyed': { credential: CREDENTIAL, usage: USAGE },
  'body-none': { usage: USAGE },
  'body-small': { usage: USAGE, body: Buffer.from('{"model":"m","messages":[]}') },
  'body-20k': { usage: USAGE, body: BIG },
  'body-chunked': { usage: USAGE, body: Buffer.from('{"chunked":1}') },
  'body-over-cap': { body: BIG },
  'body-20k-nocap': { body: BIG },
  ctx: { usage: USAGE },
  edit: { usage: USAGE },
  exit: {},
  'exit-table': {},
  parallel: { usage: USAGE },
  unknown: { usage: USAGE },
  wrongtype: { usage: USAGE },
  throw: { usage: USAGE },
  stream: { usage: '{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}' },
  unauth: { access: false },
}

let directory: string
let worker: Worker | undefined
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kong-wire-'))
})
afterEach(() => {
  worker?.close()
  rmSync(directory, { recursive: true })
})

describe('the stand-in sends what Kong sent', () => {
  test.each(Object.keys(RUNS))('%s', async (name) => {
    const run = RUNS[name] ?? {}
    const frames = readRecording(name)
    const socket = join(directory, 's')
    const replay = await replayServer(socket, frames)
    worker = createWorker({ socket })

    const sent = frames.filter(({ dir }) => dir === 'kong>server')
    const start = sent.find(({ msg }) => msg[2] === 'plugin.StartInstance')
    const plugin = pluginOf(start)
    // The counter goes on from the recording before, and so does the instance that was started in it.
    worker.rpc.messageId = Number(sent[0]?.msg[1]) - 1
    if (start === undefined) worker.rememberInstance(plugin, 1)

    const request = createRequest(specOf(frames, run))
    if (run.access !== false) await worker.access(request, plugin)
    finish(request, frames, run)
    await worker.log(request, plugin)
    replay.close()

    expect(replay.received.map(({ msg }) => msg)).toEqual(sent.map(({ msg }) => msg))
    expect(replay.received.map(({ conn }) => conn)).toEqual(renumber(sent.map(({ conn }) => conn)))
    expect(worker.errors.at(-1)).toContain('API disabled in the current context')
  })

  test('covers every recording there is', async () => {
    const { readdirSync } = await import('node:fs')
    const names = readdirSync(new URL('../../fixtures/kong-wire/', import.meta.url))
    const recorded = names.filter((name) => name.endsWith('.jsonl')).map((name) => name.replace('.jsonl', ''))
    expect(Object.keys(RUNS).sort()).toEqual(recorded.sort())
  })
})

function pluginOf(start: RecordedFrame | undefined): PluginConfig {
  const [argument] = (start?.msg[3] ?? []) as ReadonlyArray<{ readonly Config: string }>
  return { plugin: 'wire-probe', id: 'p', seq: 1, config: argument?.Config ?? '{}' }
}

interface LogData {
  readonly request: {
    readonly id: string
    readonly method: string
    readonly uri: string
    readonly headers: Readonly<Record<string, string | readonly string[]>>
  }
  readonly response: { readonly status: number; readonly headers: Readonly<Record<string, string>> }
  readonly source: string
  readonly client_ip: string
  readonly consumer?: Readonly<Record<string, unknown>>
  readonly route: Readonly<Record<string, unknown>>
  readonly service: Readonly<Record<string, unknown>>
}

/** Kong's log data is the one place that tells the whole request; all the rest of what Kong sends follows from it. */
function logText(frames: readonly RecordedFrame[]): string {
  const asked = frames.findIndex(({ msg }) => JSON.stringify(msg).includes('"kong.log.serialize"'))
  const [argument] = (frames[asked + 1]?.msg[3] ?? []) as ReadonlyArray<{ readonly Data: string }>
  return argument?.Data ?? ''
}

function specOf(frames: readonly RecordedFrame[], run: Run): RequestSpec {
  const log = JSON.parse(logText(frames)) as LogData
  const headers = Object.entries(log.request.headers).flatMap(([name, values]) =>
    [values].flat().map((value) => [name, value] as const),
  )
  return {
    method: log.request.method,
    uri: log.request.uri,
    headers,
    requestId: log.request.id,
    clientIp: log.client_ip,
    route: log.route,
    service: log.service,
    nodeId: NODE_ID,
    ...(log.consumer === undefined ? {} : { consumer: log.consumer }),
    ...(run.credential === undefined ? {} : { credential: run.credential }),
    ...(run.body === undefined ? {} : { body: run.body }),
  }
}

/** What the phases between access and log leave behind. */
function finish(request: KongRequest, frames: readonly RecordedFrame[], run: Run): void {
  const text = logText(frames)
  const { response } = JSON.parse(text) as LogData
  request.serialized = text
  request.responseStatus = request.reply?.status ?? response.status
  request.responseHeaders = response.headers
  if (run.access === false) request.source = 'exit'
  if (run.usage !== undefined) request.shared.set('usage_json', run.usage)
}

function renumber(connections: readonly number[]): readonly number[] {
  const order = [...new Set(connections)]
  return connections.map((connection) => order.indexOf(connection))
}
