/**
 * Verifies tokens of the configured issuers with keys that jose chooses and imports. A token is verified once however many
 * plugins and requests look at it, until it expires or its issuer's keys change.
 */

import { hash } from 'node:crypto'
import type { CryptoKey } from 'jose'
import { PortcullisError } from '../../errors.ts'
import { forgetOldest } from '../../forget-oldest.ts'
import type { Claims, Deps, MaybePromise } from '../../policy.ts'
import { checkClaims, checkTime, EXPIRED, type Validity, validityOf } from './claims.ts'
import type { IssuerConfig, JwtConfig } from './fields.ts'
import { type FoundKey, inlineKeySet, type KeyHeader, type KeySet, type MakeChooser, remoteKeySet } from './key-set.ts'
import { type Algorithm, isLongEnough, isSignedBy } from './signature.ts'
import { createTokenReader, type ReadToken, TokenRefused } from './token.ts'

export type Verification =
  | { readonly type: 'verified'; readonly claims: Claims }
  /** `reason` is fixed text. */
  | { readonly type: 'refused'; readonly reason: string }

export interface TokenVerifier {
  /** @throws {PortcullisError} `jwks_unavailable` when nobody can tell now. */
  verify(token: string): MaybePromise<Verification>
}

interface Trusted {
  readonly issuer: IssuerConfig
  readonly keys: KeySet
}

/** Good but for its signature. */
interface Opened {
  readonly token: ReadToken
  readonly alg: Algorithm
  readonly keys: KeySet
  readonly validity: Validity
}

interface Verified extends Validity {
  readonly result: Verification
  readonly keys: KeySet
  readonly version: number
}

/** One for all plugins of the process that trust the same issuers. */
export function sharedVerifier(jwt: JwtConfig, deps: Deps): TokenVerifier {
  // What only this plugin does with a token does not part the caches.
  const { header: _header, forward: _forward, scope_claims: _claims, ...trust } = jwt
  return deps.runtime.share('jwt.verifier', trust, () => createVerifier(jwt, deps))
}

export function createVerifier(jwt: JwtConfig, deps: Deps): TokenVerifier {
  const { clock } = deps
  const trusted = new Map(jwt.issuers.map((issuer) => [issuer.issuer, { issuer, keys: keySetOf(issuer, jwt, deps) }]))
  const cache = new Map<string, Verified>()
  const pending = new Map<string, Promise<Verification>>()
  const read = createTokenReader()
  const seconds = () => clock.now() / 1_000

  function remember(id: string, verified: Verified): void {
    if (jwt.cache_size === 0) return
    cache.delete(id)
    cache.set(id, verified)
    forgetOldest(cache, jwt.cache_size)
  }

  function recall(id: string): Verification | undefined {
    const found = cache.get(id)
    if (found === undefined) return undefined
    if (found.version === found.keys.version() && seconds() < found.until) return found.result
    cache.delete(id)
    return undefined
  }

  /** All that can be said without a key. @throws {TokenRefused} */
  function open(text: string): Opened {
    const token = read(text)
    const { header, payload } = token
    const { issuer, keys } = trustedFor(payload.iss)
    const alg = issuer.algorithms.find((allowed) => allowed === header.alg)
    if (alg === undefined) throw new TokenRefused('The token is signed with an algorithm that is not accepted.')
    checkClaims(header, payload, issuer)
    const validity = validityOf(payload, issuer, jwt.clock_tolerance_seconds)
    checkTime(validity, seconds())
    return { token, alg, keys, validity }
  }

  /** Waits at least once: whoever starts it notes it in `pending` after that. */
  async function check(id: string, opened: Opened, finding: NonNullable<Finding>): Promise<Verification> {
    const { token, alg, keys, validity } = opened
    try {
      const found = finding instanceof Promise ? await finding : finding
      if (found === undefined) return refused(UNKNOWN_KEY)
      if (!(await isSignedBy(token, found.key, alg))) return refused('The signature of the token is wrong.')
      // Its keys may have been long in coming.
      if (seconds() >= validity.until) return refused(EXPIRED)
      const result: Verification = { type: 'verified', claims: token.payload }
      remember(id, { ...validity, result, keys, version: found.version })
      return result
    } finally {
      pending.delete(id)
    }
  }

  function trustedFor(iss: unknown): Trusted {
    const found = typeof iss === 'string' ? trusted.get(iss) : undefined
    if (found === undefined) throw new TokenRefused('The token is not from a trusted issuer.')
    return found
  }

  return {
    verify(token) {
      // Not the token itself: memory dumps outlive tokens. Where nothing is remembered, it is forgotten at once.
      const id = jwt.cache_size === 0 ? token : hash('sha256', token, 'base64')
      const known = recall(id)
      if (known !== undefined) return known
      const running = pending.get(id)
      if (running !== undefined) return running
      try {
        const opened = open(token)
        const finding = opened.keys.find(opened.token.header)
        if (finding === undefined) return refused(UNKNOWN_KEY)
        const checking = check(id, opened, finding)
        pending.set(id, checking)
        return checking
      } catch (error) {
        if (error instanceof TokenRefused) return refused(error.message)
        throw error
      }
    },
  }
}

type Finding = MaybePromise<FoundKey | undefined>

const UNKNOWN_KEY = 'The token is signed with an unknown key.'

function refused(reason: string): Verification {
  return { type: 'refused', reason }
}

const makeChooser: MakeChooser = async (jwks) => {
  const { createLocalJWKSet, errors } = await import('jose')
  const choose = createLocalJWKSet({ keys: jwks as readonly { readonly kty: string }[] as { kty: string }[] })
  // Only those that exist: a flood of unknown ids leaves nothing behind.
  const chosen = new Map<string, CryptoKey>()
  const nameOf = ({ alg, kid }: KeyHeader) => (kid === undefined ? alg : `${alg} ${kid}`)

  async function chooseNew(header: KeyHeader): Promise<CryptoKey | undefined> {
    try {
      const key = await choose({ ...header })
      if (!isLongEnough(key)) return undefined
      chosen.set(nameOf(header), key)
      return key
    } catch (error) {
      // No key, several of them, or one that cannot be imported.
      if (error instanceof errors.JOSEError || error instanceof TypeError || isCryptoFault(error)) return undefined
      throw error
    }
  }

  return {
    find: (header) => chosen.get(nameOf(header)) ?? chooseNew(header),
  }
}

/** WebCrypto's own error for a key that is none. */
function isCryptoFault(error: unknown): boolean {
  return error instanceof DOMException
}

function keySetOf(issuer: IssuerConfig, jwt: JwtConfig, deps: Deps): KeySet {
  const { jwks, jwks_url: url } = issuer
  if (jwks !== undefined) return inlineKeySet(jwks, makeChooser)
  const { fetchDocument, clock, logger } = deps
  if (url === undefined || fetchDocument === undefined)
    throw new PortcullisError('no_network', 'This gateway cannot fetch a key set: give it inline, as `jwks`.')
  return remoteKeySet({
    url,
    fetchDocument,
    clock,
    logger,
    makeChooser,
    refreshMs: jwt.refresh_seconds * 1_000,
    cooldownMs: jwt.cooldown_seconds * 1_000,
    staleMs: jwt.stale_seconds * 1_000,
    timeoutMs: jwt.timeout_ms,
    maxBytes: jwt.max_jwks_bytes,
  })
}
