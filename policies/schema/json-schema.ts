/** A declaration as JSON Schema draft-07 that accepts exactly what `parseConfig` accepts. */

import type { Field, Fields, Kind, ListKind, StringKind } from './fields.ts'
import { fillsItself, numberBounds } from './parse.ts'

export type JsonSchema = Readonly<Record<string, unknown>>

export interface JsonSchemaOptions {
  /** `$id` of the schema. */
  readonly id?: string
  /** Top-level keys that the gateway adds for itself; see `ParseOptions`. */
  readonly ignore?: readonly string[]
}

/**
 * Express Gateway validates with ajv's `coerceTypes`, which would turn `"60"` into 60 and `""` into null before the
 * parser could refuse them. So each scalar is first tested by a keyword that no value of its type can pass (in a `not`):
 * such a test ignores other types and coerces nothing, and `allOf` stops there.
 */
const TYPE_TESTS = {
  string: { description: 'A string, not coerced.', not: { minLength: Number.MAX_SAFE_INTEGER } },
  number: { description: 'A number, not coerced.', not: { minimum: Number.MAX_VALUE } },
}

export function toJsonSchema(fields: Fields, options: JsonSchemaOptions = {}): JsonSchema {
  const { properties, ...rest } = recordSchema(fields)
  const ignored = Object.fromEntries((options.ignore ?? []).map((key) => [key, true]))
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    ...(options.id === undefined ? {} : { $id: options.id }),
    ...rest,
    properties: { ...ignored, ...properties },
    definitions: TYPE_TESTS,
  }
}

function recordSchema(fields: Fields) {
  const entries = Object.entries(fields)
  return {
    type: 'object',
    properties: Object.fromEntries(entries.map(([key, field]) => [key, fieldSchema(field)])),
    required: entries.filter(([, field]) => mustBeSet(field)).map(([key]) => key),
    additionalProperties: false,
  }
}

function fieldSchema(field: Field): JsonSchema {
  return {
    description: field.description,
    ...(field.default === undefined ? {} : { default: field.default }),
    ...(mustBeSet(field) ? kindSchema(field.type) : orNull(field.type)),
  }
}

function mustBeSet(field: Field): boolean {
  return !fillsItself({ field })
}

/** Null counts as unset. */
function orNull(kind: Kind): JsonSchema {
  return { if: { enum: [null] }, else: kindSchema(kind) }
}

function kindSchema(kind: Kind): JsonSchema {
  switch (kind.kind) {
    case 'string':
      return { allOf: [{ $ref: '#/definitions/string' }, { type: 'string', ...stringRules(kind) }] }
    case 'integer':
    case 'number': {
      const { min, max } = numberBounds(kind)
      return { allOf: [{ $ref: '#/definitions/number' }, { type: kind.kind, minimum: min, maximum: max }] }
    }
    case 'boolean':
      return { enum: [true, false] }
    case 'list':
      return { type: 'array', items: kindSchema(kind.of), ...listRules(kind) }
    case 'map':
      return {
        type: 'object',
        propertyNames: { minLength: 1, not: { enum: ['__proto__'] } },
        additionalProperties: orNull(kind.of),
      }
    case 'record':
      return recordSchema(kind.fields)
  }
}

function stringRules(kind: StringKind): JsonSchema {
  return {
    minLength: kind.minLength ?? 1,
    ...(kind.maxLength === undefined ? {} : { maxLength: kind.maxLength }),
    ...(kind.oneOf === undefined ? {} : { enum: kind.oneOf }),
    ...(kind.pattern === undefined ? {} : { pattern: kind.pattern.js }),
  }
}

function listRules(kind: ListKind): JsonSchema {
  return {
    ...(kind.minItems === undefined ? {} : { minItems: kind.minItems }),
    ...(kind.maxItems === undefined ? {} : { maxItems: kind.maxItems }),
  }
}
