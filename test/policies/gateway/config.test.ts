import { describe, expect, it } from 'vitest'
import { ConfigError } from '../../../policies/errors.ts'
import { sharedBy, withRevocation, withStore } from '../../../policies/gateway/config.ts'
import { llmGateway } from '../../../policies/gateway/index.ts'
import { parsePolicyConfig } from '../../../policies/schema/parse.ts'

const LIMITS = [{ name: 'tokens', limit: 10, window_seconds: 60 }]
const AUDIT = { sinks: [{ type: 'stdout' }], redaction: {} }
const REDIS = { host: 'redis.test' }

const parse = (config: unknown) => parsePolicyConfig(llmGateway, config)

function issuesOf(config: unknown) {
  try {
    parse(config)
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.issues.map(({ path, message }) => `${path} ${message}`)
  }
}

describe('what is refused', () => {
  it.each<readonly [what: string, config: object, issues: readonly string[]]>([
    ['no member', {}, ['token_limit or `audit`, `api_key` or `scope` must be set']],
    [
      'members that are null',
      { audit: null, scope: null },
      ['token_limit or `audit`, `api_key` or `scope` must be set'],
    ],
    [
      'unknown keys, at every depth',
      { scope: { grants: [] }, tokens: {}, token_limit: { limits: [{ ...LIMITS[0], max: 1 }], redis: { hots: 'x' } } },
      [
        'tokens is not a known field',
        'scope.grants is not a known field',
        'token_limit.limits[0].max is not a known field',
        'token_limit.redis.hots is not a known field',
      ],
    ],
    [
      'the combinations that a policy refuses, under its name',
      {
        audit: { ...AUDIT, content: 'hash' },
        api_key: { rotation: { max_age_days: 30, warn_after_days: 40 } },
        scope: { static: { ada: ['everything'] } },
        token_limit: { limits: [{ ...LIMITS[0], burst: 5 }] },
      },
      [
        'audit.hash_key is needed with `content: hash`',
        'api_key.rotation.warn_after_days must not be more than `max_age_days`',
        'scope.static.ada[0] is neither a grant nor an alias',
        'token_limit.limits[0].burst is for `algorithm: token_bucket` only',
      ],
    ],
    [
      'a shared connection that makes no sense, once',
      { redis: { url: 'redis://x', host: 'y' }, api_key: {}, token_limit: { limits: LIMITS } },
      ['redis.url cannot be set together with `host` or `port`'],
    ],
    [
      'a shared connection that nothing uses',
      { redis: REDIS, audit: AUDIT, token_limit: { limits: LIMITS, store: 'memory' } },
      ['redis is used by nothing in this config'],
    ],
    [
      'a shared deny list without a store to live in',
      { revocation: { store: 'redis' }, scope: {} },
      ['revocation.redis is required with `store: redis`'],
    ],
    [
      'a shared deny list that nobody honours',
      { revocation: {}, audit: AUDIT },
      ['revocation needs `api_key`, `scope` or `token_limit`'],
    ],
    [
      'redis that is neither said nor there',
      { token_limit: { limits: LIMITS, store: 'redis' } },
      ['token_limit.redis is required with `store: redis`'],
    ],
    [
      'a connection of a member that keeps all in memory',
      { redis: REDIS, api_key: {}, token_limit: { limits: LIMITS, store: 'memory', redis: REDIS } },
      ['token_limit.redis is for `store: redis` only'],
    ],
  ])('%s', (_, config, issues) => {
    expect(issuesOf(config)).toEqual(issues)
  })

  it.each<readonly [what: string, config: object]>([
    ['audit alone', { audit: AUDIT }],
    ['keys alone', { api_key: {} }],
    ['scopes alone', { scope: {} }],
    ['limits alone', { token_limit: { limits: LIMITS } }],
    [
      'all, and what they share',
      { redis: REDIS, revocation: {}, audit: AUDIT, api_key: {}, scope: {}, token_limit: { limits: LIMITS } },
    ],
    ['Redis for the deny list alone', { redis: REDIS, revocation: {}, scope: {} }],
    ['a connection of its own', { token_limit: { limits: LIMITS, store: 'redis', redis: REDIS } }],
  ])('not %s', (_, config) => {
    expect(issuesOf(config)).toEqual([])
  })
})

describe('what members inherit', () => {
  const redis = { host: 'shared.test' }

  it('is the connection, where they name no store', () => {
    const config = parse({ redis, token_limit: { limits: LIMITS } })
    expect(withStore(config.token_limit ?? {}, config.redis)).toMatchObject({ store: 'redis', redis })
  })

  it('is nothing where there is none', () => {
    const config = parse({ token_limit: { limits: LIMITS } })
    const limit = withStore(config.token_limit ?? {}, config.redis)
    expect(limit.store).toBe('memory')
    expect('redis' in limit).toBe(false)
  })

  it('is not what they set themselves', () => {
    const own = { host: 'own.test' }
    const config = parse({
      redis,
      api_key: { store: 'memory' },
      scope: { revocation: {} },
      token_limit: { limits: LIMITS, redis: own },
    })
    expect(withStore(config.token_limit ?? {}, config.redis)).toMatchObject({ store: 'redis', redis: own })
    const key = withStore(config.api_key ?? {}, config.redis)
    expect(key.store).toBe('memory')
    expect('redis' in key).toBe(false)
  })

  it('is the deny list, which itself inherits the connection', () => {
    const config = parse({ redis, revocation: { poll_ms: 500 }, scope: { revocation: { poll_ms: 100 } }, api_key: {} })
    const shared = sharedBy(config)
    expect(withRevocation(config.api_key ?? {}, shared).revocation).toMatchObject({
      store: 'redis',
      redis,
      poll_ms: 500,
    })
    expect(withRevocation(config.scope ?? {}, shared).revocation).toMatchObject({ store: 'redis', redis, poll_ms: 100 })
  })
})
