/**
 * How Kong 3.9 fills a config when it stores it (`Schema:process_auto_fields` in `kong/db/schema/init.lua`), as far as the
 * declared kinds need it. `kong-schema.test.ts` holds it against the answers of a real Kong.
 */

import type { KongAttributes, KongField } from '../../../policies/schema/kong-schema.ts'

export function fillAsKong(fields: readonly KongField[], input: unknown): unknown {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) return input
  const declared = fields.flatMap((field) => Object.entries(field))
  const filled = declared
    .map(([key, attributes]) => [key, fillField(attributes, ownValue(input, key))] as const)
    .filter(([, value]) => value !== undefined)
  return Object.fromEntries([...Object.entries(input), ...filled])
}

function fillField(attributes: KongAttributes, value: unknown): unknown {
  if (value !== undefined) return fillNested(attributes, value)
  if (attributes.default !== undefined) return structuredClone(attributes.default)
  if (attributes.required !== true) return null
  return attributes.type === 'record' ? fillAsKong(attributes.fields ?? [], {}) : undefined
}

function fillNested(attributes: KongAttributes, value: unknown): unknown {
  const { type, fields, elements, values } = attributes
  if (type === 'record') return fillAsKong(fields ?? [], value)
  if (type === 'array' && Array.isArray(value) && elements !== undefined)
    return value.map((item) => fillNested(elements, item))
  if (type === 'map' && typeof value === 'object' && value !== null && !Array.isArray(value) && values !== undefined)
    return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, fillNested(values, entry)]))
  return value
}

function ownValue(input: object, key: string): unknown {
  return Object.hasOwn(input, key) ? (input as Record<string, unknown>)[key] : undefined
}
