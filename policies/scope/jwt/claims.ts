/** What a token must say to be accepted (RFC 7519 4.1, RFC 8725, RFC 9068). */

import type { JsonObject } from '../../llm/json.ts'
import type { IssuerConfig } from './fields.ts'
import { type TokenHeader, TokenRefused } from './token.ts'

/** Epoch seconds between which a token is good, tolerance included; it is no longer so at `until`. */
export interface Validity {
  readonly from: number
  readonly until: number
}

/** @throws {TokenRefused} for a type or audience that the issuer's entry does not name, or a malformed claim. */
export function checkClaims(header: TokenHeader, claims: JsonObject, issuer: IssuerConfig): void {
  checkType(header.typ, issuer)
  for (const name of ['sub', 'jti']) {
    const value = claims[name]
    if (value !== undefined && (typeof value !== 'string' || value === '' || value.length > 1_024)) throw badClaim(name)
  }
  const audiences = typeof claims.aud === 'string' ? [claims.aud] : claims.aud
  if (!Array.isArray(audiences) || !audiences.every((one) => typeof one === 'string')) throw badClaim('aud')
  if (!audiences.some((one) => issuer.audiences.includes(one)))
    throw new TokenRefused('The token is for somebody else.')
}

function checkType(typ: string | undefined, issuer: IssuerConfig): void {
  if (typ === undefined && !issuer.require_typ) return
  if (typ !== undefined && issuer.types.includes(typ)) return
  const folded = foldType(typ ?? '')
  if (!issuer.types.some((type) => foldType(type) === folded)) throw new TokenRefused('The token is of another type.')
}

/** RFC 7515 4.1.9: `application/` may be left out. */
function foldType(type: string): string {
  return type.toLowerCase().replace(/^application\//, '')
}

/** @throws {TokenRefused} when `exp` is missing or a time is no plausible number. */
export function validityOf(claims: JsonObject, issuer: IssuerConfig, tolerance: number): Validity {
  const expires = timeOf(claims, 'exp')
  if (expires === undefined) throw new TokenRefused('The token has no expiry.')
  const notBefore = timeOf(claims, 'nbf') ?? Number.NEGATIVE_INFINITY
  const issued = timeOf(claims, 'iat')
  let until = expires + tolerance
  if (issuer.max_age_seconds !== undefined) {
    if (issued === undefined) throw new TokenRefused('The token does not say when it was issued.')
    until = Math.min(until, issued + issuer.max_age_seconds + tolerance)
  }
  return { from: Math.max(notBefore, issued ?? Number.NEGATIVE_INFINITY) - tolerance, until }
}

export const EXPIRED = 'The token has expired.'

/** @param now epoch seconds. @throws {TokenRefused} */
export function checkTime({ from, until }: Validity, now: number): void {
  if (now >= until) throw new TokenRefused(EXPIRED)
  if (now < from) throw new TokenRefused('The token is not valid yet.')
}

/** NumericDate: seconds, possibly with a fraction. */
function timeOf(claims: JsonObject, name: string): number | undefined {
  const value = claims[name]
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !(value >= 0 && value <= 253_402_300_799)) throw badClaim(name)
  return value
}

function badClaim(name: string): TokenRefused {
  return new TokenRefused(`The claim ${name} of the token is malformed.`)
}
