import { generateKeyPairSync, sign as signBytes } from 'node:crypto'
import fc from 'fast-check'
import { type CryptoKey, compactVerify, errors, generateKeyPair } from 'jose'
import { describe, expect, it } from 'vitest'
import { ALGORITHMS } from '../../../policies/scope/index.ts'
import { type Algorithm, isSignedBy } from '../../../policies/scope/jwt/signature.ts'
import { createTokenReader, TokenRefused } from '../../../policies/scope/jwt/token.ts'
import { AUDIENCE, encode, ISSUER, type IssuerKey, makeKey, sign } from '../../support/jwks/issuer.ts'
import { exchange, START, STRANGER, setUp } from './support.ts'

const NOW = START / 1_000
const read = createTokenReader()
const keys = new Map(await Promise.all(ALGORITHMS.map(async (alg) => [alg, await makeKey(alg, alg)] as const)))

function keyOf(alg: Algorithm): IssuerKey {
  const key = keys.get(alg)
  if (key === undefined) throw new Error(`no key for ${alg}`)
  return key
}

async function isGood(token: string, key: CryptoKey, alg: Algorithm): Promise<boolean> {
  try {
    return await isSignedBy(read(token), key, alg)
  } catch (error) {
    if (error instanceof TokenRefused) return false
    throw error
  }
}

async function isGoodForJose(token: string, key: CryptoKey, alg: Algorithm): Promise<boolean> {
  try {
    await compactVerify(token, key, { algorithms: [alg] })
    return true
  } catch (error) {
    if (error instanceof errors.JOSEError || error instanceof TypeError) return false
    throw error
  }
}

function withSignature(token: string, change: (signature: Buffer) => Buffer): string {
  const [head, body, tail = ''] = token.split('.')
  return `${head}.${body}.${change(Buffer.from(tail, 'base64url')).toString('base64url')}`
}

describe.each(ALGORITHMS)('a signature of %s', (alg) => {
  const { publicKey } = keyOf(alg)
  const token = sign(keyOf(alg), NOW)

  it('that jose made is good, with the key as it comes out of a key set', async () => {
    expect(await isGood(await token, publicKey, alg)).toBe(true)
    const { jwk } = keyOf(alg)
    const issuer = { issuer: ISSUER, jwks: JSON.stringify({ keys: [jwk] }), audiences: [AUDIENCE], algorithms: [alg] }
    const { passed } = setUp({ jwt: { issuers: [issuer] } })
    await passed({ headers: { authorization: `Bearer ${await token}` }, caller: STRANGER })
  })

  it('over other claims, or by another key, is not', async () => {
    const [head, , tail] = (await token).split('.')
    expect(await isGood(`${head}.${encode({ iss: ISSUER })}.${tail}`, publicKey, alg)).toBe(false)
    const other = (await generateKeyPair(alg)).publicKey
    expect(await isGood(await token, other, alg)).toBe(false)
  })

  it('of any other length is not', async () => {
    for (const change of [
      () => Buffer.alloc(1),
      (whole: Buffer) => whole.subarray(0, -1),
      (whole: Buffer) => whole.subarray(0, whole.length / 2),
      (whole: Buffer) => Buffer.concat([whole, Buffer.alloc(1)]),
      (whole: Buffer) => Buffer.concat([Buffer.alloc(1), whole]),
      (whole: Buffer) => Buffer.concat([whole, whole]),
      () => Buffer.alloc(4_096, 255),
    ])
      expect(await isGood(withSignature(await token, change), publicKey, alg)).toBe(false)
  })

  it('is good where jose says so, and nowhere else, whatever is changed', async () => {
    const text = await token
    const characters = fc.constantFrom(...'AQgw_-.=+/ é09')
    const changed = fc.tuple(fc.nat(text.length - 1), fc.oneof(characters, fc.constant(''))).map(([at, character]) => {
      return `${text.slice(0, at)}${character}${text.slice(at + 1)}`
    })
    const flipped = fc.tuple(fc.nat(), fc.nat(7)).map(([at, bit]) =>
      withSignature(text, (bytes) => {
        const copy = Buffer.from(bytes)
        const place = at % copy.length
        copy.writeUInt8(copy.readUInt8(place) ^ (1 << bit), place)
        return copy
      }),
    )
    await fc.assert(
      fc.asyncProperty(fc.oneof(changed, flipped, fc.constant(text)), async (candidate) => {
        const good = await isGood(candidate, publicKey, alg)
        expect(good).toBe(candidate === text)
        // jose decodes more leniently: what differs in that way only is no token at all here.
        if (isToken(candidate)) expect(await isGoodForJose(candidate, publicKey, alg)).toBe(good)
      }),
      { numRuns: 60 },
    )
  })
})

function isToken(text: string): boolean {
  try {
    read(text)
    return true
  } catch (error) {
    if (error instanceof TokenRefused) return false
    throw error
  }
}

describe('a key', () => {
  it('of another kind signs nothing', async () => {
    const token = await sign(keyOf('ES256'), NOW)
    for (const alg of ['RS256', 'PS256', 'EdDSA'] as const)
      expect(await isGood(token, keyOf(alg).publicKey, 'ES256')).toBe(false)
    for (const alg of ['RS256', 'PS256', 'EdDSA', 'ES384', 'ES512'] as const)
      expect(await isGood(token, keyOf('ES256').publicKey, alg)).toBe(false)
  })

  it.each([
    [2_048, 'pass'],
    [1_024, 'invalid_token'],
  ])('of RSA with %i bits: %s', async (bits, expected) => {
    const { jwk, token } = await signedWithRsa(bits)
    const issuers = [{ issuer: ISSUER, jwks: JSON.stringify({ keys: [jwk] }), audiences: [AUDIENCE] }]
    const { instance } = setUp({ jwt: { issuers } })
    const decision = await instance.decide(
      exchange({ headers: { authorization: `Bearer ${token}` }, caller: STRANGER }),
    )
    expect(decision.type === 'pass' ? 'pass' : decision.code).toBe(expected)
  })
})

/** jose would not sign with a short key. */
async function signedWithRsa(modulusLength: number) {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength })
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid: 'rsa', alg: 'RS256' }
  const claims = { iss: ISSUER, aud: AUDIENCE, exp: NOW + 600, scope: 'llm:chat' }
  const signed = `${encode({ alg: 'RS256', kid: 'rsa', typ: 'at+jwt' })}.${encode(claims)}`
  return { jwk, token: `${signed}.${signBytes('sha256', Buffer.from(signed), privateKey).toString('base64url')}` }
}
