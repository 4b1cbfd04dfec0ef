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
