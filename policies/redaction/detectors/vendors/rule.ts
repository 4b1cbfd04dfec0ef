/** The form of rules for vendors' secrets. Patterns are our own; formats come from the vendors' documentation. */

/** A token that its own prefix or infix gives away. */
export interface TokenRule {
  readonly vendor: string
  /** Literal parts, one of which is in every token; case does not count. */
  readonly keywords: readonly string[]
  /** Source of the pattern from the start of the token on, bounded. */
  readonly pattern: string
  /** Characters between the start of the token and its keyword, at most; 0 for a prefix. */
  readonly lead?: number
  /** Least Shannon entropy in bits a character; 2.5 unless set. */
  readonly entropy?: number
  /** Case of letters does not count. */
  readonly anyCase?: true
}

/** A token without a mark of its own: found as a value assigned to a name that holds the vendor's. */
export interface KeyedRule {
  readonly vendor: string
  readonly keywords: readonly string[]
  /** Source of the pattern of the whole value. */
  readonly value: string
}

/** A token rule whose prefix is its only keyword. */
export function token(vendor: string, prefix: string, rest: string, more: Partial<TokenRule> = {}): TokenRule {
  return {
    vendor,
    keywords: [prefix.toLowerCase()],
    pattern: prefix.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&') + rest,
    ...more,
  }
}

/** A keyed rule. `names` are separated by spaces. */
export function keyed(vendor: string, names: string, value: string): KeyedRule {
  return { vendor, keywords: names.split(' '), value }
}

/** Character classes and shapes that many formats share. */
export const HEX = '[a-f0-9]'
export const UUID = '[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}'
