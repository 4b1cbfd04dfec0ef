/** The callers of the tour and their limits. */

export interface Tier {
  readonly name: string
  readonly limit: number
  readonly windowSeconds: number
  /** As it is said in print. */
  readonly window: string
}

export const FREE: Tier = { name: 'free', limit: 2_000, windowSeconds: 60, window: 'a minute' }
export const GOLD: Tier = { name: 'gold', limit: 20_000, windowSeconds: 60, window: 'a minute' }
/** So short a window that nobody waits long to see it recover. */
export const QUICK: Tier = { name: 'quick', limit: 300, windowSeconds: 2, window: 'in 2 s' }
export const TIERS: readonly Tier[] = [FREE, GOLD, QUICK]

/** The rules as an operator writes them: a consumer's tag picks its tier. */
export const TOKEN_LIMIT = {
  limits: TIERS.map(({ name, limit, windowSeconds }) => ({
    name: 'tokens',
    limit,
    window_seconds: windowSeconds,
    match: { tags: [name] },
  })),
}
