/** Reads verified claims. */

import type { Claims } from '../policy.ts'

/**
 * The value at a path: a claim of exactly that name first (such as `https://example.com/team`), then step by step along
 * the dots.
 */
export function claimAt(claims: Claims | undefined, path: string): unknown {
  if (claims === undefined) return undefined
  if (Object.hasOwn(claims, path)) return claims[path]
  let value: unknown = claims
  for (const step of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined
    value = (value as Readonly<Record<string, unknown>>)[step]
  }
  return value
}

/** A claim that can name somebody: text, a number or a truth value. */
export function scalarClaim(claims: Claims | undefined, path: string): string | undefined {
  const value = claimAt(claims, path)
  if (typeof value === 'string') return value === '' ? undefined : value
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  return undefined
}
