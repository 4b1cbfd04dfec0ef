/** The routes that are compared: they differ in their plugins alone. */

import { join } from 'node:path'
import { type RouteOptions, tokens } from '../../e2e/support/config.ts'
import type { PluginConfig } from '../../e2e/support/kong.ts'
import { REDIS_PORT } from '../../e2e/support/ports.ts'

export interface Route {
  readonly title: string
  readonly options: RouteOptions
  /** What it must reach, as a share of the limiter's requests a second. */
  readonly least?: number
  /** Whether its p50 may be no worse than the limiter's. */
  readonly soon?: true
}

export const LIMITER = 'limited'

const bare = { keyed: false, edge: false, guard: false } as const
const keyAuth = { name: 'key-auth', config: { key_names: ['authorization'], hide_credentials: true } }
const connection = { host: '127.0.0.1', port: REDIS_PORT }
const limiter = {
  name: 'rate-limiting',
  config: { minute: 1_000_000_000, limit_by: 'consumer', policy: 'redis', redis: connection },
}
const limits = [tokens(1_000_000_000_000)]
// A machine under full load is no outage.
const redis = { ...connection, command_timeout_ms: 2_000 }
const store = { store: 'redis', redis }
const apiKey = { rotation: { on_unknown_age: 'allow' } }
const scope = { static: { alice: ['llm:*'] } }

function auditTo(path: string): object {
  return { sinks: [{ type: 'file', path }], content: 'redacted', redaction: {} }
}

function requiring(...plugins: readonly PluginConfig[]): RouteOptions {
  const guard = { name: 'llm-guard', config: { require: plugins.map(({ name }) => name) } }
  return { guard: false, extra: [...plugins, guard] }
}

/** In the order in which they are loaded and reported. @param folder for audit files */
export function routesIn(folder: string): Readonly<Record<string, Route>> {
  return {
    plain: { title: 'no plugin', options: bare },
    keyed: { title: 'key-auth', options: { ...bare, extra: [keyAuth] } },
    [LIMITER]: { title: 'key-auth + rate-limiting (redis)', options: { ...bare, extra: [keyAuth, limiter] } },
    pack: { title: 'key-auth + companions + llm-token-limit', options: { limits }, least: 1, soon: true },
    redis: {
      title: 'llm-token-limit with Redis',
      options: { limits, settings: store },
      least: 1,
      soon: true,
    },
    gateway: {
      title: 'llm-gateway with every policy (redis, content: redacted, file sink)',
      options: requiring({
        name: 'llm-gateway',
        config: {
          redis,
          revocation: {},
          audit: auditTo(join(folder, 'gateway.ndjson')),
          api_key: apiKey,
          scope,
          token_limit: { limits },
        },
      }),
      least: 0.8,
    },
    singles: {
      title: 'the four single plugins',
      options: requiring(
        { name: 'llm-audit-log', config: auditTo(join(folder, 'singles.ndjson')) },
        { name: 'llm-api-key', config: { ...apiKey, ...store, revocation: store } },
        { name: 'llm-scope', config: { ...scope, revocation: store } },
        { name: 'llm-token-limit', config: { limits, ...store, revocation: store } },
      ),
      least: 0.5,
    },
  }
}
