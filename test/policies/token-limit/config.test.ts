import { describe, expect, it } from 'vitest'
import { ConfigError } from '../../../policies/errors.ts'
import { validateDeclaration } from '../../../policies/schema/declaration.ts'
import { parsePolicyConfig } from '../../../policies/schema/parse.ts'
import { tokenLimit } from '../../../policies/token-limit/index.ts'
import { rule } from './support.ts'

function issuesOf(config: unknown): readonly string[] {
  try {
    parsePolicyConfig(tokenLimit, config)
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.issues.map(({ path }) => path)
  }
}

describe('config', () => {
  it('has a default for everything but the limits', () => {
    const config = parsePolicyConfig(tokenLimit, { limits: [rule()] })
    expect(config).toEqual({
      limits: [
        {
          name: 'tokens',
          limit: 1000,
          window_seconds: 60,
          algorithm: 'sliding_window',
          count: 'total_tokens',
          per: ['consumer'],
          reserve: 'declared',
          on_short_budget: 'refuse',
          cached_input_weight: 1,
          mode: 'enforce',
        },
      ],
      mode: 'enforce',
      enforce_stream: false,
      max_body_bytes: 1_048_576,
      default_output_tokens: 1024,
      unseen_input_tokens: 4096,
      image_tokens: 1600,
      audio_tokens: 2000,
      file_tokens: 10_000,
      tokenizer: 'estimate',
      unmetered: [],
      operations: [],
      store: 'memory',
      on_store_error: 'local',
    })
  })

  for (const [what, parts, paths] of [
    ['no limit', { limit: undefined }, ['limit']],
    ['two limits', { limit_from: 'claim:x' }, ['limit_from']],
    ['a limit from no claim', { limit: undefined, limit_from: 'ip' }, ['limit_from']],
    ['a burst without a bucket', { burst: 5 }, ['burst']],
    ['a reserve where no output counts', { count: 'requests', reserve: 'expected' }, ['reserve']],
    ['a clamp where no output counts', { count: 'input_tokens', on_short_budget: 'clamp' }, ['on_short_budget']],
    ['a floor without a clamp', { clamp_floor: 5 }, ['clamp_floor']],
    ['a floor above the limit', { on_short_budget: 'clamp', clamp_floor: 1001 }, ['clamp_floor']],
    [
      'a floor above the burst',
      { algorithm: 'token_bucket', burst: 10, on_short_budget: 'clamp', clamp_floor: 11 },
      ['clamp_floor'],
    ],
    ['a cached weight for requests', { count: 'requests', cached_input_weight: 0.5 }, ['cached_input_weight']],
    ['an unknown part', { per: ['consumer', 'user'] }, ['per[1]']],
    ['a part twice', { per: ['consumer', 'consumer'] }, ['per[1]']],
    ['a header twice', { per: ['consumer', 'header:X', 'header:x'] }, ['per[2]']],
    ['a model without a caller', { per: ['route', 'model'] }, ['per[1]']],
    ['a header without a caller', { per: ['header:x'] }, ['per[0]']],
    ['global beside others', { per: ['consumer', 'global'] }, ['per[1]']],
    ['no part', { per: [] }, ['per']],
    ['a claim path with a space', { match: { claims: { 'a b': ['x'] } } }, ['match.claims']],
    ['a window of nothing', { window_seconds: 0 }, ['window_seconds']],
    ['a fractional limit', { limit: 1.5 }, ['limit']],
    ['a name that would break a header', { name: 'a"b' }, ['name']],
  ] as const) {
    it(`refuses ${what}, naming the field`, () => {
      const before = rule({ name: 'fine' })
      expect(issuesOf({ limits: [before, rule(parts)] })).toEqual(paths.map((path) => `limits[1].${path}`))
    })
  }

  it('names every offending field at once', () => {
    expect(issuesOf({ limits: [rule({ burst: 5, per: ['nobody'] }), rule({ limit: undefined })] })).toEqual([
      'limits[0].burst',
      'limits[0].per[0]',
      'limits[1].limit',
    ])
  })

  for (const [what, config, paths] of [
    ['Redis without a connection', { store: 'redis' }, ['redis']],
    ['a connection without Redis', { redis: { host: 'x' } }, ['redis']],
    ['two addresses', { store: 'redis', redis: { url: 'redis://x', host: 'x' } }, ['redis.url']],
    ['half a sentinel', { store: 'redis', redis: { sentinel_master: 'm' } }, ['redis.sentinel_master']],
    [
      'a sentinel and a cluster',
      {
        store: 'redis',
        redis: { sentinel_master: 'm', sentinel_nodes: [{ host: 'a' }], cluster_nodes: [{ host: 'b' }] },
      },
      ['redis.cluster_nodes'],
    ],
    [
      'a host beside a cluster',
      { store: 'redis', redis: { host: 'a', cluster_nodes: [{ host: 'b' }] } },
      ['redis.host'],
    ],
    ['an unmetered glob that is no path', { unmetered: ['v1/batches'] }, ['unmetered[0]']],
    ['an operation of no protocol', { operations: [{ path: '/x' }] }, ['operations[0].protocol']],
  ] as const) {
    it(`refuses ${what}`, () => {
      expect(issuesOf({ limits: [rule()], ...config })).toEqual(paths)
    })
  }

  it('accepts every sensible combination', () => {
    expect(
      issuesOf({
        limits: [
          rule({ algorithm: 'token_bucket', burst: 5000, per: ['claim:org.team', 'model', 'header:x-project'] }),
          rule({ limit: undefined, limit_from: 'claim:https://x.example/limit', per: ['ip'] }),
          rule({ per: ['global'], count: 'requests' }),
          rule({ per: ['route', 'service'], on_short_budget: 'clamp', clamp_floor: 1000, reserve: 'expected' }),
        ],
        store: 'redis',
        redis: { url: 'rediss://user:secret@redis:6379/1' },
        on_store_error: 'deny',
        nodes: 3,
      }),
    ).toEqual([])
  })

  it('can be said in the words of every gateway', () => {
    expect(validateDeclaration(tokenLimit.fields)).toEqual([])
  })
})
