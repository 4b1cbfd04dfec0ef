/** The private key that signs tokens, in a file for its owner alone: a JWK, or PKCS #8 as PEM. */

import { createPrivateKey, createPublicKey } from 'node:crypto'
import type { CryptoKey, JWK } from 'jose'
import { PortcullisError } from '../../../../policies/errors.ts'
import { isObject } from '../../../../policies/llm/json.ts'
import { readPrivate, readWhole } from '../../keys/files.ts'

/** What llm-scope accepts and a team may choose from. */
export const SIGNING_ALGORITHMS = ['ES256', 'RS256', 'EdDSA'] as const
export type SigningAlgorithm = (typeof SIGNING_ALGORITHMS)[number]

export interface SigningKey {
  readonly alg: SigningAlgorithm
  /** RFC 7638 thumbprint, unless the file says otherwise. */
  readonly kid: string
  readonly privateKey: CryptoKey
  readonly publicJwk: JWK
}

const RSA_BITS = 3072
const LEAST_RSA_BITS = 2048

/** @returns the text of a key file, and its key id */
export async function makeSigningKey(alg: SigningAlgorithm): Promise<{ readonly text: string; readonly kid: string }> {
  const { calculateJwkThumbprint, exportJWK, generateKeyPair } = await import('jose')
  const pair = await generateKeyPair(alg, { extractable: true, modulusLength: RSA_BITS })
  const jwk = await exportJWK(pair.privateKey)
  const kid = await calculateJwkThumbprint(publicPart(jwk))
  return { text: `${JSON.stringify({ ...jwk, kid, alg, use: 'sig' }, null, 2)}\n`, kid }
}

/** @throws {PortcullisError} `unusable_key`, `open_to_others`; never quotes the file */
export async function readSigningKey(path: string): Promise<SigningKey> {
  const text = await readPrivate(path)
  const jwk = text.trimStart().startsWith('-----') ? readPem(text, path) : readJwk(text, path)
  if (jwk.d === undefined) throw unusable(path, 'holds no private key')
  const { importJWK } = await import('jose')
  const described = await describe(jwk, path)
  try {
    const { alg, kid } = described
    const privateKey = (await importJWK({ ...jwk, alg }, alg)) as CryptoKey
    return { alg, kid, privateKey, publicJwk: described.publicJwk }
  } catch {
    // What the library says may quote the key.
    throw unusable(path, 'holds a key that cannot be used')
  }
}

/** Public keys out of key files, public or private, and out of key sets. */
export async function readPublicKeys(path: string): Promise<readonly JWK[]> {
  const { text } = await readWhole(path)
  if (text.trimStart().startsWith('-----')) return [(await readSigningKey(path)).publicJwk]
  const read = readJwk(text, path)
  if (read.d !== undefined) return [(await readSigningKey(path)).publicJwk]
  const set: unknown = read.keys
  const jwks = Array.isArray(set) ? set.filter(isObject) : [read]
  return Promise.all(jwks.map(async (jwk) => (await describe(jwk as JWK, path)).publicJwk))
}

interface Described {
  readonly alg: SigningAlgorithm
  readonly kid: string
  readonly publicJwk: JWK
}

async function describe(jwk: JWK, path: string): Promise<Described> {
  const { calculateJwkThumbprint } = await import('jose')
  const fits = algorithmOf(jwk)
  const alg = SIGNING_ALGORITHMS.find((each) => each === (jwk.alg ?? fits))
  if (alg === undefined || alg !== fits) throw unusable(path, `holds no key for ${SIGNING_ALGORITHMS.join(', ')}`)
  if (jwk.kty === 'RSA' && Buffer.from(jwk.n ?? '', 'base64url').length * 8 < LEAST_RSA_BITS)
    throw unusable(path, `holds an RSA key of less than ${LEAST_RSA_BITS} bits`)
  const bare = publicPart(jwk)
  const thumbprint = await calculateJwkThumbprint(bare).catch(() => {
    throw unusable(path, 'holds a key that cannot be used')
  })
  const kid = typeof jwk.kid === 'string' && jwk.kid !== '' ? jwk.kid : thumbprint
  return { alg, kid, publicJwk: { ...bare, kid, alg, use: 'sig' } }
}

function algorithmOf({ kty, crv }: JWK): SigningAlgorithm | undefined {
  if (kty === 'EC' && crv === 'P-256') return 'ES256'
  if (kty === 'OKP' && crv === 'Ed25519') return 'EdDSA'
  return kty === 'RSA' ? 'RS256' : undefined
}

/** By name: what is not known to be public stays out. */
function publicPart({ kty, crv, x, y, n, e }: JWK): JWK {
  const members = { kty, crv, x, y, n, e }
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as JWK
}

function readJwk(text: string, path: string): JWK & { readonly keys?: unknown } {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    throw unusable(path, 'is neither a JSON Web Key nor PEM')
  }
  if (!isObject(parsed)) throw unusable(path, 'is neither a JSON Web Key nor PEM')
  return parsed
}

function readPem(text: string, path: string): JWK {
  try {
    return createPrivateKey(text).export({ format: 'jwk' }) as JWK
  } catch {
    // Encrypted, public, or none at all: the message might quote it.
    throw unusable(path, isPublicPem(text) ? 'holds no private key' : 'holds no private key that can be read')
  }
}

function isPublicPem(text: string): boolean {
  try {
    createPublicKey(text)
    return true
  } catch {
    return false
  }
}

function unusable(path: string, why: string): PortcullisError {
  return new PortcullisError('unusable_key', `${path}: ${why}`)
}
