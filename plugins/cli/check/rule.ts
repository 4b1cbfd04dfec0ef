/** What a rule is, and what it says. */

import type { Entity } from './entities.ts'
import type { Place } from './place.ts'
import type { Site } from './site.ts'

export const SEVERITIES = ['error', 'warning', 'note'] as const
export type Severity = (typeof SEVERITIES)[number]

/** What a configuration does not say by itself: the variables of Kong, and routes and services of other files. */
export type Need = 'variables' | 'routes'

export interface Rule {
  /** Stable: it stands in `--ignore` and in tags. */
  readonly id: string
  readonly severity: Severity
  /** What is looked for, in a few words. */
  readonly title: string
  /** What can happen. */
  readonly why: string
  readonly fix: string
  /** Without it, finding nothing means nothing. */
  readonly needs?: Need
  find(site: Site): Iterable<Hit>
}

export interface Hit {
  readonly place: Place
  /** What exactly is wrong here; it may name entities and fields, never a value that may be secret. */
  readonly what: string
  /** Entities whose tag may acknowledge it. */
  readonly on: readonly (Entity | undefined)[]
}

export interface Finding {
  readonly rule: Rule
  readonly place: Place
  readonly what: string
  /** By a tag `portcullis-ack:<rule>`. */
  readonly acknowledged: boolean
}

export const ACKNOWLEDGE = 'portcullis-ack:'
