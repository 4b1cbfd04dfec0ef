import { createRequire } from 'node:module'
import { Ajv } from 'ajv'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ConfigError } from '../../../policies/errors.ts'
import { validateDeclaration } from '../../../policies/schema/declaration.ts'
import type { Fields } from '../../../policies/schema/fields.ts'
import { toJsonSchema } from '../../../policies/schema/json-schema.ts'
import { toKongSchema } from '../../../policies/schema/kong-schema.ts'
import { parseConfig } from '../../../policies/schema/parse.ts'
import { fieldsTable } from '../../../policies/schema/reference.ts'
import { declarations, declaredInputs } from './arbitrary.ts'
import { fillAsKong } from './kong-model.ts'

const RUNS = { numRuns: 250 }

/** The config, or the paths that were refused. */
function outcome(fields: Fields, input: unknown): { config: unknown } | { refused: readonly string[] } {
  try {
    return { config: parseConfig(fields, input) }
  } catch (error) {
    if (error instanceof ConfigError) return { refused: error.issues.map((issue) => issue.path) }
    throw error
  }
}

describe('any declaration', () => {
  it('keeps the rules of declarations', () => {
    fc.assert(
      fc.property(declarations, (fields) => {
        expect(validateDeclaration(fields)).toEqual([])
      }),
      RUNS,
    )
  })

  it('has one table row a field, whatever its text', () => {
    fc.assert(
      fc.property(declarations, (fields) => {
        const rows = fieldsTable(fields).split('\n')
        expect(rows.length).toBeGreaterThanOrEqual(Object.keys(fields).length + 2)
        for (const row of rows) expect(row.replaceAll('\\|', '').split('|')).toHaveLength(6)
      }),
    )
  })
})

describe('parseConfig with any declaration and input', () => {
  it('throws nothing but ConfigError, for anything at all', () => {
    fc.assert(
      fc.property(
        declarations,
        fc.anything({ withDate: true, withMap: true, withSparseArray: true }),
        (fields, input) => {
          outcome(fields, input)
        },
      ),
      RUNS,
    )
  })

  it('is idempotent, and deeply frozen', () => {
    let accepted = 0
    fc.assert(
      fc.property(declaredInputs, ({ fields, input }) => {
        const first = outcome(fields, input)
        if (!('config' in first)) return
        accepted++
        expect(outcome(fields, first.config)).toEqual(first)
        expectFrozen(first.config)
      }),
      RUNS,
    )
    expect(accepted).toBeGreaterThan(RUNS.numRuns / 10)
  })

  it('leaves its input and the declaration alone', () => {
    fc.assert(
      fc.property(declaredInputs, ({ fields, input }) => {
        const before = JSON.stringify([fields, input])
        outcome(fields, input)
        expect(JSON.stringify([fields, input])).toBe(before)
      }),
    )
  })

  it('gives the same for what Kong makes of the input', () => {
    fc.assert(
      fc.property(declaredInputs, ({ fields, input }) => {
        const filled = JSON.parse(JSON.stringify(fillAsKong(toKongSchema(fields), input)))
        expect(outcome(fields, filled)).toEqual(outcome(fields, JSON.parse(JSON.stringify(input))))
      }),
      RUNS,
    )
  })

  it('accepts exactly what the JSON Schema accepts', () => {
    const seen = { accepted: 0, refused: 0 }
    fc.assert(
      fc.property(declaredInputs, ({ fields, input }) => {
        const validate = new Ajv({ strict: false }).compile(toJsonSchema(fields))
        const parsed = 'config' in outcome(fields, input)
        seen[parsed ? 'accepted' : 'refused']++
        expect({ valid: validate(input) }).toEqual({ valid: parsed })
      }),
      RUNS,
    )
    expect(Math.min(seen.accepted, seen.refused)).toBeGreaterThan(RUNS.numRuns / 10)
  })

  it('sees through Express Gateway, whose validator coerces and fills in place', () => {
    const require = createRequire(createRequire(import.meta.url).resolve('express-gateway/package.json'))
    const Ajv6 = require('ajv') as new (options: object) => { compile(schema: object): (data: unknown) => boolean }
    fc.assert(
      fc.property(declaredInputs, ({ fields, input }) => {
        const validate = new Ajv6({ useDefaults: true, coerceTypes: true }).compile(toJsonSchema(fields))
        const expected = outcome(fields, input)
        const given = structuredClone(input)
        expect({ valid: validate(given) }).toEqual({ valid: 'config' in expected })
        if ('config' in expected) expect(outcome(fields, given)).toEqual(expected)
      }),
      RUNS,
    )
  })
})

function expectFrozen(value: unknown): void {
  if (typeof value !== 'object' || value === null) return
  expect(Object.isFrozen(value)).toBe(true)
  for (const member of Object.values(value)) expectFrozen(member)
}
