/** The Kong that the conformance scenarios ask: one service, the plugins under test, and their companions. */

import type { GatewaySetup } from '../../conformance/gateway.ts'
import type { KongConfig, PluginConfig } from './kong.ts'

/** The key of each consumer. */
export function keysOf({ consumers }: GatewaySetup): Readonly<Record<string, string>> {
  return Object.fromEntries(consumers.map(({ name }) => [name, `key-of-${name}`]))
}

/** @param edge fields of llm-edge */
export function configFor(setup: GatewaySetup, plugins: readonly PluginConfig[], edge: object = {}): KongConfig {
  const authorization = [`authorization:Bearer ${setup.upstreamKey}`]
  const keys = keysOf(setup)
  return {
    _format_version: '3.0',
    services: [
      {
        name: 'llm',
        url: setup.upstreamUrl,
        retries: 0,
        read_timeout: 5_000,
        routes: [{ name: 'llm', paths: ['/'], strip_path: false }],
        plugins: [
          { name: 'llm-key' },
          { name: 'key-auth', config: { key_names: ['apikey'], hide_credentials: true } },
          { name: 'llm-edge', config: edge },
          ...plugins,
          { name: 'llm-guard', config: { require: plugins.map(({ name }) => name) } },
          {
            name: 'request-transformer',
            config: { replace: { headers: authorization }, add: { headers: authorization } },
          },
        ],
      },
    ],
    consumers: setup.consumers.map(({ name, tags }) => ({
      username: name,
      tags,
      keyauth_credentials: [{ key: keys[name] }],
    })),
  }
}
