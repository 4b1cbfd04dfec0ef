/** The config of `llm-gateway`: that of every policy under one roof, and what they share said once. */

import { apiKey } from '../api-key/index.ts'
import { auditLog } from '../audit/index.ts'
import { type RevocationConfig, revocationFields } from '../revocation/fields.ts'
import { choice, record } from '../schema/declare.ts'
import { type Config, defineFields, type Field } from '../schema/fields.ts'
import { scope } from '../scope/index.ts'
import { type RedisConfig, redisFields } from '../stores/redis/config.ts'
import { tokenLimit } from '../token-limit/index.ts'

const inheritedStore = {
  type: choice('memory', 'redis'),
  description:
    'Where the state lives: `memory` of this process, or `redis`. Unset: `redis` where `redis` is set at the top, else `memory`.',
} as const

/** A store that is not named is the one at the top, so it has no default of its own. */
function inheriting<F extends { readonly store: Field }>(fields: F) {
  return { ...fields, store: inheritedStore }
}

const revocation = {
  type: record(inheriting(revocationFields)),
  description: 'The deny list of this policy. Unset: the one at the top.',
} as const

export const fields = defineFields({
  redis: {
    type: record(redisFields),
    description: 'The connection of every member that names none of its own; its fields as in `llm-token-limit`.',
  },
  revocation: {
    type: record(inheriting(revocationFields)),
    description:
      'The deny list of every member that names none of its own; its fields as in `llm-token-limit`. Unset: none.',
  },
  audit: {
    type: record(auditLog.fields),
    description: 'Runs `llm-audit-log` with these options. Unset: nothing is recorded.',
  },
  api_key: {
    type: record({ ...inheriting(apiKey.fields), revocation }),
    description: 'Runs `llm-api-key` with these options. Unset: keys are left to the gateway.',
  },
  scope: {
    type: record({ ...scope.fields, revocation }),
    description: 'Runs `llm-scope` with these options. Unset: everybody may call everything.',
  },
  token_limit: {
    type: record({ ...inheriting(tokenLimit.fields), revocation }),
    description: 'Runs `llm-token-limit` with these options. Unset: no limits.',
  },
})

export type GatewayConfig = Config<typeof fields>

/** What members inherit. */
export interface Shared {
  readonly redis: RedisConfig | undefined
  readonly revocation: RevocationConfig | undefined
}

interface Stored {
  readonly store?: 'memory' | 'redis'
  readonly redis?: RedisConfig
}

export function sharedBy({ redis, revocation }: GatewayConfig): Shared {
  return { redis, revocation: revocation === undefined ? undefined : withStore(revocation, redis) }
}

/** The same config with its store named, and with the connection of that. */
export function withStore<C extends Stored>(config: C, redis: RedisConfig | undefined) {
  const store: 'memory' | 'redis' = config.store ?? (redis === undefined ? 'memory' : 'redis')
  const connection = config.redis ?? (store === 'redis' ? redis : undefined)
  return { ...config, store, ...(connection === undefined ? {} : { redis: connection }) }
}

/** The same config with the deny list that applies to it. */
export function withRevocation<C extends { readonly revocation?: NonNullable<GatewayConfig['revocation']> }>(
  { revocation: own, ...config }: C,
  shared: Shared,
) {
  const revocation = own === undefined ? shared.revocation : withStore(own, shared.redis)
  return { ...config, ...(revocation === undefined ? {} : { revocation }) }
}
