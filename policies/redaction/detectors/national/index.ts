/** All identifier rules. */

import { AMERICAS } from './americas.ts'
import { ASIA_PACIFIC } from './asia-pacific.ts'
import { BRITISH } from './british.ts'
import { EUROPE } from './europe.ts'
import { GENERIC } from './generic.ts'
import { NORDIC_EASTERN } from './nordic-eastern.ts'
import type { IdRule } from './rule.ts'

export const NATIONAL_RULES: readonly IdRule[] = [
  ...AMERICAS,
  ...BRITISH,
  ...EUROPE,
  ...NORDIC_EASTERN,
  ...ASIA_PACIFIC,
  ...GENERIC,
]
