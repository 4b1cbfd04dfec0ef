/** Builders of field kinds. They keep literal types, so that `Config` stays exact. */

import type { BooleanKind, Fields, IntegerKind, Kind, NumberKind, StringKind } from './fields.ts'

type Options<K> = Omit<K, 'kind'>
type Made<Name extends string, O> = { readonly kind: Name } & { readonly [P in keyof O]: O[P] }
interface Items {
  readonly minItems?: number
  readonly maxItems?: number
}

export function string<const O extends Options<StringKind> = Options<StringKind>>(options?: O): Made<'string', O> {
  return make('string', options)
}

/** One of `values`. */
export function choice<const V extends readonly string[]>(...values: V): Made<'string', { readonly oneOf: V }> {
  return { kind: 'string', oneOf: values }
}

export function integer<const O extends Options<IntegerKind> = Options<IntegerKind>>(options?: O): Made<'integer', O> {
  return make('integer', options)
}

export function number<const O extends Options<NumberKind> = Options<NumberKind>>(options?: O): Made<'number', O> {
  return make('number', options)
}

export function boolean(): BooleanKind {
  return { kind: 'boolean' }
}

export function list<const K extends Kind, const O extends Items = Items>(
  of: K,
  options?: O,
): Made<'list', { readonly of: K } & O> {
  return make('list', { of, ...options }) as Made<'list', { readonly of: K } & O>
}

export function map<const K extends Kind>(of: K): Made<'map', { readonly of: K }> {
  return { kind: 'map', of }
}

export function record<const F extends Fields>(fields: F): Made<'record', { readonly fields: F }> {
  return { kind: 'record', fields }
}

function make<Name extends string, O>(kind: Name, options: O | undefined): Made<Name, O> {
  return { kind, ...options } as Made<Name, O>
}
