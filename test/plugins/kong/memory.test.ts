/** What the plugin server still holds of requests that are over: its heap after a garbage collection, as V8 counts it. */

import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { REFUSAL_KEY } from '../../../plugins/kong/ending.ts'
import { entryKey, FACTS_KEY, type Facts, type PluginEntry } from '../../../plugins/kong/shared-context.ts'
import { createDirectWorker } from '../../support/kong-client/direct-worker.ts'
import type { KongRequest } from '../../support/kong-client/request.ts'
import { settleMessage } from '../../support/kong-client/settle-message.ts'
import { createWorker, type PluginConfig, type Worker } from '../../support/kong-client/worker.ts'
import { builtServer } from './built-server.ts'
import { openInspector } from './inspector.ts'
import { llmRequest, type ServerProcess, startServer } from './process-harness.ts'

/** Enough to fill what has a bound, but for the ids of what was settled: 500,000 of them are remembered. */
const FIRST = 18_000
const MORE = 18_000
const CALLERS = 200
const LANES = 16
/** Those ids alone are up to 80; the facts, the content or the record of a request are hundreds. */
const MOST_BYTES_A_REQUEST = 100

let directory: string
let socket: string
let server: ServerProcess | undefined

const built = builtServer((folder, path) => {
  directory = folder
  socket = path
})
afterEach(async () => {
  if (server !== undefined) {
    const { child } = server
    server = undefined
    const gone = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined
    child.kill('SIGKILL')
    await gone
  }
  rmSync(directory, { recursive: true })
})

const SINGLES = ['llm-audit-log', 'llm-scope', 'llm-token-limit']

test.each([
  ['llm-gateway in one message', createDirectWorker, ['llm-gateway']],
  ['llm-gateway in Kong’s own way', createWorker, ['llm-gateway']],
  ['the single plugins in one message each', createDirectWorker, SINGLES],
])('%s: the heap does not grow with the requests', { timeout: 120_000 }, async (_name, create, names) => {
  server = await startServer(join(built, 'portcullis-kong.cjs'), socket, [], ['--inspect=127.0.0.1:0'])
  const inspector = await openInspector(server)
  const worker = create({ socket, readTimeoutMs: 10_000 })
  try {
    const plugins = names.map(pluginOf)
    await drive(worker, plugins, 0, FIRST)
    const before = await inspector.bytesInUse()
    const { passed, refused } = await drive(worker, plugins, FIRST, MORE)
    expect(passed).toBeGreaterThan(MORE / 4)
    expect(refused).toBeGreaterThan(MORE / 4)
    const after = await inspector.bytesInUse()
    expect((after - before) / MORE).toBeLessThan(MOST_BYTES_A_REQUEST)
  } finally {
    worker.close()
    inspector.close()
  }
})

function pluginOf(name: string): PluginConfig {
  const sinks = [{ type: 'file', path: join(directory, 'audit.ndjson') }]
  const audit = { sinks, content: 'redacted', redaction: {} }
  const scope = { static: { alice: ['llm:chat'] } }
  const limits = { limits: [{ name: 'tokens', limit: 1_000_000_000, window_seconds: 60 }] }
  const configs: Readonly<Record<string, object>> = {
    'llm-gateway': { audit, scope, token_limit: limits },
    'llm-audit-log': audit,
    'llm-scope': scope,
    'llm-token-limit': { ...limits, store: 'memory' },
  }
  const config = JSON.stringify({ __plugin_id: name, ...configs[name] })
  return { plugin: name, id: name, seq: 1, config }
}

async function drive(worker: Worker, plugins: readonly PluginConfig[], first: number, count: number) {
  const counts = { passed: 0, refused: 0 }
  let next = first
  async function lane(): Promise<void> {
    while (next < first + count) {
      const request = requestOf(next++)
      const passed = await isPassed(worker, request, plugins)
      counts[passed ? 'passed' : 'refused'] += 1
      await end(worker, request, plugins)
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  return counts
}

async function isPassed(worker: Worker, request: KongRequest, plugins: readonly PluginConfig[]): Promise<boolean> {
  for (const plugin of plugins) {
    const done = await worker.access(request, plugin)
    if (done === 'exited' && (request.reply?.status ?? 500) < 500) return false
    expect(done).toBe('done')
  }
  return true
}

/** As llm-edge tells of it: by its id where the server said that it may, and else through each plugin's log phase. */
async function end(worker: Worker, request: KongRequest, plugins: readonly PluginConfig[]): Promise<void> {
  const { status = 200 } = request.reply ?? {}
  const contacted = request.reply === undefined
  const tap = contacted ? { usage_json: '{"prompt_tokens":9,"completion_tokens":3}', ended: 'final' } : undefined
  const report = { version: 1, status, source: contacted ? 'service' : 'exit', contacted, completed: true, tap }
  const refusal = request.shared.get(REFUSAL_KEY)
  const batched: PluginConfig[] = []
  for (const plugin of plugins) {
    const entry = request.shared.get(entryKey(plugin.plugin)) as PluginEntry | undefined
    if ('channels' in worker && entry?.batch === true) batched.push(plugin)
    else {
      if (entry !== undefined) request.shared.set(entryKey(plugin.plugin), { ...entry, report })
      expect(await worker.log(request, plugin)).toBe('done')
    }
  }
  if (batched.length === 0) return
  const { request_id: id } = request.shared.get(FACTS_KEY) as Facts
  const names = batched.flatMap((plugin) => [plugin.plugin, plugin.id])
  const ended = [{ request: id, plugins: names, report, refusal, started_at: Date.now(), duration: 5, upstream: 3 }]
  expect(await worker.rpc.call('portcullis.Settle', settleMessage({ ended }))).toEqual({ unknown: [] })
}

/** Requests that differ in all that a client may choose. */
function requestOf(turn: number): KongRequest {
  const question = {
    model: `model-${turn % 5_000}`,
    max_tokens: (turn % 1_000) + 1,
    messages: [{ role: 'user', content: `What about ${turn} and user-${turn}@example.com?` }],
  }
  return llmRequest(
    {
      path: turn % 5 === 0 ? `/v1/unknown/${turn}` : '/v1/chat/completions',
      host: `host-${turn}.example`,
      address: `192.0.2.${turn % 250}`,
      consumer: { id: `caller-${turn % CALLERS}`, username: turn % 3 === 0 ? 'bob' : 'alice' },
    },
    question,
  )
}
