/** Nodes of every kind that share a limit, each a process of its own. */

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { entryKey, type PluginEntry } from '../../plugins/kong/shared-context.ts'
import { answered, llmRequest, startServer, tokenLimitConfig } from '../plugins/kong/process-harness.ts'
import { createWorker } from '../support/kong-client/worker.ts'
import type { Model } from '../support/model/index.ts'
import type { Answer, SharingNode } from './sharing.ts'
import type { Credential } from './sharing-setup.ts'

export interface StartedNode extends SharingNode {
  /** Tokens that its answers have used, unless a model knows them. */
  used(): number
  stop(): Promise<void>
}

/** A `portcullis-kong` server, asked by a stand-in for Kong. */
export async function startPluginServer(
  name: string,
  options: { readonly command: string; readonly folder: string; readonly tokenLimit: object },
): Promise<StartedNode> {
  const socket = join(options.folder, name)
  const server = await startServer(options.command, socket)
  const worker = createWorker({ socket })
  const plugin = tokenLimitConfig(name, 1, { ...options.tokenLimit })
  const usage = { prompt_tokens: 11, completion_tokens: 4 }
  let settled = 0
  return {
    name,
    async ask(credential) {
      const request = llmRequest({ credential: { id: credential, fingerprint: 'f' } })
      const end = await worker.access(request, plugin)
      if (end === 'exited') return { status: request.reply?.status ?? 0, remaining: Number.NaN }
      if (end !== 'done') return { status: 0, remaining: Number.NaN }
      const entry = request.shared.get(entryKey('llm-token-limit')) as PluginEntry | undefined
      const headers = JSON.parse(String(entry?.reply_headers ?? '[]')) as string[]
      const at = headers.indexOf('x-ratelimit-remaining-requests')
      const remaining = at === -1 ? undefined : headers[at + 1]
      answered(request, usage)
      if ((await worker.log(request, plugin)) !== 'done') return { status: 0, remaining: Number.NaN }
      settled++
      return { status: 200, remaining: Number(remaining ?? Number.NaN) }
    },
    used: () => settled * (usage.prompt_tokens + usage.completion_tokens),
    async stop() {
      worker.close()
      server.child.kill('SIGKILL')
      await server.exit
    },
  }
}

/** A gateway that a module of its own starts, given `setup` as JSON; it reports the URL and ends when it is let go. */
export async function startGatewayProcess(name: string, module: URL, setup: object): Promise<StartedNode> {
  const child = fork(module, [JSON.stringify(setup)], {
    execArgv: ['--import', 'tsx'],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const ended = once(child, 'exit')
  const failed = ended.then(([code]) => {
    throw new Error(`${name} ended with ${code}`)
  })
  const [url] = (await Promise.race([once(child, 'message'), failed])) as [string]
  failed.catch(() => undefined)
  return {
    name,
    ask: (credential) => askGateway(url, keyOf(credential)),
    used: () => 0,
    async stop() {
      child.disconnect()
      await ended
    },
  }
}

/** What callers of a credential send. */
export function keyOf(credential: Credential): string {
  return `${credential}:secret`
}

async function askGateway(url: string, key: string): Promise<Answer> {
  const reply = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'gpt-4o', max_tokens: 50, messages: [{ role: 'user', content: 'Hi' }] }),
  })
  await reply.arrayBuffer()
  return { status: reply.status, remaining: Number(reply.headers.get('x-ratelimit-remaining-requests') ?? Number.NaN) }
}

/** Tokens that the model says it was paid for. */
export function billedBy(model: Model): number {
  return model.requests.reduce(
    (sum, { generation }) => sum + (generation === undefined ? 0 : generation.inputTokens + generation.pieces.length),
    0,
  )
}
