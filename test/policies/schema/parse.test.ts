import { describe, expect, it } from 'vitest'
import { ConfigError, PortcullisError } from '../../../policies/errors.ts'
import { boolean, choice, integer, list, map, number, record, string } from '../../../policies/schema/declare.ts'
import { defineFields, type Fields } from '../../../policies/schema/fields.ts'
import { type ParseOptions, parseConfig } from '../../../policies/schema/parse.ts'

const fields = defineFields({
  mode: { type: choice('enforce', 'shadow'), default: 'enforce', description: 'Whether it refuses.' },
  key: { type: string({ secret: true, pattern: { js: '^sk-', lua: '^sk%-' } }), description: 'A secret key.' },
  share: { type: number({ min: 0, max: 1 }), description: 'A share of it.' },
  strict: { type: boolean(), description: 'Whether it is strict.' },
  aliases: { type: map(list(string())), description: 'Names for scopes.' },
  limits: {
    type: list(
      record({
        name: { type: string({ maxLength: 3 }), required: true, description: 'Name of it.' },
        window_seconds: { type: integer({ min: 1 }), default: 60, description: 'Length of it.' },
      }),
      { maxItems: 4 },
    ),
    default: [{ name: 'all' }],
    description: 'The rules of the limit.',
  },
})

function issuesOf(declared: Fields, input: unknown, options?: ParseOptions) {
  try {
    parseConfig(declared, input, options)
  } catch (error) {
    if (error instanceof ConfigError) return error.issues
    throw error
  }
  return []
}

const pathsOf = (input: unknown, options?: ParseOptions) => issuesOf(fields, input, options).map(({ path }) => path)

describe('parseConfig', () => {
  it('fills defaults, those inside a default too', () => {
    expect(parseConfig(fields, {})).toEqual({ mode: 'enforce', limits: [{ name: 'all', window_seconds: 60 }] })
  })

  it('names every offending path at once', () => {
    const input = {
      mode: 'off',
      share: 2,
      strict: 'yes',
      aliases: { 'a b': ['x', ''], ok: 'x' },
      limits: [{ name: 'a' }, { window_seconds: 0 }, { name: 'long', window_seconds: '60', extra: 1 }],
      'odd key': 1,
    }
    expect(pathsOf(input)).toEqual([
      '["odd key"]',
      'mode',
      'share',
      'strict',
      'aliases["a b"][1]',
      'aliases.ok',
      'limits[1].name',
      'limits[1].window_seconds',
      'limits[2].extra',
      'limits[2].name',
      'limits[2].window_seconds',
    ])
  })

  it('treats null as absent, in records and maps', () => {
    expect(parseConfig(fields, { mode: null, share: null, aliases: { a: null }, limits: null })).toEqual(
      parseConfig(fields, { aliases: {} }),
    )
    expect(pathsOf({ limits: [{ name: null }] })).toEqual(['limits[0].name'])
    expect(pathsOf({ limits: [null] })).toEqual(['limits[0]'])
  })

  it.each([
    ['numeric string', { share: '0.5' }],
    ['boolean for a number', { share: true }],
    ['NaN', { share: Number.NaN }],
    ['Infinity', { share: Number.POSITIVE_INFINITY }],
    ['number for a boolean', { strict: 1 }],
    ['number for a string', { key: 5 }],
    ['array for a map', { aliases: [] }],
    ['Date for a map', { aliases: new Date(0) }],
    ['Map for a map', { aliases: new Map() }],
    ['object for a list', { limits: { 0: { name: 'a' } } }],
    ['string for a list', { limits: 'abc' }],
    ['bigint', { share: 1n }],
    ['function', { mode: () => 'enforce' }],
    ['too many items', { limits: Array.from({ length: 5 }, () => ({ name: 'a' })) }],
    ['sparse list', { limits: new Array(2) }],
  ])('refuses, never coerces: %s', (_, input) => {
    expect(issuesOf(fields, input).length).toBeGreaterThan(0)
  })

  it.each([[undefined], [null], [5], ['{}'], [[]], [new Date(0)]])(
    'refuses a config that is no object: %s',
    (input) => {
      expect(issuesOf(fields, input)).toEqual([
        { path: '', message: expect.stringMatching(/^must be an object, not /) },
      ])
    },
  )

  it('accepts integers only while they are exact', () => {
    const declared = { n: { type: integer(), description: 'Any integer.' } }
    expect(parseConfig(declared, { n: Number.MAX_SAFE_INTEGER })).toEqual({ n: Number.MAX_SAFE_INTEGER })
    expect(issuesOf(declared, { n: 2 ** 53 })).toHaveLength(1)
    expect(issuesOf(declared, { n: 1e300 })).toHaveLength(1)
    expect(issuesOf(declared, { n: 0.5 })).toEqual([{ path: 'n', message: 'must be an integer' }])
  })

  it('counts characters, not UTF-16 units', () => {
    expect(pathsOf({ limits: [{ name: '😀😀😀' }] })).toEqual([])
    expect(pathsOf({ limits: [{ name: '😀😀😀😀' }] })).toEqual(['limits[0].name'])
  })

  it('cannot be poisoned', () => {
    const hostile = JSON.parse('{"__proto__": {"mode": "shadow"}, "aliases": {"__proto__": ["x"]}}')
    expect(pathsOf(hostile)).toEqual(['__proto__', 'aliases.__proto__'])
    expect(pathsOf(Object.create({ mode: 'off' }))).toEqual([])
    const { aliases } = parseConfig(fields, { aliases: { constructor: ['x'] } })
    expect(aliases?.constructor).toEqual(['x'])
    expect(aliases?.toString).toBeUndefined()
  })

  it('lets a gateway’s own keys through only where it says so', () => {
    const input = { __seq__: 1, limits: [{ name: 'a', $refs: {} }] }
    expect(pathsOf(input)).toEqual(['__seq__', 'limits[0].$refs'])
    expect(pathsOf(input, { ignore: ['__seq__', '$refs'] })).toEqual(['limits[0].$refs'])
    expect(parseConfig(fields, input, { ignore: ['__seq__'], ignoreNested: ['$refs'] })).toEqual(
      parseConfig(fields, { limits: [{ name: 'a' }] }),
    )
  })

  it('never says a value', () => {
    const secret = 'hunter2-hunter2'
    const inputs = [
      { key: secret },
      { mode: secret },
      { share: secret },
      { strict: secret },
      { limits: [secret] },
      { aliases: { a: secret } },
      secret,
    ]
    for (const input of inputs) {
      const error = (() => {
        try {
          parseConfig(fields, input)
        } catch (thrown) {
          return thrown
        }
        return undefined
      })()
      expect(error).toBeInstanceOf(ConfigError)
      expect(JSON.stringify(error) + String(error)).not.toContain('hunter2')
    }
  })

  it('throws an error with a code and a message that a log line can hold', () => {
    const declared = { names: { type: list(string()), description: 'A list of names.' } }
    const error = new ConfigError('llm-token-limit', issuesOf(declared, { names: Array(1000).fill(1) }))
    expect(error).toBeInstanceOf(PortcullisError)
    expect(error.code).toBe('invalid_config')
    expect(error.issues).toHaveLength(1000)
    expect(error.message).toMatch(/^Invalid config of llm-token-limit: names\[0\]: must be a string, not a number; /)
    expect(error.message).toMatch(/; and 980 more$/)
    expect(error.message.length).toBeLessThan(2000)
  })

  it('fills a required record from its own defaults, and names what these lack', () => {
    const redis = record({
      host: { type: string(), default: 'localhost', description: 'Host name of it.' },
      user: { type: string(), required: true, description: 'User name of it.' },
    })
    const declared = { redis: { type: redis, required: true, description: 'Where the store is.' } } as const
    expect(issuesOf(declared, {})).toEqual([{ path: 'redis.user', message: 'is required' }])
    expect(parseConfig(declared, { redis: { user: 'u' } })).toEqual({ redis: { host: 'localhost', user: 'u' } })
  })
})
