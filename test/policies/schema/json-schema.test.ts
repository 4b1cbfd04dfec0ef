import { createRequire } from 'node:module'
import { describe, expect, it } from 'vitest'
import { ConfigError } from '../../../policies/errors.ts'
import { boolean, integer, list, map, number, record, string } from '../../../policies/schema/declare.ts'
import { defineFields, type Fields } from '../../../policies/schema/fields.ts'
import { toJsonSchema } from '../../../policies/schema/json-schema.ts'
import { parseConfig } from '../../../policies/schema/parse.ts'
import { inputs, sample } from '../../fixtures/kong-schema/sample.ts'

interface Schemas {
  register(type: string, name: string, schema: object): (data: unknown) => { readonly isValid: boolean }
}
/** Express Gateway's own validator, which coerces types and fills defaults in place. */
const schemas = createRequire(import.meta.url)('express-gateway/lib/schemas') as Schemas

const accepts = (fields: Fields, input: unknown): boolean => {
  try {
    parseConfig(fields, input)
    return true
  } catch (error) {
    if (error instanceof ConfigError) return false
    throw error
  }
}

describe('the JSON Schema, in Express Gateway’s own validator', () => {
  const validate = schemas.register(
    'policy',
    'sample',
    toJsonSchema(sample, { id: 'http://portcullis.test/sample.json' }),
  )

  it.each(inputs)('decides as the parser does: %j', (input) => {
    const given = structuredClone(input)
    expect(validate(given).isValid).toBe(accepts(sample, input))
    if (accepts(sample, input)) expect(parseConfig(sample, given)).toEqual(parseConfig(sample, input))
  })

  const each = defineFields({
    text: { type: string(), description: 'A plain string.' },
    count: { type: integer(), description: 'A plain integer.' },
    share: { type: number(), description: 'A plain number.' },
    flag: { type: boolean(), description: 'A plain boolean.' },
    texts: { type: list(string()), description: 'A plain list.' },
    counts: { type: map(integer()), description: 'A plain map.' },
    part: { type: record({ text: { type: string(), description: 'A plain string.' } }), description: 'A record.' },
  })
  const validateEach = schemas.register(
    'policy',
    'each',
    toJsonSchema(each, { id: 'http://portcullis.test/each.json' }),
  )
  const odd: readonly unknown[] = ['', '5', 'true', 'null', 0, 1, 5, 1.5, 1e300, true, false, null, [], ['a'], [5], {}]
  const pairs = Object.keys(each).flatMap((key) => odd.map((value) => ({ [key]: value })))

  it.each([...pairs, { counts: { a: '5' } }, { counts: { a: null } }, { part: { text: 5 } }])(
    'coerces nothing: %j',
    (input) => {
      const given = structuredClone(input)
      expect(validateEach(given).isValid).toBe(accepts(each, input))
      expect(given).toEqual(input)
    },
  )
})

it('lets through what the gateway adds, and nothing else', () => {
  const fields = { text: { type: string(), description: 'A plain string.' } }
  const schema = toJsonSchema(fields, { id: 'http://portcullis.test/added.json', ignore: ['getCommonAuthCallback'] })
  const validate = schemas.register('policy', 'added', schema)
  expect(validate({ text: 'a', getCommonAuthCallback: () => undefined }).isValid).toBe(true)
  expect(validate({ text: 'a', other: () => undefined }).isValid).toBe(false)
})
