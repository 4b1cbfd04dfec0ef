/** All vendor rules. */

import { BUSINESS_KEYED, BUSINESS_TOKENS } from './business.ts'
import { CLOUD_KEYED, CLOUD_TOKENS } from './cloud.ts'
import { DEVELOPER_KEYED, DEVELOPER_TOKENS } from './developer.ts'
import type { KeyedRule, TokenRule } from './rule.ts'

export const TOKEN_RULES: readonly TokenRule[] = [...CLOUD_TOKENS, ...DEVELOPER_TOKENS, ...BUSINESS_TOKENS]
export const KEYED_RULES: readonly KeyedRule[] = [...CLOUD_KEYED, ...DEVELOPER_KEYED, ...BUSINESS_KEYED]

/** Names of the vendors whose secrets are known, in alphabetical order. */
export const VENDORS: readonly string[] = [
  ...new Set([...TOKEN_RULES, ...KEYED_RULES].map((rule) => rule.vendor)),
].sort((a, b) => a.localeCompare(b))
