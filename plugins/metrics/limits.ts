/** Callers that have series of their own, unless told otherwise; and how many at most. */
export const DEFAULT_CALLERS = 100
export const MAX_CALLERS = 10_000
