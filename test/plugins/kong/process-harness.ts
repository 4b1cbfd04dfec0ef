/** The built plugin server as a process of its own. */

import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { entryKey, FACTS_KEY, type Facts } from '../../../plugins/kong/shared-context.ts'
import { createRequest, type KongRequest } from '../../support/kong-client/request.ts'
import type { PluginConfig } from '../../support/kong-client/worker.ts'

export interface ServerProcess {
  readonly child: ChildProcess
  /** What it wrote to stderr so far. */
  readonly stderr: () => string
  /** Exit code, or the signal that ended it. */
  readonly exit: Promise<number | string>
}

/**
 * Resolves once it listens; rejects when it ends before.
 * @param nodeFlags of the process itself, as `--inspect`
 */
export async function startServer(
  command: string,
  socket: string,
  args: readonly string[] = [],
  nodeFlags: readonly string[] = [],
): Promise<ServerProcess> {
  const server = launch([...nodeFlags, command, 'serve', '--socket', socket, ...args])
  const ended = server.exit.then((code) => {
    throw new Error(`the server ended with ${code}: ${server.stderr()}`)
  })
  const listening = new Promise<void>((resolve) => {
    server.child.stderr?.on('data', () => {
      if (server.stderr().includes('server started at')) resolve()
    })
  })
  await Promise.race([listening, ended])
  ended.catch(() => undefined)
  return server
}

export function launch(
  args: readonly string[],
  executable = process.execPath,
): ServerProcess & { readonly stdout: () => string } {
  const child = spawn(executable, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let stderr = ''
  let stdout = ''
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString()
  })
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString()
  })
  const exit = once(child, 'close').then(([code, signal]) => (signal ?? code) as number | string)
  return { child, stderr: () => stderr, stdout: () => stdout, exit }
}

/** A plugin entity as Kong sends it, with the nulls that it fills in. */
export function tokenLimitConfig(
  id: string,
  limit: number,
  more: Readonly<Record<string, unknown>> = {},
): PluginConfig {
  const config = {
    __plugin_id: id,
    __seq__: 3,
    __key__: `plugins:llm-token-limit:${id}::::ws`,
    __ws_id: 'ws',
    route_id: `route-of-${id}`,
    store: 'memory',
    redis: null,
    nodes: null,
    limits: [{ name: `limit-${id}`, limit, window_seconds: 60, match: null, burst: null }],
    ...more,
  }
  return { plugin: 'llm-token-limit', id, seq: 3, config: JSON.stringify(config) }
}

export const PROMPT = 'prompt-canary-a8f3'

const QUESTION = { model: 'gpt-4o', max_tokens: 50, messages: [{ role: 'user', content: PROMPT }] }

/** A request as llm-edge hands it over. */
export function llmRequest(change: Partial<Facts> = {}, content: object = QUESTION): KongRequest {
  const body = Buffer.from(JSON.stringify(content))
  const requestId = randomBytes(16).toString('hex')
  const request = createRequest({ method: 'POST', uri: '/v1/chat/completions', requestId, body })
  const facts: Facts = {
    version: 1,
    request_id: requestId,
    method: 'POST',
    path: '/v1/chat/completions',
    address: '192.0.2.1',
    headers: { 'content-type': 'application/json', 'accept-encoding': 'identity' },
    header_count: 2,
    consumer: { id: 'alice', username: 'alice' },
    credential: { id: 'k', fingerprint: 'f' },
    body_in: 'base64',
    body_size: body.length,
    body_base64: body.toString('base64'),
    ...change,
  }
  request.shared.set(FACTS_KEY, facts)
  return request
}

/** What `llm-edge` leaves for the log phase of a request that was answered. */
export function answered(
  request: KongRequest,
  usage: Readonly<Record<string, number>>,
  plugin = 'llm-token-limit',
): void {
  const key = entryKey(plugin)
  const report = {
    version: 1,
    status: 200,
    source: 'service',
    contacted: true,
    upstream_status: 200,
    completed: true,
    tap: { usage_json: JSON.stringify(usage), ended: 'final' },
  }
  request.shared.set(key, { ...(request.shared.get(key) as object), report })
}
