/** The pipeline of every plugin config that this process was told of, so that a request can be settled without Kong's event. */

import type { Pipeline } from '../../policies/pipeline.ts'

export interface Pipelines {
  /** A later one of the same plugin and id replaces an earlier one, as in Kong. */
  remember(plugin: string, pluginId: string, pipeline: Pipeline): void
  find(plugin: string, pluginId: string): Pipeline | undefined
}

/** Beyond so many the one that was not used longest goes; Kong's companion then sends its config again. */
const MOST = 10_000

export function createPipelines(): Pipelines {
  const known = new Map<string, Pipeline>()
  const keyOf = (plugin: string, pluginId: string) => `${plugin} ${pluginId}`

  function keep(key: string, pipeline: Pipeline): void {
    known.delete(key)
    known.set(key, pipeline)
  }

  return {
    remember(plugin, pluginId, pipeline) {
      keep(keyOf(plugin, pluginId), pipeline)
      if (known.size <= MOST) return
      const [oldest] = known.keys()
      if (oldest !== undefined) known.delete(oldest)
    },
    find(plugin, pluginId) {
      const key = keyOf(plugin, pluginId)
      const pipeline = known.get(key)
      if (pipeline !== undefined) keep(key, pipeline)
      return pipeline
    },
  }
}
