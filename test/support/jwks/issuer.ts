/** An issuer for tests: keys of every kind, and tokens good and bad. */

import { type CryptoKey, exportJWK, generateKeyPair, type JWTHeaderParameters, SignJWT } from 'jose'

export interface IssuerKey {
  readonly kid: string
  readonly alg: string
  readonly privateKey: CryptoKey
  readonly publicKey: CryptoKey
  /** The public half, as a key set holds it. */
  readonly jwk: Readonly<Record<string, unknown>>
}

export async function makeKey(kid: string, alg = 'ES256'): Promise<IssuerKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
  const jwk = { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' }
  return { kid, alg, privateKey, publicKey, jwk }
}

export const ISSUER = 'https://idp.test'
export const AUDIENCE = 'llm-gateway'

export interface TokenParts {
  readonly claims?: Readonly<Record<string, unknown>>
  readonly header?: Readonly<Record<string, unknown>>
}

/**
 * A good token unless told otherwise; a claim or header parameter of undefined is left out.
 * @param now epoch seconds
 */
export function sign(key: IssuerKey, now: number, { claims = {}, header = {} }: TokenParts = {}): Promise<string> {
  const all = { iss: ISSUER, aud: AUDIENCE, sub: 'ada', iat: now, exp: now + 600, scope: 'llm:chat', ...claims }
  const head = { alg: key.alg, kid: key.kid, typ: 'at+jwt', ...header }
  return new SignJWT(known(all)).setProtectedHeader(known(head) as unknown as JWTHeaderParameters).sign(key.privateKey)
}

function known(record: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined))
}

export function encode(value: unknown): string {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
}
