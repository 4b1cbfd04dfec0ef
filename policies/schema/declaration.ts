/** The rules that every declaration keeps, so that each gateway can express it. Used by the tests of the policies. */

import type { ConfigIssue, Field, Fields, Kind, NumberKind, StringKind } from './fields.ts'
import { checkValue, numberBounds } from './parse.ts'

/** Names that a gateway or JavaScript already gives a meaning to. */
const RESERVED = new Set([
  'route_id',
  'service_id',
  'consumer_id',
  'consumer_group_id',
  'plugin_id',
  'ws_id',
  'constructor',
])

/** Everything wrong with a declaration, by path; empty when nothing is. */
export function validateDeclaration(fields: Fields, path = ''): readonly ConfigIssue[] {
  const entries = Object.entries(fields)
  if (entries.length === 0) return [{ path, message: 'declares no field' }]
  return entries.flatMap(([key, field]) => {
    const at = path === '' ? key : `${path}.${key}`
    return [...nameIssues(key), ...fieldIssues(field), ...defaultIssues(field)]
      .map((message) => ({ path: at, message }))
      .concat(kindIssues(field.type, at))
  })
}

function nameIssues(key: string): string[] {
  if (!/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/.test(key)) return ['is not a snake_case name']
  return RESERVED.has(key) ? ['is a reserved name'] : []
}

function fieldIssues(field: Field): string[] {
  const { length } = field.description
  const issues = length < 10 || length > 500 ? ['needs a description of 10 to 500 characters'] : []
  if (field.required === true && field.default !== undefined) issues.push('is required and has a default')
  if (field.type.kind === 'string' && field.type.secret === true && field.default !== undefined)
    issues.push('is a secret with a default')
  return issues
}

function defaultIssues(field: Field): string[] {
  if (field.default === undefined) return []
  // Kong refuses a schema with one, and null means unset anyway.
  if (holdsNull(field.default)) return ['has a null in its default']
  return checkValue(field.type, field.default, 'default').map(({ path, message }) => `${path} ${message}`)
}

function holdsNull(value: unknown): boolean {
  return value === null || (typeof value === 'object' && Object.values(value).some(holdsNull))
}

function kindIssues(kind: Kind, path: string): ConfigIssue[] {
  const issue = (wrong: boolean, message: string) => (wrong ? [{ path, message }] : [])
  switch (kind.kind) {
    case 'string':
      return stringIssues(kind).map((message) => ({ path, message }))
    case 'integer':
    case 'number':
      return issue(!boundsMakeSense(kind), 'has bounds that no value can meet exactly')
    case 'boolean':
      return []
    case 'list':
      return [
        ...issue((kind.minItems ?? 0) > (kind.maxItems ?? Number.MAX_SAFE_INTEGER), 'has minItems above maxItems'),
        ...kindIssues(kind.of, `${path}[]`),
      ]
    case 'map':
      return kindIssues(kind.of, `${path}.*`)
    case 'record':
      return [...validateDeclaration(kind.fields, path)]
  }
}

function boundsMakeSense(kind: Omit<NumberKind, 'kind'> & { readonly kind: string }): boolean {
  const { min, max } = numberBounds(kind)
  const exact = kind.kind === 'number' || (Number.isInteger(min) && Number.isInteger(max))
  return exact && min <= max && min >= Number.MIN_SAFE_INTEGER && max <= Number.MAX_SAFE_INTEGER
}

function stringIssues(kind: StringKind): string[] {
  const issues: string[] = []
  if ((kind.minLength ?? 1) > (kind.maxLength ?? Number.MAX_SAFE_INTEGER)) issues.push('has minLength above maxLength')
  if (kind.oneOf?.length === 0) issues.push('has an empty oneOf')
  for (const value of kind.oneOf ?? []) {
    if (checkValue({ kind: 'string' }, value, '').length > 0) issues.push('has an empty value in oneOf')
  }
  if (kind.oneOf !== undefined && (kind.pattern ?? kind.minLength ?? kind.maxLength) !== undefined)
    issues.push('combines oneOf with other rules')
  for (const pattern of Object.values(kind.pattern ?? {})) {
    if (!pattern.startsWith('^')) issues.push('has a pattern that does not start with ^')
  }
  if (kind.pattern !== undefined && !compiles(kind.pattern.js)) issues.push('has a pattern that does not compile')
  return issues
}

function compiles(pattern: string): boolean {
  try {
    new RegExp(pattern)
    new RegExp(pattern, 'u')
    return true
  } catch (error) {
    if (error instanceof SyntaxError) return false
    throw error
  }
}
