/**
 * Signatures, checked by WebCrypto. jose's `compactVerify` calls it likewise, yet reads header and payload once more
 * before and after: without that, a core verifies up to a quarter more tokens.
 */

import { webcrypto } from 'node:crypto'
import type { CryptoKey } from 'jose'
import type { ALGORITHMS } from './fields.ts'
import type { ReadToken } from './token.ts'

export type Algorithm = (typeof ALGORITHMS)[number]

type Parameters = webcrypto.Algorithm | webcrypto.EcdsaParams | webcrypto.RsaPssParams

/** RFC 7518 3.3 to 3.5, RFC 8037 3.1, RFC 9864 2.2. The hash of RSA and the curve are bound to the key. */
const PARAMETERS: Readonly<Record<Algorithm, Parameters>> = {
  RS256: { name: 'RSASSA-PKCS1-v1_5' },
  RS384: { name: 'RSASSA-PKCS1-v1_5' },
  RS512: { name: 'RSASSA-PKCS1-v1_5' },
  PS256: { name: 'RSA-PSS', saltLength: 32 },
  PS384: { name: 'RSA-PSS', saltLength: 48 },
  PS512: { name: 'RSA-PSS', saltLength: 64 },
  ES256: { name: 'ECDSA', hash: 'SHA-256' },
  ES384: { name: 'ECDSA', hash: 'SHA-384' },
  ES512: { name: 'ECDSA', hash: 'SHA-512' },
  EdDSA: { name: 'Ed25519' },
  Ed25519: { name: 'Ed25519' },
}

const MIN_RSA_BITS = 2_048

/** RFC 7518 3.3: nothing that a short RSA key signed is believed. */
export function isLongEnough({ algorithm }: CryptoKey): boolean {
  return !('modulusLength' in algorithm) || Number(algorithm.modulusLength) >= MIN_RSA_BITS
}

/** @param key imported for `alg`, and for no other: that binds its kind, curve and hash. */
export async function isSignedBy({ signed, signature }: ReadToken, key: CryptoKey, alg: Algorithm): Promise<boolean> {
  try {
    return await webcrypto.subtle.verify(PARAMETERS[alg], key, signature, Buffer.from(signed))
  } catch (error) {
    // How WebCrypto refuses what cannot be a signature of this key, or a key of another kind.
    if (error instanceof DOMException) return false
    throw error
  }
}
