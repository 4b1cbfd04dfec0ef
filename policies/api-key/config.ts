/** The config of `llm-api-key`: the one declaration, and the combinations that make no sense. */

import { checkRevocation, revocationFields } from '../revocation/fields.ts'
import { boolean, choice, integer, list, map, record, string } from '../schema/declare.ts'
import { type Config, type ConfigIssue, defineFields } from '../schema/fields.ts'
import { checkRedis, redisFields } from '../stores/redis/config.ts'
import { parseRange } from './address.ts'

const rotationFields = defineFields({
  max_age_days: {
    type: integer({ min: 30, max: 90 }),
    description: 'Days after which a key should have been rotated; 30 to 90.',
    default: 90,
  },
  grace_days: {
    type: integer({ min: 0, max: 30 }),
    description: 'Days after `max_age_days` for which a key still works.',
    default: 7,
  },
  warn_after_days: {
    type: integer({ min: 0, max: 90 }),
    description:
      'Days after which replies carry `x-api-key-expires-in`, the seconds left; an expiry is announced as long before.',
    default: 76,
  },
  age_from: {
    type: choice('tag', 'created_at'),
    description:
      "Where the age of a gateway's credential comes from when it has no tag `pc-issued:<date>`: from nowhere, or from the gateway's own time of creation. Kong without a database creates credentials anew whenever it loads its config.",
    default: 'tag',
  },
  on_unknown_age: {
    type: choice('refuse', 'allow'),
    description: 'What becomes of a credential whose age nobody knows.',
    default: 'refuse',
  },
})

const ownKeyFields = defineFields({
  pepper: {
    type: string({ minLength: 32, maxLength: 1024, secret: true }),
    description: 'Secret under which the registry keeps hashes of keys; whoever issues keys needs the same.',
    required: true,
  },
  old_peppers: {
    type: list(string({ minLength: 32, maxLength: 1024, secret: true }), { maxItems: 3 }),
    description: 'Earlier secrets, for keys that were issued under them.',
    default: [],
  },
  headers: {
    type: list(string({ maxLength: 128, pattern: { js: '^[a-z0-9-]+$', lua: '^[a-z0-9-]+$' } }), {
      minItems: 1,
      maxItems: 16,
    }),
    description:
      'Headers that may hold a key, in lower case. Behind `llm-key` on Kong, the one it moves keys to is enough and saves a round trip for each other.',
    default: ['authorization', 'x-api-key', 'api-key', 'x-goog-api-key', 'apikey'],
  },
  environments: {
    type: list(string({ maxLength: 16, pattern: { js: '^[a-z0-9]+$', lua: '^[a-z0-9]+$' } }), { maxItems: 16 }),
    description: 'Environments whose keys are taken, such as `live`. Empty: of any.',
    default: [],
  },
  cache_ms: {
    type: integer({ min: 10, max: 900 }),
    description:
      'Milliseconds for which an answer of the registry counts: the longest that a revocation, and a new key, take.',
    default: 500,
  },
  stale_seconds: {
    type: integer({ min: 0, max: 86_400 }),
    description: 'With `on_store_error: local`, seconds for which a key as last seen still works.',
    default: 300,
  },
})

const lockoutFields = defineFields({
  failures: {
    type: integer({ min: 1, max: 100_000 }),
    description: 'Wrong keys from one address (IPv6: one /64) after which it is locked out.',
    default: 20,
  },
  within_seconds: {
    type: integer({ min: 1, max: 86_400 }),
    description: 'Seconds within which they are counted.',
    default: 60,
  },
  lock_seconds: {
    type: integer({ min: 1, max: 86_400 }),
    description: 'Seconds for which only keys that are known to be good get in from there.',
    default: 300,
  },
})

export const fields = defineFields({
  rotation: { type: record(rotationFields), description: 'How old a key may become.', required: true },
  addresses: {
    type: map(list(string({ maxLength: 64 }), { minItems: 1, maxItems: 256 })),
    description:
      'Ranges of addresses, such as `10.0.0.0/8`, by id, user name or custom id of a consumer, or by id of a credential: used from elsewhere, its keys are refused.',
    default: {},
  },
  own_keys: {
    type: record(ownKeyFields),
    description: 'Authenticate keys of the pack (`pc_...`) by its own registry. Unset: only what the gateway let in.',
  },
  on_missing_key: {
    type: choice('refuse', 'pass'),
    description:
      'What becomes of a request without a key: refused with 401, or left to the policies after this, such as one that takes tokens.',
    default: 'refuse',
  },
  lockout: { type: record(lockoutFields), description: 'Against guessing keys of `own_keys`.', required: true },
  last_use: {
    type: boolean(),
    description: 'Note in the store when a credential was last used, at most once a minute.',
    default: true,
  },
  store: {
    type: choice('memory', 'redis'),
    description: 'Where own keys and last uses live. `memory`: in this process, for trying it out.',
    default: 'memory',
  },
  redis: { type: record(redisFields), description: 'The connection, with `store: redis`.' },
  on_store_error: {
    type: choice('local', 'deny', 'allow'),
    description:
      'While the registry cannot be reached: judge keys as last seen and refuse others with 503; refuse all that were not just seen; or let every well-formed key through, known or not, without an identity.',
    default: 'local',
  },
  mode: {
    type: choice('enforce', 'shadow'),
    description: '`shadow`: decide and audit, but refuse nothing.',
    default: 'enforce',
  },
  realm: {
    type: string({ maxLength: 64, pattern: { js: '^[A-Za-z0-9 ._-]+$', lua: '^[%w ._-]+$' } }),
    description: 'Realm in the header `WWW-Authenticate` of refusals.',
    default: 'llm',
  },
  revocation: {
    type: record(revocationFields),
    description: 'The deny list of credentials and consumers, for keys of every kind. Unset: none.',
  },
})

export type ApiKeyConfig = Config<typeof fields>
export type OwnKeysConfig = NonNullable<ApiKeyConfig['own_keys']>

/** What the field kinds cannot say. */
export function check(config: ApiKeyConfig): readonly ConfigIssue[] {
  const { rotation, addresses, own_keys: own, store, redis } = config
  const issues: ConfigIssue[] = []
  const issue = (wrong: boolean, path: string, message: string) => {
    if (wrong) issues.push({ path, message })
  }
  issue(
    rotation.warn_after_days > rotation.max_age_days,
    'rotation.warn_after_days',
    'must not be more than `max_age_days`',
  )
  for (const [name, ranges] of Object.entries(addresses))
    for (const [index, range] of ranges.entries())
      issue(parseRange(range) === undefined, `addresses.${name}[${index}]`, 'is no range of addresses')
  issue(own?.old_peppers.includes(own.pepper) === true, 'own_keys.old_peppers', 'holds the `pepper` itself')
  for (const [index, name] of own?.headers.entries() ?? [])
    issue(own?.headers.indexOf(name) !== index, `own_keys.headers[${index}]`, 'is there twice')
  issue(store === 'redis' && redis === undefined, 'redis', 'is required with `store: redis`')
  issue(store !== 'redis' && redis !== undefined, 'redis', 'is for `store: redis` only')
  if (store === 'redis' && redis !== undefined) issues.push(...checkRedis(redis, 'redis'))
  if (config.revocation !== undefined) issues.push(...checkRevocation(config.revocation, 'revocation'))
  return issues
}
