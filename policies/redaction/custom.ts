/** Patterns of the operator's own, run by RE2's linear-time engine so that none can hang the gateway. */

import { RE2JS } from 're2js'
import { PortcullisError } from '../errors.ts'
import type { Candidate } from './finding.ts'
import { PRIORITY } from './finding.ts'

export interface CustomPattern {
  /** Label of the placeholder: upper-case letters, digits and underscores, at most 40. */
  readonly type: string
  /** RE2 syntax, at most 1,000 characters. The first group, where there is one, is what is masked. */
  readonly pattern: string
}

export type CustomMatcher = (text: string) => Candidate[]

const MAX_PATTERN = 1_000

/**
 * Compiles patterns.
 * @throws {PortcullisError} `invalid_options` naming the pattern by its place, never by its text.
 */
export function compileCustom(patterns: readonly CustomPattern[]): readonly CustomMatcher[] {
  return patterns.map(({ type, pattern }, index) => {
    if (!/^[A-Z][A-Z0-9_]{0,39}$/.test(type)) {
      throw new PortcullisError(
        'invalid_options',
        `custom[${index}].type must be upper-case letters, digits and underscores`,
      )
    }
    if (pattern.length === 0 || pattern.length > MAX_PATTERN) {
      throw new PortcullisError('invalid_options', `custom[${index}].pattern must have 1 to ${MAX_PATTERN} characters`)
    }
    let engine: RE2JS
    try {
      engine = RE2JS.compile(pattern)
    } catch (cause) {
      throw new PortcullisError('invalid_options', `custom[${index}].pattern is no RE2 pattern`, { cause })
    }
    return (text) => {
      const found: Candidate[] = []
      const matcher = engine.matcher(text)
      const group = engine.groupCount() > 0 ? 1 : 0
      while (matcher.find()) {
        const start = matcher.start(group)
        const end = matcher.end(group)
        if (start >= 0 && end > start) found.push({ type, start, end, priority: PRIORITY.custom })
      }
      return found
    }
  })
}
