/** Plugin instances: one for every plugin config and Kong worker, started by Kong when first needed. */

import { randomInt } from 'node:crypto'
import type { Instance, Module } from 'kong-pdk/lib/mod.js'
import type { Logger } from '../../../policies/policy.ts'

/** Kong keeps ids over a restart of this process: with ids from 0, one route silently ran another one's config. */
export const MAX_FIRST_ID = 2 ** 47

/** An answer that Kong takes for an error. */
export class RpcError extends Error {
  override name = 'RpcError'
}

export interface Instances {
  readonly size: number
  /** @throws {RpcError} */
  start(name: unknown, config: unknown): { readonly Name: string; readonly Id: number; readonly StartTime: number }
  /** Makes an instance that Kong does not know of. @throws {RpcError} */
  try(name: unknown, config: unknown): void
  /** @throws {RpcError} that makes Kong start a new instance. */
  find(id: unknown): Instance
  /** @throws {RpcError} */
  close(id: unknown): { readonly Name: string; readonly Id: number }
  /** Drops what nobody used for a minute, as the stock server does; Kong starts another one when needed. */
  sweep(): void
  clear(): void
}

export function createInstances(plugins: readonly Module[], logger: Logger): Instances {
  const byName = new Map(plugins.map((plugin) => [plugin.getName(), plugin]))
  const instances = new Map<number, Instance>()
  let nextId = randomInt(MAX_FIRST_ID)

  function find(id: unknown): Instance {
    const instance = typeof id === 'number' ? instances.get(id) : undefined
    // Kong looks for these words.
    if (instance === undefined) throw new RpcError(`no plugin instance #${Number(id)}`)
    return instance
  }

  function make(name: unknown, config: unknown): { readonly plugin: Module; readonly instance: Instance } {
    const plugin = typeof name === 'string' ? byName.get(name) : undefined
    if (plugin === undefined) throw new RpcError('no such plugin')
    try {
      return { plugin, instance: plugin.new(JSON.parse(String(config))) }
    } catch (error) {
      // Kong answers 500 to every request of this config, which is a shut door.
      const kind = error instanceof Error ? error.name : typeof error
      logger.error('instance not started', { plugin: plugin.getName(), kind })
      throw new RpcError('the instance could not be started')
    }
  }

  return {
    get size() {
      return instances.size
    },
    start(name, config) {
      const { plugin, instance } = make(name, config)
      const id = nextId++
      instances.set(id, instance)
      logger.info('instance started', { plugin: plugin.getName(), instance: id })
      return { Name: plugin.getName(), Id: id, StartTime: plugin.getLastStartInstanceTime() }
    },
    try: (name, config) => void make(name, config),
    find,
    close(id) {
      const instance = find(id)
      instances.delete(Number(id))
      instance.close()
      return { Name: instance.getName(), Id: Number(id) }
    },
    sweep() {
      for (const [id, instance] of instances) if (instance.isExpired()) instances.delete(id)
    },
    clear: () => instances.clear(),
  }
}
