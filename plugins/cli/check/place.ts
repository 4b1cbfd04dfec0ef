/** Where something stands in what was audited. */

export interface Place {
  /** Path of a file as it was given, or URL of an Admin API without user and password. */
  readonly file: string
  /** From 1; undefined for what has no lines. */
  readonly line?: number
}

export type Raw = Readonly<Record<string, unknown>>

export function isRaw(value: unknown): value is Raw {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function rawList(value: unknown): readonly Raw[] {
  return Array.isArray(value) ? value.filter(isRaw) : []
}

export function strings(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []
}

export function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** A member of a member; undefined as soon as one is missing. */
export function memberAt(value: unknown, ...path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (found, key) => (isRaw(found) && Object.hasOwn(found, key) ? found[key] : undefined),
    value,
  )
}
