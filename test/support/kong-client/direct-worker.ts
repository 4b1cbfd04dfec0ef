/** One Kong worker whose llm-edge asks in one message (`direct.lua`) and settles in batches (`settle.lua`). */

import { entryKey, FACTS_KEY, type Facts, type PluginEntry } from '../../../plugins/kong/shared-context.ts'
import { createChannels } from './channel.ts'
import { accessMessage, type DirectAnswer, readAnswer, stepMessage } from './direct-message.ts'
import { callPdk, RequestEnded } from './pdk.ts'
import type { KongRequest } from './request.ts'
import { LuaError, NoAnswer, type RpcOptions, UNPACKABLE } from './rpc.ts'
import { settleMessage } from './settle-message.ts'
import { createWorker, type PhaseEnd, type PluginConfig, type Worker } from './worker.ts'

export interface DirectWorker extends Worker {
  /** Access phases that went Kong's own way. */
  readonly ownWay: number
  /** Shared connections that were opened. */
  readonly channels: number
}

export function createDirectWorker(options: RpcOptions): DirectWorker {
  const own = createWorker(options)
  const channels = createChannels(options)
  const taps: Taps = new Map()
  /** Requests that the server knows from an earlier plugin. */
  const told = new WeakSet<KongRequest>()
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
      const answer = readAnswer(await channels.exchange(message))
      const last = follow(request, answer, taps)
      if (answer.event === undefined) return answer.error
      if (last === UNPACKABLE) message = stepMessage(answer.event, undefined, 'request body did not fit')
      else message = stepMessage(answer.event, last)
    }
  }

  async function access(request: KongRequest, plugin: PluginConfig): Promise<PhaseEnd> {
    const facts = request.shared.get(FACTS_KEY) as Facts | undefined
    if (!ready || facts === undefined) return throughKong(request, plugin)
    const body = facts.body_base64 === undefined ? undefined : Buffer.from(facts.body_base64, 'base64')
    const ask = async (what: Uint8Array | 'same' | undefined) =>
      decide(request, accessMessage(await own.instanceId(plugin), request.shared, what, [...taps.keys()]))
    try {
      let unbegun = told.has(request) ? await ask('same') : 'not told yet'
      if (unbegun !== undefined) unbegun = await ask(body)
      told.add(request)
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

  async function settle(
    requestId: string,
    plugin: PluginConfig,
    { mark, protocol, reservations, report }: PluginEntry,
  ): Promise<void> {
    const send = async (message: Parameters<typeof settleMessage>[0]) =>
      (await own.rpc.call('portcullis.Settle', settleMessage(message))) as { readonly unknown: readonly number[] }
    const ended = [{ request: requestId, plugins: [mark.plugin, mark.plugin_id], report }]
    const { unknown } = await send({ ended })
    if (unknown.length === 0) return
    const records = [{ plugin: mark.plugin, plugin_id: mark.plugin_id, protocol, reservations, report }]
    await send({ records, configs: [{ plugin: plugin.plugin, config: plugin.config }] })
  }

  return {
    ...own,
    access,
    async log(request, plugin) {
      const entry = request.shared.get(entryKey(plugin.plugin)) as PluginEntry | undefined
      if (entry?.batch !== true) return own.log(request, plugin)
      if (entry.reservations === undefined) return 'done'
      try {
        await settle((request.shared.get(FACTS_KEY) as Facts).request_id, plugin, entry)
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

/** The texts of taps that this worker was told, by their ids: each comes once. */
type Taps = Map<string, string>

function withTap(entry: unknown, taps: Taps): unknown {
  const { tap_id: id, ...rest } = (entry ?? {}) as { readonly tap_id?: string; readonly tap?: string }
  if (id === undefined) return entry
  const tap = rest.tap ?? taps.get(id)
  if (tap === undefined) throw new LuaError('a tap that nobody told of')
  taps.set(id, tap)
  return { ...rest, tap }
}

/** The result of the last call. */
function follow(request: KongRequest, answer: DirectAnswer, taps: Taps): unknown {
  let last: unknown
  for (const [method, first, second, ...others] of answer.calls)
    last = callPdk(request, 'access', method, [first, withTap(second, taps), ...others])
  return last
}
