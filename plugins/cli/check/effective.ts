/**
 * Which instance of each plugin Kong runs for a request: kong/runloop/plugins_iterator.lua of 3.9. One instance a plugin
 * name, the most specific one; an instance that is switched off is as if it were not there, so a wider one runs instead.
 */

import type { Consumer, KongConfig, Plugin, Route } from './entities.ts'
import { AUTH_PLUGINS, PRIORITIES } from './priorities.ts'

export type Effective = ReadonlyMap<string, Plugin>

export interface PluginIndex {
  /** @param consumer undefined for callers who have no plugin of their own */
  effective(route: Route, consumer?: Consumer): Effective
}

export function indexPlugins({ plugins }: Pick<KongConfig, 'plugins'>): PluginIndex {
  const identities = new Map<object, number>()
  const identity = (entity: object | undefined): string => {
    if (entity === undefined) return ''
    const known = identities.get(entity) ?? identities.size + 1
    identities.set(entity, known)
    return String(known)
  }
  const key = (route?: object, service?: object, consumer?: object) =>
    `${identity(route)}:${identity(service)}:${identity(consumer)}`

  const byName = new Map<string, Map<string, Plugin>>()
  for (const plugin of plugins) {
    // Kong OSS has no consumer groups and takes no such plugin.
    if (!plugin.enabled || plugin.group !== undefined) continue
    const instances = byName.get(plugin.name) ?? new Map<string, Plugin>()
    byName.set(plugin.name, instances)
    instances.set(key(plugin.route, plugin.service, plugin.consumer), plugin)
  }

  function choose(instances: ReadonlyMap<string, Plugin>, route: Route, consumer?: Consumer): Plugin | undefined {
    const { service } = route
    const order = [
      service !== undefined && consumer !== undefined && key(route, service, consumer),
      consumer !== undefined && key(route, undefined, consumer),
      service !== undefined && consumer !== undefined && key(undefined, service, consumer),
      service !== undefined && key(route, service),
      consumer !== undefined && key(undefined, undefined, consumer),
      key(route),
      service !== undefined && key(undefined, service),
      key(),
    ]
    for (const candidate of order) {
      const found = candidate === false ? undefined : instances.get(candidate)
      if (found !== undefined) return found
    }
    return undefined
  }

  return {
    effective(route, consumer) {
      const anonymous = new Map<string, Plugin>()
      for (const [name, instances] of byName) {
        const plugin = choose(instances, route)
        if (plugin !== undefined) anonymous.set(name, plugin)
      }
      if (consumer === undefined) return anonymous
      // Kong picks instances one by one in order of priority: before authentication it knows no consumer.
      const known = Math.max(
        ...AUTH_PLUGINS.filter((name) => anonymous.has(name)).map(priorityOf),
        priorityOf('llm-api-key'),
      )
      const chosen = new Map<string, Plugin>()
      for (const [name, instances] of byName) {
        const plugin = choose(instances, route, priorityOf(name) < known ? consumer : undefined)
        if (plugin !== undefined) chosen.set(name, plugin)
      }
      return chosen
    },
  }
}

/** Of a plugin that nobody knows: as late as can be. */
export function priorityOf(name: string): number {
  return PRIORITIES[name] ?? 0
}
