/** Validates a config against its declaration. Nothing is coerced, and every offending field is named at once. */

import { ConfigError } from '../errors.ts'
import type { Declared } from '../policy-set.ts'
import type { Config, ConfigIssue, Field, Fields, Kind, ListKind, NumberKind, StringKind } from './fields.ts'

export interface ParseOptions {
  /** What is configured, for the error's message. */
  readonly subject?: string
  /** Top-level keys that the gateway adds for itself. Any other undeclared key is refused. */
  readonly ignore?: readonly string[]
  /** Keys that the gateway adds to every record, nested ones included. */
  readonly ignoreNested?: readonly string[]
}

interface Parsing {
  readonly issues: ConfigIssue[]
  readonly ignore: ReadonlySet<string>
  readonly ignoreNested: ReadonlySet<string>
}

/** Marks a value that an issue was reported for. */
const INVALID = Symbol('invalid')
const ABSENT = Symbol('absent')

/**
 * The typed, defaulted and deeply frozen config. Maps have no prototype, so that any key can be looked up safely.
 * @throws {ConfigError} listing every offending path.
 */
export function parseConfig<const F extends Fields>(fields: F, input: unknown, options: ParseOptions = {}): Config<F> {
  const issues: ConfigIssue[] = []
  const value = parseRecord(fields, input, '', {
    issues,
    ignore: new Set([...(options.ignore ?? []), ...(options.ignoreNested ?? [])]),
    ignoreNested: new Set(options.ignoreNested),
  })
  if (issues.length > 0) throw new ConfigError(options.subject ?? 'a policy', issues)
  return value as Config<F>
}

/**
 * {@link parseConfig}, then the own check of the policy, or of the set of them, for impossible combinations.
 * @throws {ConfigError} listing every offending path.
 */
export function parsePolicyConfig<F extends Fields>(
  policy: Declared<F>,
  input: unknown,
  options: ParseOptions = {},
): Config<F> {
  const subject = options.subject ?? policy.name
  const config = parseConfig<F>(policy.fields, input, { ...options, subject })
  const issues = policy.check?.(config) ?? []
  if (issues.length > 0) throw new ConfigError(subject, issues)
  return config
}

/** What is wrong with one value of a kind; empty when nothing is. */
export function checkValue(kind: Kind, value: unknown, path: string): readonly ConfigIssue[] {
  const issues: ConfigIssue[] = []
  parseValue(kind, value, path, { issues, ignore: new Set(), ignoreNested: new Set() })
  return issues
}

function parseRecord(fields: Fields, input: unknown, path: string, parsing: Parsing): unknown {
  if (!isObject(input)) return refuse(parsing, path, `must be an object, not ${nameOf(input)}`)
  for (const key of Object.keys(input)) {
    if (!Object.hasOwn(fields, key) && !parsing.ignore.has(key))
      refuse(parsing, memberPath(path, key), 'is not a known field')
  }
  const nested = path === '' ? { ...parsing, ignore: parsing.ignoreNested } : parsing
  const result: Record<string, unknown> = {}
  for (const [key, field] of Object.entries(fields)) {
    const value = parseField(field, own(input, key), memberPath(path, key), nested)
    if (value !== ABSENT) result[key] = value
  }
  return Object.freeze(result)
}

function parseField(field: Field, value: unknown, path: string, parsing: Parsing): unknown {
  if (value !== undefined && value !== null) return parseValue(field.type, value, path, parsing)
  if (field.default !== undefined) return parseValue(field.type, field.default, path, parsing)
  if (field.required !== true) return ABSENT
  // As Kong does: a required record is filled from its own fields, and what they lack is named there.
  if (field.type.kind === 'record') return parseRecord(field.type.fields, {}, path, parsing)
  return refuse(parsing, path, 'is required')
}

function parseValue(kind: Kind, value: unknown, path: string, parsing: Parsing): unknown {
  switch (kind.kind) {
    case 'string':
      return parseString(kind, value, path, parsing)
    case 'integer':
    case 'number':
      return parseNumber(kind, value, path, parsing)
    case 'boolean':
      return typeof value === 'boolean' ? value : refuse(parsing, path, `must be a boolean, not ${nameOf(value)}`)
    case 'list':
      return parseList(kind, value, path, parsing)
    case 'map':
      return parseMap(kind.of, value, path, parsing)
    case 'record':
      return parseRecord(kind.fields, value, path, parsing)
  }
}

function parseString(kind: StringKind, value: unknown, path: string, parsing: Parsing): unknown {
  if (typeof value !== 'string') return refuse(parsing, path, `must be a string, not ${nameOf(value)}`)
  if (kind.oneOf !== undefined && !kind.oneOf.includes(value))
    return refuse(parsing, path, `must be one of ${kind.oneOf.join(', ')}`)
  const length = codePoints(value)
  const least = kind.minLength ?? 1
  if (length < least) {
    const wanted = least === 1 ? 'must not be empty' : `must have at least ${least} characters`
    return refuse(parsing, path, wanted)
  }
  if (kind.maxLength !== undefined && length > kind.maxLength)
    return refuse(parsing, path, `must have at most ${kind.maxLength} characters`)
  if (kind.pattern !== undefined && !new RegExp(kind.pattern.js, 'u').test(value))
    return refuse(parsing, path, `must match ${kind.pattern.js}`)
  return value
}

function parseNumber(
  kind: Omit<NumberKind, 'kind'> & { readonly kind: 'integer' | 'number' },
  value: unknown,
  path: string,
  parsing: Parsing,
): unknown {
  const wanted = kind.kind === 'integer' ? 'an integer' : 'a number'
  if (typeof value !== 'number' || Number.isNaN(value))
    return refuse(parsing, path, `must be ${wanted}, not ${nameOf(value)}`)
  const { min, max } = numberBounds(kind)
  if (value < min || value > max) return refuse(parsing, path, `must be between ${min} and ${max}`)
  if (kind.kind === 'integer' && !Number.isInteger(value)) return refuse(parsing, path, 'must be an integer')
  return value === 0 ? 0 : value // no negative zero
}

function parseList(kind: ListKind, value: unknown, path: string, parsing: Parsing): unknown {
  if (!Array.isArray(value)) return refuse(parsing, path, `must be a list, not ${nameOf(value)}`)
  if (value.length < (kind.minItems ?? 0)) return refuse(parsing, path, `must have at least ${kind.minItems} items`)
  if (kind.maxItems !== undefined && value.length > kind.maxItems)
    return refuse(parsing, path, `must have at most ${kind.maxItems} items`)
  const items = Array.from({ length: value.length }, (_, index) =>
    parseValue(kind.of, value[index] as unknown, `${path}[${index}]`, parsing),
  )
  return Object.freeze(items)
}

function parseMap(of: Kind, value: unknown, path: string, parsing: Parsing): unknown {
  if (!isObject(value)) return refuse(parsing, path, `must be an object, not ${nameOf(value)}`)
  const result: Record<string, unknown> = Object.create(null)
  for (const key of Object.keys(value)) {
    const entry = memberPath(path, key)
    if (key === '' || key === '__proto__') refuse(parsing, entry, 'is not an allowed key')
    else if (value[key] !== undefined && value[key] !== null) result[key] = parseValue(of, value[key], entry, parsing)
  }
  return Object.freeze(result)
}

/** Inclusive. */
export function numberBounds(kind: { readonly min?: number; readonly max?: number }): { min: number; max: number } {
  return { min: kind.min ?? Number.MIN_SAFE_INTEGER, max: kind.max ?? Number.MAX_SAFE_INTEGER }
}

/** Whether an unset record is complete once its own defaults are filled in. */
export function fillsItself(fields: Fields): boolean {
  return Object.values(fields).every(
    (field) =>
      field.required !== true ||
      field.default !== undefined ||
      (field.type.kind === 'record' && fillsItself(field.type.fields)),
  )
}

function refuse(parsing: Parsing, path: string, message: string): typeof INVALID {
  parsing.issues.push({ path, message })
  return INVALID
}

function isObject(value: unknown): value is Record<string, unknown> {
  // Not Date, Map or another built-in, which would read as an empty record.
  return Object.prototype.toString.call(value) === '[object Object]'
}

function own(input: Record<string, unknown>, key: string): unknown {
  return Object.hasOwn(input, key) ? input[key] : undefined
}

function memberPath(path: string, key: string): string {
  if (/^[A-Za-z_$][\w$-]{0,63}$/.test(key)) return path === '' ? key : `${path}.${key}`
  const shown = key.length > 64 ? `${key.slice(0, 64)}…` : key
  return `${path}[${JSON.stringify(shown)}]`
}

/** The type of a value, never the value itself: it may be a secret in the wrong place. */
function nameOf(value: unknown): string {
  if (value === null || value === undefined) return 'null'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return isObject(value) ? 'an object' : 'another kind of object'
  if (typeof value === 'number' && Number.isNaN(value)) return 'NaN'
  return `a ${typeof value}`
}

function codePoints(text: string): number {
  let count = 0
  for (const _ of text) count++
  return count
}
