/** What all nodes that share a limit are given. Loads without a test runner: gateways do so in processes of their own. */

/** Credentials by the ids that every gateway knows them by. */
export const CREDENTIALS = [
  '0b1c6b2e-6a5a-4d0e-9c3e-5f8d2f6f0a01',
  '0b1c6b2e-6a5a-4d0e-9c3e-5f8d2f6f0a02',
  '0b1c6b2e-6a5a-4d0e-9c3e-5f8d2f6f0a03',
] as const
export type Credential = (typeof CREDENTIALS)[number]

/** Calls that a credential may make in an hour. */
export const SHARED_LIMIT = 120

export interface RedisAddress {
  readonly host: string
  readonly port: number
}

/** The config of `llm-token-limit` on every node, as an operator writes it. */
export function sharedLimits({ host, port }: RedisAddress, nodes: number): Readonly<Record<string, unknown>> {
  const hour = { window_seconds: 3600 }
  return {
    store: 'redis',
    // A machine under load is not an outage.
    redis: { host, port, command_timeout_ms: 3_000 },
    nodes,
    limits: [
      { ...hour, name: 'calls', count: 'requests', limit: SHARED_LIMIT, per: ['credential'] },
      { ...hour, name: 'tokens', limit: 10_000_000, per: ['global'] },
    ],
  }
}
