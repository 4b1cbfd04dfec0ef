/** Every plugin of the pack, loaded only when asked for. */

import type { KongPlugin } from './plugin.ts'

const PLUGINS: Readonly<Record<string, () => Promise<KongPlugin>>> = {
  'llm-audit-log': () => import('./plugins/llm-audit-log.ts'),
  'llm-api-key': () => import('./plugins/llm-api-key.ts'),
  'llm-scope': () => import('./plugins/llm-scope.ts'),
  'llm-gateway': () => import('./plugins/llm-gateway.ts'),
  'llm-token-limit': () => import('./plugins/llm-token-limit.ts'),
}

export const PLUGIN_NAMES: readonly string[] = Object.keys(PLUGINS)

/** Undefined when the pack has no plugin of that name. */
export async function loadPlugin(name: string): Promise<KongPlugin | undefined> {
  return Object.hasOwn(PLUGINS, name) ? PLUGINS[name]?.() : undefined
}

export async function loadPlugins(): Promise<readonly KongPlugin[]> {
  return Promise.all(Object.values(PLUGINS).map((load) => load()))
}
