/** The set `llm-gateway`: every policy of the pack from one config, in one event of the gateway. */

import { apiKey } from '../api-key/index.ts'
import { auditLog } from '../audit/index.ts'
import type { NamedInstance } from '../pipeline.ts'
import type { Deps, Policy } from '../policy.ts'
import type { PolicySet } from '../policy-set.ts'
import { checkRevocation } from '../revocation/fields.ts'
import type { Config, ConfigIssue, Fields } from '../schema/fields.ts'
import { scope } from '../scope/index.ts'
import { checkRedis } from '../stores/redis/config.ts'
import { tokenLimit } from '../token-limit/index.ts'
import { fields, type GatewayConfig, sharedBy, withRevocation, withStore } from './config.ts'

export const llmGateway: PolicySet<typeof fields> = {
  name: 'llm-gateway',
  fields,
  check,
  createAll: (config, deps) => membersOf(config).map((member) => member.create(deps)),
}

interface Member {
  readonly key: string
  readonly redis: readonly unknown[]
  check(): readonly ConfigIssue[]
  create(deps: Deps): NamedInstance
}

/** In the order in which they judge: who records sees all, and nothing is spent by who may not. */
function membersOf(config: GatewayConfig): readonly Member[] {
  const shared = sharedBy(config)
  const { audit, api_key: key, scope: scopes, token_limit: limit } = config
  return [
    audit === undefined ? undefined : member('audit', auditLog, audit),
    key === undefined ? undefined : member('api_key', apiKey, withStore(withRevocation(key, shared), shared.redis)),
    scopes === undefined ? undefined : member('scope', scope, withRevocation(scopes, shared)),
    limit === undefined
      ? undefined
      : member('token_limit', tokenLimit, withStore(withRevocation(limit, shared), shared.redis)),
  ].filter((one) => one !== undefined)
}

interface Connecting {
  readonly redis?: unknown
  readonly revocation?: { readonly redis?: unknown }
}

function member<F extends Fields>(key: string, policy: Policy<F>, config: Config<F> & Connecting): Member {
  return {
    key,
    redis: [config.redis, config.revocation?.redis],
    check: () =>
      (policy.check?.(config) ?? []).map(({ path, message }) => ({
        path: path === '' ? key : `${key}.${path}`,
        message,
      })),
    create: (deps) => ({ name: policy.name, instance: policy.create(config, deps) }),
  }
}

/** What the field kinds cannot say. What is shared is judged once, not in every member again. */
function check(config: GatewayConfig): readonly ConfigIssue[] {
  const { redis, revocation } = sharedBy(config)
  const wrongRedis = redis === undefined ? [] : checkRedis(redis, 'redis')
  if (wrongRedis.length > 0) return wrongRedis
  const wrongRevocation = revocation === undefined ? [] : checkRevocation(revocation, 'revocation')
  if (wrongRevocation.length > 0) return wrongRevocation
  const members = membersOf(config)
  if (members.length === 0) return [{ path: 'token_limit', message: 'or `audit`, `api_key` or `scope` must be set' }]
  const issues = members.flatMap((one) => one.check())
  if (revocation !== undefined && members.every(({ key }) => key === 'audit'))
    issues.push({ path: 'revocation', message: 'needs `api_key`, `scope` or `token_limit`' })
  if (redis !== undefined && !members.some((one) => one.redis.includes(redis)))
    issues.push({ path: 'redis', message: 'is used by nothing in this config' })
  return issues
}

export type { GatewayConfig } from './config.ts'
