/**
 * How claims are passed to the script that reserves.
 *
 * KEYS: the hashes. ARGV: the number of claims, left out when it is one; the field of each; then of each claim its mode,
 * limit, window, input and want, of a clipping one the floor, of a token bucket the burst, of a spread one the fields of
 * the overflow counter and of the owner. In a cluster or a test the number is there and negative, and three more follow
 * last: the time or '', what other hashes clipped to or '', and the floor of that.
 *
 * The reply, unless `quick.lua.ts` made it: admitted; clipped to, or -1; the floor of the clips; then of each claim 1
 * when the overflow counter was used, at, life, reserved, remaining, reset, and retry after: -1 when it fits, -2 when it
 * never can.
 *
 * A mode is the number of the algorithm plus these, plus HASH_STEP for every hash before the claim's own.
 */
export const claims = `
local CLIP, SHADOW, SPREAD, HASH_STEP = 4, 8, 16, 32
`
