import { expect, it } from 'vitest'
import { apiKey } from '../../../policies/api-key/index.ts'
import { ConfigError } from '../../../policies/errors.ts'
import { parsePolicyConfig } from '../../../policies/schema/parse.ts'
import { PEPPER } from './world.ts'

function pathsOf(config: object): string[] {
  try {
    parsePolicyConfig(apiKey, config)
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    expect(error.message).not.toContain(PEPPER)
    return error.issues.map(({ path }) => path)
  }
}

it('needs nothing, and then enforces 90 days and a week', () => {
  expect(parsePolicyConfig(apiKey, {})).toMatchObject({
    rotation: { max_age_days: 90, grace_days: 7, warn_after_days: 76, age_from: 'tag', on_unknown_age: 'refuse' },
    lockout: { failures: 20, within_seconds: 60, lock_seconds: 300 },
    on_missing_key: 'refuse',
    store: 'memory',
    on_store_error: 'local',
    mode: 'enforce',
  })
})

it.each<readonly [string, object, readonly string[]]>([
  ['an age under 30 days', { rotation: { max_age_days: 29, warn_after_days: 20 } }, ['rotation.max_age_days']],
  ['an age over 90 days', { rotation: { max_age_days: 91 } }, ['rotation.max_age_days']],
  ['a warning after the end', { rotation: { max_age_days: 60, warn_after_days: 61 } }, ['rotation.warn_after_days']],
  ['a range that is none', { addresses: { ada: ['10.0.0.0/8', '10.0.0.0/40'] } }, ['addresses.ada[1]']],
  ['a list of no ranges', { addresses: { ada: [] } }, ['addresses.ada']],
  ['a short pepper', { own_keys: { pepper: 'short' } }, ['own_keys.pepper']],
  ['own keys without a pepper', { own_keys: {} }, ['own_keys.pepper']],
  ['the pepper among the old ones', { own_keys: { pepper: PEPPER, old_peppers: [PEPPER] } }, ['own_keys.old_peppers']],
  ['headers in upper case', { own_keys: { pepper: PEPPER, headers: ['X-Api-Key'] } }, ['own_keys.headers[0]']],
  ['a header twice', { own_keys: { pepper: PEPPER, headers: ['a', 'b', 'a'] } }, ['own_keys.headers[2]']],
  ['a cache over a second', { own_keys: { pepper: PEPPER, cache_ms: 1_000 } }, ['own_keys.cache_ms']],
  ['redis without a connection', { store: 'redis' }, ['redis']],
  ['a connection without redis', { redis: { host: 'r' } }, ['redis']],
  ['a wrong connection', { store: 'redis', redis: { url: 'http://x' } }, ['redis.url']],
  ['a wrong deny list', { revocation: { store: 'redis' } }, ['revocation.redis']],
  ['what it does not know', { rotate: true }, ['rotate']],
])('refuses %s', (_, config, paths) => expect(pathsOf(config)).toEqual(paths))
