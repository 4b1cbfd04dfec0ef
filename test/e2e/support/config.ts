/** Kong configurations of the tests: one service, a route per case, each with its own limits. */

import type { KongConfig, PluginConfig } from './kong.ts'

export const KEYS = { alice: 'alice-e2e-key', bob: 'bob-e2e-key' } as const

export interface RouteOptions {
  /** Rules of `llm-token-limit`; none: the plugin is left out. */
  readonly limits?: readonly object[]
  /** Further fields of `llm-token-limit`. */
  readonly settings?: object
  /** Default: with the companions key, edge and guard. */
  readonly edge?: object | false
  readonly guard?: false
  readonly keyed?: false
  readonly extra?: readonly PluginConfig[]
  /** Further fields of the route. */
  readonly route?: object
}

/** Tokens per minute for each consumer, plenty by default. */
export function tokens(limit = 1_000_000_000, rule: object = {}): object {
  return { name: 'tokens', limit, window_seconds: 60, ...rule }
}

/** Further fields of a route beside its plugins. */
export interface RouteFields {
  readonly plugins: readonly PluginConfig[]
  readonly [field: string]: unknown
}

/** A service with routes by name: `/<name>/v1/...` reaches `/v1/...` of the upstream. */
export function serviceOf(
  upstream: string,
  routes: Readonly<Record<string, readonly PluginConfig[] | RouteFields>>,
): object {
  return {
    name: 'llm',
    url: upstream,
    retries: 0,
    routes: Object.entries(routes).map(([name, route]) => ({
      name,
      paths: [`/${name}`],
      strip_path: true,
      ...('plugins' in route ? route : { plugins: route }),
    })),
  }
}

export function configOf(upstream: string, routes: Readonly<Record<string, RouteOptions>>): KongConfig {
  const fields = Object.entries(routes).map(([name, options]): [string, RouteFields] => [
    name,
    { ...options.route, plugins: pluginsOf(options) },
  ])
  return {
    _format_version: '3.0',
    services: [serviceOf(upstream, Object.fromEntries(fields))],
    consumers: [
      { username: 'alice', custom_id: 'a-1', tags: ['free'], keyauth_credentials: [{ key: KEYS.alice }] },
      { username: 'bob', tags: ['gold'], keyauth_credentials: [{ key: KEYS.bob }] },
    ],
  }
}

function pluginsOf(options: RouteOptions): PluginConfig[] {
  const plugins: PluginConfig[] = []
  if (options.keyed !== false) {
    plugins.push({ name: 'llm-key' })
    plugins.push({ name: 'key-auth', config: { key_names: ['apikey'], hide_credentials: true } })
  }
  if (options.edge !== false) plugins.push({ name: 'llm-edge', config: options.edge ?? {} })
  if (options.limits !== undefined)
    plugins.push({ name: 'llm-token-limit', config: { ...options.settings, limits: options.limits } })
  if (options.guard !== false) plugins.push({ name: 'llm-guard', config: { require: ['llm-token-limit'] } })
  return [...plugins, ...(options.extra ?? [])]
}
