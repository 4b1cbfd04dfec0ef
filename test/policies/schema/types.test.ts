import { describe, expect, expectTypeOf, it } from 'vitest'
import type { Policy } from '../../../policies/policy.ts'
import { boolean, choice, integer, list, map, number, record, string } from '../../../policies/schema/declare.ts'
import { type Config, defineFields, type Fields } from '../../../policies/schema/fields.ts'
import { parseConfig, parsePolicyConfig } from '../../../policies/schema/parse.ts'

const built = defineFields({
  mode: { type: choice('enforce', 'shadow'), default: 'enforce', description: 'Whether it refuses.' },
  name: { type: string({ maxLength: 64 }), required: true, description: 'Name of the thing.' },
  note: { type: string(), description: 'Any text at all.' },
  nodes: { type: integer({ min: 1 }), default: 1, description: 'Number of nodes.' },
  weight: { type: number({ min: 0, max: 1 }), description: 'Weight of a token.' },
  strict: { type: boolean(), default: false, description: 'Whether it is strict.' },
  limits: {
    type: list(
      record({
        limit: { type: integer({ min: 1 }), required: true, description: 'Tokens a window.' },
        per: { type: list(string()), description: 'Parts of the counter.' },
      }),
      { minItems: 1 },
    ),
    required: true,
    description: 'The rules of the limit.',
  },
  aliases: { type: map(list(choice('a', 'b'))), description: 'Names for scopes.' },
  redis: {
    type: record({ host: { type: string(), default: 'localhost', description: 'Host name of it.' } }),
    required: true,
    description: 'Where the store is.',
  },
})

const literal = defineFields({
  mode: {
    type: { kind: 'string', oneOf: ['enforce', 'shadow'] },
    default: 'enforce',
    description: 'Whether it refuses.',
  },
  name: { type: { kind: 'string', maxLength: 64 }, required: true, description: 'Name of the thing.' },
  limits: {
    type: {
      kind: 'list',
      of: {
        kind: 'record',
        fields: { limit: { type: { kind: 'integer', min: 1 }, required: true, description: 'Tokens a window.' } },
      },
    },
    description: 'The rules of the limit.',
  },
})

const INPUT = { name: 'x', limits: [{ limit: 5 }] }

describe('the type of a config', () => {
  it('is exact for a declaration made with builders', () => {
    const config = parseConfig(built, INPUT)
    expectTypeOf(config).toEqualTypeOf<{
      readonly mode: 'enforce' | 'shadow'
      readonly name: string
      readonly note?: string
      readonly nodes: number
      readonly weight?: number
      readonly strict: boolean
      readonly limits: readonly { readonly limit: number; readonly per?: readonly string[] }[]
      readonly aliases?: Readonly<Record<string, readonly ('a' | 'b')[]>>
      readonly redis: { readonly host: string }
    }>()
    expect(config).toEqual({
      mode: 'enforce',
      name: 'x',
      nodes: 1,
      strict: false,
      limits: [{ limit: 5 }],
      redis: { host: 'localhost' },
    })
  })

  it('is exact for a declaration written out', () => {
    const config = parseConfig(literal, INPUT)
    expectTypeOf(config).toEqualTypeOf<{
      readonly mode: 'enforce' | 'shadow'
      readonly name: string
      readonly limits?: readonly { readonly limit: number }[]
    }>()
    expect(config.mode).toBe('enforce')
  })

  it('is some record for a declaration that is not known', () => {
    const fields: Fields = literal
    const config = parseConfig(fields, INPUT)
    expectTypeOf(config).toEqualTypeOf<Readonly<Record<string, unknown>>>()
    expect(config.name).toBe('x')
  })

  it('reaches a policy, and a policy fits where any policy is wanted', () => {
    const policy: Policy<typeof literal> = {
      name: 'sample',
      fields: literal,
      check: (config) => (config.name === 'x' ? [] : [{ path: 'name', message: 'must be x' }]),
      create: (config) => {
        expectTypeOf(config).toEqualTypeOf<Config<typeof literal>>()
        return { decide: () => ({ type: 'pass' }) }
      },
    }
    const any: Policy<Fields> = policy
    expectTypeOf(parsePolicyConfig(policy, INPUT)).toEqualTypeOf<Config<typeof literal>>()
    expect(parsePolicyConfig(any, INPUT).mode).toBe('enforce')
    expect(() => parsePolicyConfig(policy, { ...INPUT, name: 'y' })).toThrow(
      'Invalid config of sample: name: must be x',
    )
  })
})
