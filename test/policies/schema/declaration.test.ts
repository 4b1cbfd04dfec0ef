import { describe, expect, it } from 'vitest'
import { validateDeclaration } from '../../../policies/schema/declaration.ts'
import { choice, integer, list, map, number, record, string } from '../../../policies/schema/declare.ts'
import type { Field, Fields, Kind } from '../../../policies/schema/fields.ts'
import { sample } from '../../fixtures/kong-schema/sample.ts'

const described = (type: Kind, more: Partial<Field> = {}): Fields => ({
  option: { type, description: 'One option of many.', ...more },
})

describe('validateDeclaration', () => {
  it('passes a sound one', () => {
    expect(validateDeclaration(sample)).toEqual([])
  })

  it.each<[string, Fields, string]>([
    ['no field', {}, ''],
    ['camel case', { camelCase: { type: string(), description: 'One option of many.' } }, 'camelCase'],
    ['a leading underscore', { _x: { type: string(), description: 'One option of many.' } }, '_x'],
    ['a name of Kong', { route_id: { type: string(), description: 'One option of many.' } }, 'route_id'],
    ['a name of JavaScript', { constructor: { type: string(), description: 'One option of many.' } }, 'constructor'],
    ['a short description', { option: { type: string(), description: 'Short.' } }, 'option'],
    ['a long description', { option: { type: string(), description: 'x'.repeat(501) } }, 'option'],
    ['required and a default', described(string(), { required: true, default: 'x' }), 'option'],
    ['a wrong default', described(integer({ min: 5 }), { default: 4 }), 'option'],
    ['a default outside oneOf', described(choice('a', 'b'), { default: 'c' }), 'option'],
    ['a wrong default in a list', described(list(string()), { default: ['a', 1] }), 'option'],
    ['a null default', described(string(), { default: null }), 'option'],
    ['a null within a default', described(map(string()), { default: { a: null } }), 'option'],
    ['a secret with a default', described(string({ secret: true }), { default: 'x' }), 'option'],
    ['crossed bounds', described(number({ min: 2, max: 1 })), 'option'],
    ['a fractional bound of an integer', described(integer({ min: 0.5 })), 'option'],
    ['an inexact bound', described(integer({ max: 2 ** 60 })), 'option'],
    ['crossed lengths', described(string({ minLength: 3, maxLength: 2 })), 'option'],
    ['crossed item counts', described(list(string(), { minItems: 3, maxItems: 2 })), 'option'],
    ['an empty oneOf', described(choice()), 'option'],
    ['an empty value in oneOf', described(choice('')), 'option'],
    ['oneOf with a pattern', described(string({ oneOf: ['a'], pattern: { js: '^a$', lua: '^a$' } })), 'option'],
    ['an open pattern', described(string({ pattern: { js: 'a', lua: '^a$' } })), 'option'],
    ['a pattern that does not compile', described(string({ pattern: { js: '^[$', lua: '^a$' } })), 'option'],
    ['an empty record', described(record({})), 'option'],
    ['a fault deep inside', described(list(map(record(described(choice()))))), 'option[].*.option'],
  ])('refuses %s', (_, fields, path) => {
    const issues = validateDeclaration(fields)
    expect(issues.map((issue) => issue.path)).toContain(path)
  })
})
