/** One Kong worker with its external plugins: `plugin_servers/plugin.lua` and `bridge_loop` of `mp_rpc.lua`. */

import { pack } from './lua.ts'
import { callPdk, type PdkPhase, RequestEnded, stepMethod } from './pdk.ts'
import type { KongRequest } from './request.ts'
import { createRpc, LuaError, NoAnswer, type RpcOptions, UNPACKABLE } from './rpc.ts'

/** A plugin entity of Kong's config. */
export interface PluginConfig {
  readonly plugin: string
  /** `__plugin_id`: by it Kong keeps the instance. */
  readonly id: string
  readonly seq: number
  /** JSON text, Kong's private keys included. */
  readonly config: string
}

/** What became of a phase. `failed_open`: the plugin could not be asked, and Kong lets the request pass. */
export type PhaseEnd = 'done' | 'exited' | 'error_500' | 'failed_open'

export interface Worker {
  readonly rpc: ReturnType<typeof createRpc>
  access(request: KongRequest, plugin: PluginConfig): Promise<PhaseEnd>
  log(request: KongRequest, plugin: PluginConfig): Promise<PhaseEnd>
  /** The server's id of this plugin, which is started when it is not. @throws {LuaError} */
  instanceId(plugin: PluginConfig): Promise<number>
  /** Seeds the cache of instances, as if this worker had started one before. */
  rememberInstance(plugin: PluginConfig, instanceId: number): void
  /** Errors that Kong wrote to its log, newest last. */
  readonly errors: readonly string[]
  close(): void
}

interface StepIn {
  readonly Data: 'ret' | { readonly Method: string; readonly Args: readonly unknown[] }
  readonly EventId: number
}

export function createWorker(options: RpcOptions): Worker {
  const rpc = createRpc(options)
  const instances = new Map<string, { id: Promise<number>; seq: number; plugin: string }>()
  const errors: string[] = []

  async function instanceId(plugin: PluginConfig): Promise<number> {
    const known = instances.get(plugin.id)
    if (known !== undefined && known.seq === plugin.seq) return known.id
    const started = rpc
      .call('plugin.StartInstance', { Name: plugin.plugin, Config: plugin.config })
      .then((status) => (status as { readonly Id: number }).Id)
    instances.set(plugin.id, { id: started, seq: plugin.seq, plugin: plugin.plugin })
    try {
      const id = await started
      if (known !== undefined) await rpc.call('plugin.CloseInstance', await known.id).catch(ignoreNoAnswer)
      return id
    } catch (error) {
      instances.delete(plugin.id)
      // `error(err)` in get_instance_id.
      throw new LuaError(error instanceof Error ? error.message : 'starting instance')
    }
  }

  async function bridgeLoop(request: KongRequest, phase: PdkPhase, id: number): Promise<void> {
    let step = (await rpc.call('plugin.HandleEvent', { InstanceId: id, EventName: phase })) as StepIn
    const eventId = step.EventId
    while (step.Data !== 'ret') {
      const { Method: method, Args: args } = step.Data
      const result = callPdk(request, phase, method, args)
      const argument = result === UNPACKABLE ? UNPACKABLE : pack({ EventId: eventId, Data: result })
      step = (await rpc.call(stepMethod(method, result), argument)) as StepIn
    }
  }

  async function handleEvent(request: KongRequest, phase: PdkPhase, plugin: PluginConfig): Promise<PhaseEnd> {
    for (;;) {
      try {
        await bridgeLoop(request, phase, await instanceId(plugin))
        return 'done'
      } catch (error) {
        if (error instanceof RequestEnded) return 'exited'
        errors.push(error instanceof Error ? error.message : String(error))
        if (error instanceof NoAnswer && /no plugin instance/i.test(error.message)) {
          for (const [key, instance] of instances) if (instance.plugin === plugin.plugin) instances.delete(key)
          continue
        }
        if (error instanceof NoAnswer) return 'failed_open'
        if (!(error instanceof LuaError)) throw error
        if (phase === 'access') {
          request.source = 'error'
          request.reply = { status: 500, headers: {}, body: '' }
        }
        return 'error_500'
      }
    }
  }

  return {
    rpc,
    access: (request, plugin) => handleEvent(request, 'access', plugin),
    log: (request, plugin) => handleEvent(request, 'log', plugin),
    instanceId,
    rememberInstance(plugin, id) {
      instances.set(plugin.id, { id: Promise.resolve(id), seq: plugin.seq, plugin: plugin.plugin })
    },
    errors,
    close: () => rpc.close(),
  }
}

function ignoreNoAnswer(error: unknown): void {
  // Kong does not care either: another worker may have closed it first.
  if (!(error instanceof NoAnswer)) throw error
}
