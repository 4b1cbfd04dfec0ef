/** Arbitrary declarations, and inputs that are right, nearly right or absurd for them. */

import fc from 'fast-check'
import type { Field, Fields, Kind, StringKind } from '../../../policies/schema/fields.ts'
import { checkValue, numberBounds } from '../../../policies/schema/parse.ts'

const PATTERN = { js: '^[a-z]+$', lua: '^[a-z]+$' }
const TEXTS = ['a', 'abc', 'ä', '日本', '😀😀', 'A-1', ' ', '\ud800', '{vault://env/x}', 'x'.repeat(40)]

const text = fc.oneof(fc.constantFrom(...TEXTS), fc.string({ minLength: 1, maxLength: 8, unit: 'grapheme' }))
const key = fc.stringMatching(/^[a-z]{1,4}(_[a-z0-9]{1,3})?$/)

const stringKind: fc.Arbitrary<StringKind> = fc.oneof(
  fc.record(
    { kind: fc.constant('string'), minLength: fc.nat(3), maxLength: fc.integer({ min: 3, max: 9 }) },
    { requiredKeys: ['kind'] },
  ),
  fc.record({ kind: fc.constant('string'), oneOf: fc.uniqueArray(text, { minLength: 1, maxLength: 4 }) }),
  fc.constant({ kind: 'string', pattern: PATTERN } as const),
  fc.constant({ kind: 'string', secret: true } as const),
)

const bounds = { min: fc.integer({ min: -5, max: 5 }), max: fc.integer({ min: 5, max: 1e15 }) }

const kinds = fc.letrec<{ kind: Kind; fields: Fields }>((tie) => ({
  kind: fc.oneof(
    { maxDepth: 3, depthIdentifier: 'kind' },
    stringKind,
    fc.record({ kind: fc.constant('integer'), ...bounds }, { requiredKeys: ['kind'] }),
    fc.record({ kind: fc.constant('number'), ...bounds }, { requiredKeys: ['kind'] }),
    fc.constant({ kind: 'boolean' } as const),
    fc.record(
      { kind: fc.constant('list'), of: tie('kind'), minItems: fc.nat(2), maxItems: fc.integer({ min: 2, max: 4 }) },
      { requiredKeys: ['kind', 'of'] },
    ),
    fc.record({ kind: fc.constant('map'), of: tie('kind') }),
    fc.record({ kind: fc.constant('record'), fields: tie('fields') }),
  ) as fc.Arbitrary<Kind>,
  fields: fc.dictionary(key, (tie('kind') as fc.Arbitrary<Kind>).chain(field), {
    minKeys: 1,
    maxKeys: 4,
    noNullPrototype: true,
  }) as fc.Arbitrary<Fields>,
}))

function field(type: Kind): fc.Arbitrary<Field> {
  const base = { type, description: 'One generated option.' }
  const plain = [fc.constant(base), fc.constant({ ...base, required: true as const })]
  if (type.kind === 'string' && type.secret === true) return fc.oneof(...plain)
  const defaulted = valid(type)
    .map((value) => ({ ...base, default: withoutNull(value) }))
    .filter((defaulted) => checkValue(type, defaulted.default, '').length === 0)
  return fc.oneof(...plain, defaulted)
}

function withoutNull(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(withoutNull)
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, member]) => member !== null)
      .map(([name, member]) => [name, withoutNull(member)]),
  )
}

export const declarations: fc.Arbitrary<Fields> = kinds.fields

/** A declaration with an input for it. */
export const declaredInputs = declarations.chain((fields) =>
  fc.record({
    fields: fc.constant(fields),
    input: fc.oneof(
      { weight: 6, arbitrary: record(fields, valid) },
      { weight: 4, arbitrary: record(fields, nearly) },
      { weight: 1, arbitrary: fc.jsonValue() },
    ),
  }),
)

/** Mostly right values; may still break a combination of rules. */
function valid(kind: Kind): fc.Arbitrary<unknown> {
  return value(kind, valid)
}

/** Wrong here and there. */
function nearly(kind: Kind): fc.Arbitrary<unknown> {
  const wrong = fc.oneof(
    fc.constantFrom<unknown>('', '5', 'true', 0, 1, -0, 1.5, 1e16, 1e300, true, false, null, [], {}, [null], 'null'),
    fc.jsonValue({ maxDepth: 2 }),
  )
  return fc.oneof({ weight: 12, arbitrary: value(kind, nearly) }, { weight: 1, arbitrary: wrong })
}

function value(kind: Kind, inner: (kind: Kind) => fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  switch (kind.kind) {
    case 'string':
      return stringValue(kind)
    case 'integer': {
      const { min, max } = numberBounds(kind)
      return fc.integer({ min, max })
    }
    case 'number': {
      const { min, max } = numberBounds(kind)
      return fc.double({ min, max, noNaN: true })
    }
    case 'boolean':
      return fc.boolean()
    case 'list':
      return fc.array(inner(kind.of), { minLength: kind.minItems ?? 0, maxLength: kind.maxItems ?? 3 })
    case 'map':
      return fc.dictionary(text, inner(kind.of), { maxKeys: 3, noNullPrototype: true })
    case 'record':
      return record(kind.fields, inner)
  }
}

function stringValue(kind: StringKind): fc.Arbitrary<string> {
  if (kind.oneOf !== undefined) return fc.constantFrom(...kind.oneOf)
  if (kind.pattern !== undefined) return fc.stringMatching(/^[a-z]{1,5}$/)
  const maxLength = kind.maxLength ?? 20
  return fc.oneof(text, fc.string({ minLength: kind.minLength ?? 1, maxLength, unit: 'binary' }))
}

function record(fields: Fields, inner: (kind: Kind) => fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  const members = Object.entries(fields).map(([name, { type, required }]) => {
    const set = inner(type).map((member): [string, unknown][] => [[name, member]])
    const unset = fc.constantFrom<[string, unknown][]>([], [[name, null]])
    return fc.oneof({ weight: required === true ? 20 : 3, arbitrary: set }, { weight: 1, arbitrary: unset })
  })
  const extra = fc.oneof(
    { weight: 15, arbitrary: fc.constant<[string, unknown][]>([]) },
    { weight: 1, arbitrary: fc.constantFrom<[string, unknown][]>([['__proto__', 1]], [['unknown', 1]], [['x', null]]) },
  )
  return fc.tuple(extra, ...members).map((parts) => fromEntries(parts.flat()))
}

/** Like JSON.parse, and unlike an assignment, makes `__proto__` an own key. */
function fromEntries(entries: readonly (readonly [string, unknown])[]): unknown {
  return Object.fromEntries(entries)
}
