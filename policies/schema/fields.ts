/**
 * The closed set of config field kinds: only what every gateway can express. One declaration gives the
 * TypeScript type, the parser, Kong's schema records, JSON Schema and the README table.
 */

/** What a kind of field accepts; `Value` is the parsed TypeScript type. */
export type Kind = StringKind | IntegerKind | NumberKind | BooleanKind | ListKind | MapKind | RecordKind

export interface StringKind {
  readonly kind: 'string'
  readonly oneOf?: readonly string[]
  /** Inclusive, in Unicode code points. The least is 1 unless set to 0. */
  readonly minLength?: number
  readonly maxLength?: number
  /** The same rule as a JavaScript pattern (with the `u` flag) and as a Lua one, both anchored with `^`. */
  readonly pattern?: { readonly js: string; readonly lua: string }
  /** Kong may resolve it from a vault; it never appears in a log or error. */
  readonly secret?: boolean
}
export interface IntegerKind {
  readonly kind: 'integer'
  /** Bounds are inclusive and default to the safe integers. */
  readonly min?: number
  readonly max?: number
}
export interface NumberKind {
  readonly kind: 'number'
  /** Bounds are inclusive and default to the safe integers. */
  readonly min?: number
  readonly max?: number
}
export interface BooleanKind {
  readonly kind: 'boolean'
}
export interface ListKind {
  readonly kind: 'list'
  readonly of: Kind
  readonly minItems?: number
  readonly maxItems?: number
}
/** Free keys, never empty and never `__proto__`. */
export interface MapKind {
  readonly kind: 'map'
  readonly of: Kind
}
export interface RecordKind {
  readonly kind: 'record'
  readonly fields: Fields
}

/**
 * One config field. Neither required nor defaulted: absent when unset (`null` counts as unset).
 * A required record that is unset is filled from the defaults of its own fields.
 */
export interface Field {
  readonly type: Kind
  /** One sentence with unit and range, 10 to 500 characters (Kong's bounds). */
  readonly description: string
  readonly required?: true
  readonly default?: unknown
}

/** Keys are snake_case and the same in every gateway. */
export type Fields = Readonly<Record<string, Field>>

type ValueOf<K> = K extends { readonly kind: 'string' }
  ? K extends { readonly oneOf: readonly (infer S)[] }
    ? S
    : string
  : K extends { readonly kind: 'integer' | 'number' }
    ? number
    : K extends { readonly kind: 'boolean' }
      ? boolean
      : K extends { readonly kind: 'list'; readonly of: infer I }
        ? readonly ValueOf<I>[]
        : K extends { readonly kind: 'map'; readonly of: infer I }
          ? Readonly<Record<string, ValueOf<I>>>
          : K extends { readonly kind: 'record'; readonly fields: infer F extends Fields }
            ? Config<F>
            : never

type Present<F extends Field> = F extends { readonly required: true }
  ? true
  : F extends { readonly default: unknown }
    ? true
    : false

type Simplify<T> = { readonly [K in keyof T]: T[K] }

/** The parsed config of a declaration; of one that is not known, some record. */
export type Config<F extends Fields> = string extends keyof F
  ? Readonly<Record<string, unknown>>
  : Simplify<
      {
        readonly [K in keyof F as Present<F[K]> extends true ? K : never]: ValueOf<F[K]['type']>
      } & {
        readonly [K in keyof F as Present<F[K]> extends true ? never : K]?: ValueOf<F[K]['type']>
      }
    >

/** Keeps a declaration's literal types while checking its shape. */
export function defineFields<const F extends Fields>(fields: F): F {
  return fields
}

/** One thing wrong with a config: where, as `limits[2].window_seconds`, and what. Never the value of a secret. */
export interface ConfigIssue {
  readonly path: string
  readonly message: string
}
