/** One Kong worker whose llm-edge asks in one message (`direct.lua`) and settles in batches (`settle.lua`). */

import { entryKey, FACTS_KEY, type Facts, type PluginEntry } from '../../../plugins/kong/shared-context.ts'
import { createChannels } from './channel.ts'
import { accessMessage, stepMessage } from './direct-message.ts'
import { callPdk, RequestEnded } from './pdk.ts'
import type { KongRequest } from './request.ts'
import { LuaError, NoAnswer, type RpcOptions, UNPACKABLE } from './rpc.ts'
import { createWorker, type PhaseEnd, type PluginConfig, type Worker } from './worker.ts'

interface Answer {
  readonly event?: number
  readonly error?: string
  readonly calls: ReadonlyArray<readonly [method: string, ...args: unknown[]]>
}

export interface DirectWorker extends Worker {
  /** Access phases that went Kong's own way. */
  readonly ownWay: number
  /** Shared connections that were opened. */
  readonly channels: number
}

export function createDirectWorker(options: RpcOptions): DirectWorker {
  const own = createWorker(options)
  const channels = createChannels(options)
  let ready = false
  let ownWay = 0

  async function throughKong(request: KongRequest, plugin: PluginConfig): Promise<PhaseEnd> {
    ownWay += 1
    const end = await own.access(request, plugin)
    if ((request.shared.get(entryKey(plugin.plugin)) as PluginEntry | undefined)?.batch) ready = true
    return end
  }

  /** The error of a server that has begun nothing. */
  async function decide(request: KongRequest, first: Buffer): Promise<string | undefined> {
    let message = first
    for (;;) {
      const { text, body } = await channels.exchange(message)
      const answer = JSON.parse(text) as Answer
      const last = follow(request, answer, body)
      if (answer.event === undefined) return answer.error
      if (last === UNPACKABLE) message = stepMessage(answer.event, undefined, 'request body did not fit')
      else message = stepMessage(answer.event, last)
    }
  }

  async function access(request: KongRequest, plugin: PluginConfig): Promise<PhaseEnd> {
    const facts = request.shared.get(FACTS_KEY) as Facts | undefined
    if (!ready || facts === undefined) return throughKong(request, plugin)
    const body = facts.body_base64 === undefined ? undefined : Buffer.from(facts.body_base64, 'base64')
    try {
      const unbegun = await decide(request, accessMessage(await own.instanceId(plugin), request.shared, body))
      if (unbegun === undefined) return 'done'
      ready = false
      return throughKong(request, plugin)
    } catch (error) {
      if (error instanceof RequestEnded) return 'exited'
      if (!(error instanceof NoAnswer || error instanceof LuaError || error instanceof SyntaxError)) throw error
      ready = false
      request.source = 'exit'
      request.reply = { status: 503, headers: {}, body: '{"error":{"code":"policy_unavailable"}}' }
      return 'exited'
    }
  }

  async function settle(plugin: PluginConfig, record: object): Promise<void> {
    const send = async (configs: readonly object[]) =>
      (await own.rpc.call('portcullis.Settle', JSON.stringify({ version: 1, records: [record], configs }))) as {
        readonly unknown: readonly number[]
      }
    const { unknown } = await send([])
    if (unknown.length > 0) await send([{ plugin: plugin.plugin, config: plugin.config }])
  }

  return {
    ...own,
    access,
    async log(request, plugin) {
      const entry = request.shared.get(entryKey(plugin.plugin)) as PluginEntry | undefined
      if (entry?.batch !== true) return own.log(request, plugin)
      const { mark, protocol, reservations, report } = entry
      if (reservations === undefined) return 'done'
      try {
        await settle(plugin, { plugin: mark.plugin, plugin_id: mark.plugin_id, protocol, reservations, report })
        return 'done'
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error
        return 'failed_open'
      }
    },
    get ownWay() {
      return ownWay
    },
    get channels() {
      return channels.opened
    },
    close() {
      channels.close()
      own.close()
    },
  }
}

/** The result of the last call. */
function follow(request: KongRequest, answer: Answer, body: Buffer | undefined): unknown {
  let last: unknown
  for (const [method, ...args] of answer.calls)
    last = callPdk(request, 'access', method, method === 'kong.service.request.set_raw_body' ? [body] : args)
  return last
}
