/** Kong with llm-scope on routes of its own, for one consumer with a key. */

import { IN_IMAGE } from './environment.ts'
import type { KongConfig, PluginConfig } from './kong.ts'

/** Both plugins of the plugin server in one process, as an operator adds them to kong.env. */
export const ENV = {
  KONG_PLUGINS: 'bundled,llm-key,llm-edge,llm-guard,llm-token-limit,llm-scope',
  KONG_PLUGINSERVER_NAMES: 'llm-token-limit,llm-scope',
  KONG_PLUGINSERVER_LLM_SCOPE_SOCKET: IN_IMAGE.socket,
  KONG_PLUGINSERVER_LLM_SCOPE_QUERY_CMD: `${IN_IMAGE.server} dump llm-scope`,
}

export const KEY = 'key-of-ada'

/** Whoever has no key may have a token. */
export const ANONYMOUS_OR_KEY: readonly PluginConfig[] = [
  { name: 'llm-key' },
  { name: 'key-auth', config: { key_names: ['apikey'], hide_credentials: true, anonymous: 'guest' } },
]

export const AUTH: readonly PluginConfig[] = [
  { name: 'llm-key' },
  { name: 'key-auth', config: { key_names: ['apikey'], hide_credentials: true } },
]

export function guarded(scope: object, ...plugins: readonly PluginConfig[]): PluginConfig[] {
  return guardedBy({ name: 'llm-scope', config: scope }, ...plugins)
}

/** @param judge decides on scopes, and must have done so */
export function guardedBy(judge: PluginConfig, ...plugins: readonly PluginConfig[]): PluginConfig[] {
  return guardedByAll([judge], ...plugins)
}

/** @param judges each must have decided */
export function guardedByAll(judges: readonly PluginConfig[], ...plugins: readonly PluginConfig[]): PluginConfig[] {
  const guard = { name: 'llm-guard', config: { require: judges.map(({ name }) => name) } }
  return [...plugins, { name: 'llm-edge' }, ...judges, guard]
}

/** What the scenarios of scopes ask: `/...` as it came, `/strip/...` without the prefix. */
export function scopeRoutes(plugins: readonly PluginConfig[]): readonly Route[] {
  return [
    { name: 'llm', path: '/', strip: false, plugins },
    { name: 'strip', path: '/strip', strip: true, plugins },
  ]
}

interface Route {
  readonly name: string
  readonly path: string
  readonly strip: boolean
  readonly plugins: readonly PluginConfig[]
}

export function configOf(upstream: string, routes: readonly Route[], tags: readonly string[]): KongConfig {
  return {
    _format_version: '3.0',
    services: [
      {
        name: 'llm',
        url: upstream,
        retries: 0,
        routes: routes.map(({ name, path, strip, plugins }) => ({ name, paths: [path], strip_path: strip, plugins })),
      },
    ],
    consumers: [
      { username: 'guest', tags: ['llm:*'] },
      { username: 'ada', tags, keyauth_credentials: [{ key: KEY }] },
    ],
  }
}
