/**
 * A declaration as the `config` fields of a Kong 3 plugin schema (`kong/db/schema/metaschema.lua`).
 * Kong refuses what it can see is wrong when the operator applies a config; the parser still has the last word.
 */

import type { Field, Fields, Kind } from './fields.ts'
import { numberBounds, type ParseOptions } from './parse.ts'

/** What Kong adds to a plugin's config before the plugin server sees it: ids, and where vault references stood. */
export const KONG_PRIVATE_KEYS = {
  ignore: [
    '__seq__',
    '__plugin_id',
    '__key__',
    '__ws_id',
    'route_id',
    'service_id',
    'consumer_id',
    'consumer_group_id',
  ],
  ignoreNested: ['$refs'],
} as const satisfies ParseOptions

export interface KongAttributes {
  readonly type: 'string' | 'integer' | 'number' | 'boolean' | 'array' | 'map' | 'record'
  readonly description?: string
  readonly required?: boolean
  readonly default?: unknown
  readonly one_of?: readonly string[]
  readonly not_one_of?: readonly string[]
  readonly between?: readonly [number, number]
  readonly len_min?: number
  readonly len_max?: number
  readonly match?: string
  readonly err?: string
  readonly referenceable?: true
  readonly encrypted?: true
  readonly elements?: KongAttributes
  readonly keys?: KongAttributes
  readonly values?: KongAttributes
  readonly fields?: readonly KongField[]
}

/** One member: the field's name. */
export type KongField = Readonly<Record<string, KongAttributes>>

/** A UTF-8 character has at most so many bytes, and Kong counts bytes. */
const MAX_BYTES = 4

export function toKongSchema(fields: Fields): readonly KongField[] {
  return Object.entries(fields).map(([key, field]) => ({ [key]: fieldAttributes(field) }))
}

function fieldAttributes(field: Field): KongAttributes {
  return {
    ...kindAttributes(field.type),
    description: field.description,
    // A default is never combined with `required`, so that an explicit null takes the default here as well.
    ...(field.required === true ? { required: true } : {}),
    // In a plugin's schema Kong takes a record that does not say so for required, and fills it in.
    ...(field.required !== true && field.type.kind === 'record' ? { required: false } : {}),
    ...(field.default === undefined ? {} : { default: field.default }),
  }
}

function kindAttributes(kind: Kind): KongAttributes {
  switch (kind.kind) {
    case 'string':
      return {
        type: 'string',
        ...(kind.oneOf === undefined ? {} : { one_of: kind.oneOf }),
        ...(kind.minLength === undefined ? {} : { len_min: kind.minLength }),
        ...(kind.maxLength === undefined ? {} : { len_max: kind.maxLength * MAX_BYTES }),
        ...(kind.pattern === undefined ? {} : { match: kind.pattern.lua }),
        // Without `err`, Kong's own message quotes the value.
        ...(kind.secret === true ? { referenceable: true, encrypted: true, err: 'is not an acceptable secret' } : {}),
      }
    case 'integer':
    case 'number': {
      const { min, max } = numberBounds(kind)
      return { type: kind.kind, between: [min, max] }
    }
    case 'boolean':
      return { type: 'boolean' }
    case 'list':
      return {
        type: 'array',
        elements: kindAttributes(kind.of),
        ...(kind.minItems === undefined ? {} : { len_min: kind.minItems }),
        ...(kind.maxItems === undefined ? {} : { len_max: kind.maxItems }),
      }
    case 'map':
      return {
        type: 'map',
        keys: { type: 'string', not_one_of: ['__proto__'] },
        values: kindAttributes(kind.of),
      }
    case 'record':
      return { type: 'record', fields: toKongSchema(kind.fields) }
  }
}
