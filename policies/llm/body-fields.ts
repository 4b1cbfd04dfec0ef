/** Decisive fields of a request body, read strictly: what cannot be understood is refused, never guessed. */

import { fieldName, invalid, isObject, type JsonObject } from './json.ts'

/**
 * A token limit; undefined when absent or null.
 * @throws {RefusedRead} `invalid_request` unless it is a non-negative safe integer.
 */
export function readLimit(object: JsonObject, key: string, name = key): number | undefined {
  const value = object[key]
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0)
    throw invalid(`The field "${name}" must be a non-negative integer.`)
  return value
}

/**
 * How many candidates; 1 when absent or null.
 * @throws {RefusedRead} `invalid_request` unless it is a positive safe integer.
 */
export function readCount(object: JsonObject, key: string, name = key): number {
  const value = object[key] ?? 1
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 1)
    throw invalid(`The field "${name}" must be a positive integer.`)
  return value
}

/**
 * A switch; undefined when absent or null.
 * @throws {RefusedRead} `invalid_request` unless it is a boolean: "true" and 1 mean different things to different parsers.
 */
export function readFlag(object: JsonObject, key: string, name = key): boolean | undefined {
  const value = object[key]
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'boolean') throw invalid(`The field "${name}" must be true or false.`)
  return value
}

/**
 * A nested object; undefined when absent or null.
 * @throws {RefusedRead} `invalid_request` when it is anything else.
 */
export function readObject(object: JsonObject, key: string): JsonObject | undefined {
  const value = object[key]
  if (value === undefined || value === null) return undefined
  if (!isObject(value)) throw invalid(`The field ${fieldName(key)} must be an object.`)
  return value
}

/**
 * A model's name; undefined when absent or null. At most 256 characters, no control characters, no outer white space:
 * upstreams that trim would run another model than the one that was judged.
 * @throws {RefusedRead} `invalid_request`.
 */
export function readModel(object: JsonObject, key = 'model'): string | undefined {
  const value = object[key]
  return value === undefined || value === null ? undefined : assertModel(value, key)
}

export function assertModel(value: unknown, name: string): string {
  if (typeof value !== 'string' || value.length === 0) throw invalid(`The field "${name}" must be a model name.`)
  if (value.length > 256 || value !== value.trim() || /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(value))
    throw invalid(`The field "${name}" is no plausible model name.`)
  return value
}

/** Tokens over all candidates, capped at the largest safe integer. A limit of zero declares nothing: some servers take it for none. */
export function declaredOutput(limits: readonly (number | undefined)[], candidates: number): number | undefined {
  const largest = Math.max(0, ...limits.map((limit) => limit ?? 0))
  return largest === 0 ? undefined : Math.min(largest * candidates, Number.MAX_SAFE_INTEGER)
}
