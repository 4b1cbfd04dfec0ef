import { createHmac, sign as signBytes } from 'node:crypto'
import { exportPKCS8, exportSPKI } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fetchDocument } from '../../../plugins/fetch-document.ts'
import { encode, ISSUER, type IssuerKey, makeKey, sign } from '../../support/jwks/issuer.ts'
import { type JwksServer, startJwksServer } from '../../support/jwks/server.ts'
import { createWorld, exchange, START, STRANGER, setUp } from './support.ts'

const NOW = START / 1_000

interface Keys {
  readonly ec: IssuerKey
  readonly rsa: IssuerKey
  /** Published, but of an algorithm that is not on the list. */
  readonly ps: IssuerKey
  /** Of the attacker. */
  readonly evil: IssuerKey
}

let keys: Keys
let idp: JwksServer
/** What the attacker serves. */
let trap: JwksServer

beforeAll(async () => {
  const [ec, rsa, ps, evil] = await Promise.all([
    makeKey('ec-1', 'ES256'),
    makeKey('rsa-1', 'RS256'),
    makeKey('ps-1', 'PS256'),
    makeKey('evil', 'ES256'),
  ])
  keys = { ec, rsa, ps, evil }
  idp = await startJwksServer({ keys: [ec.jwk, rsa.jwk, ps.jwk] })
  trap = await startJwksServer({ keys: [{ ...evil.jwk, kid: 'ec-1' }, evil.jwk] })
})
afterAll(() => Promise.all([idp.close(), trap.close()]))

function setUpWith(jwt: object = {}, issuer: object = {}) {
  return setUp(
    { jwt: { issuers: [{ issuer: ISSUER, jwks_url: idp.url, audiences: ['llm-gateway'], ...issuer }], ...jwt } },
    createWorld({ fetchDocument }),
  )
}

const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` }, caller: STRANGER })

/** Compact serialisation of any two texts, signed over exactly those bytes. */
function raw(header: unknown, payload: unknown, key: IssuerKey): Promise<string> {
  return rawSigned(`${encode(header)}.${encode(payload)}`, key)
}

async function rawSigned(input: string, key: IssuerKey): Promise<string> {
  const pem = await exportPKCS8(key.privateKey)
  const options = key.alg.startsWith('ES') ? ({ key: pem, dsaEncoding: 'ieee-p1363' } as const) : { key: pem }
  return `${input}.${signBytes('sha256', Buffer.from(input), options).toString('base64url')}`
}

function hmac(header: object, payload: object, secret: string): string {
  const input = `${encode(header)}.${encode(payload)}`
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
}

const CLAIMS = { iss: ISSUER, aud: 'llm-gateway', sub: 'ada', iat: NOW, exp: NOW + 600, scope: 'llm:*' }
const HEAD = { alg: 'ES256', kid: 'ec-1', typ: 'at+jwt' }
const tampered = (token: string, change: (parts: string[]) => string[]) => change(token.split('.')).join('.')
const claims = (changes: object) => sign(keys.ec, NOW, { claims: { ...changes } })
const header = (changes: object) => sign(keys.ec, NOW, { header: { ...changes } })

type Attack = readonly [what: string, token: () => string | Promise<string>]

const ATTACKS: readonly Attack[] = [
  // The algorithm.
  ['none', () => `${encode({ alg: 'none', typ: 'at+jwt' })}.${encode(CLAIMS)}.`],
  ['none, with a signature', () => `${encode({ ...HEAD, alg: 'none' })}.${encode(CLAIMS)}.AAAA`],
  ['None', () => `${encode({ ...HEAD, alg: 'None' })}.${encode(CLAIMS)}.AAAA`],
  ['nOnE, without a signature', () => `${encode({ ...HEAD, alg: 'nOnE' })}.${encode(CLAIMS)}.`],
  ['an empty algorithm', () => raw({ ...HEAD, alg: '' }, CLAIMS, keys.ec)],
  ['no algorithm', () => raw({ kid: 'ec-1', typ: 'at+jwt' }, CLAIMS, keys.ec)],
  ['a list of algorithms', () => raw({ ...HEAD, alg: ['ES256'] }, CLAIMS, keys.ec)],
  [
    'HS256 with the RSA public key in PEM as the secret',
    async () => hmac({ ...HEAD, alg: 'HS256', kid: 'rsa-1' }, CLAIMS, await exportSPKI(keys.rsa.publicKey)),
  ],
  [
    'HS256 with the public JWK as the secret',
    () => hmac({ ...HEAD, alg: 'HS256' }, CLAIMS, JSON.stringify(keys.ec.jwk)),
  ],
  ['HS256 with an empty secret', () => hmac({ ...HEAD, alg: 'HS256' }, CLAIMS, '')],
  ['a published algorithm that is not on the list', () => sign(keys.ps, NOW)],
  ['the key of another algorithm', () => raw({ ...HEAD, kid: 'rsa-1' }, CLAIMS, keys.ec)],
  ['an algorithm in lower case', () => raw({ ...HEAD, alg: 'es256' }, CLAIMS, keys.ec)],
  // The signature.
  ['no signature', async () => tampered(await claims({}), ([head = '', body = '']) => [head, body, ''])],
  ['two parts', async () => tampered(await claims({}), ([head = '', body = '']) => [head, body])],
  ['four parts', async () => `${await claims({})}.x`],
  [
    'a psychic signature: all zero',
    () => `${encode(HEAD)}.${encode(CLAIMS)}.${Buffer.alloc(64).toString('base64url')}`,
  ],
  [
    'a psychic signature in DER',
    () => `${encode(HEAD)}.${encode(CLAIMS)}.${Buffer.from('3006020100020100', 'hex').toString('base64url')}`,
  ],
  [
    'r and s equal to the order of the curve',
    () => {
      const order = 'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551'
      return `${encode(HEAD)}.${encode(CLAIMS)}.${Buffer.from(order + order, 'hex').toString('base64url')}`
    },
  ],
  [
    'a flipped bit',
    async () => tampered(await claims({}), ([head = '', body = '', sig = '']) => [head, body, flip(sig)]),
  ],
  ['a truncated signature', async () => (await claims({})).slice(0, -8)],
  [
    'the claims of one token with the signature of another',
    async () => tampered(await claims({}), ([head = '', , sig = '']) => [head, encode(CLAIMS), sig]),
  ],
  ['non-canonical base64', async () => `${(await claims({})).slice(0, -1)}_`],
  ['padding', async () => `${await claims({})}==`],
  ['standard base64', async () => tampered(await claims({ sub: '???>>>' }), (parts) => [...parts.slice(0, 2), '++//'])],
  ['white space inside', async () => (await claims({})).replace('.', '. ')],
  ['two tokens', async () => `${await claims({})},${await claims({})}`],
  // The key.
  ['an unknown key id', () => raw({ ...HEAD, kid: 'evil' }, CLAIMS, keys.evil)],
  ['a known key id, another key', () => raw(HEAD, CLAIMS, keys.evil)],
  ['a key id with a path', () => raw({ ...HEAD, kid: '../../../../dev/null' }, CLAIMS, keys.evil)],
  ['a key id with SQL', () => raw({ ...HEAD, kid: "x' UNION SELECT 'key';--" }, CLAIMS, keys.evil)],
  ['a key id that is a URL', () => raw({ ...HEAD, kid: trap.url }, CLAIMS, keys.evil)],
  ['a key id that is no text', () => raw({ ...HEAD, kid: { $ne: null } }, CLAIMS, keys.evil)],
  ['a key id of __proto__', () => raw({ ...HEAD, kid: '__proto__' }, CLAIMS, keys.evil)],
  ['a very long key id', () => raw({ ...HEAD, kid: 'k'.repeat(2_000) }, CLAIMS, keys.evil)],
  ['jku', () => raw({ ...HEAD, jku: trap.url }, CLAIMS, keys.evil)],
  ['jku with a key id that only it knows', () => raw({ ...HEAD, kid: 'evil', jku: trap.url }, CLAIMS, keys.evil)],
  ['x5u', () => raw({ ...HEAD, x5u: trap.url }, CLAIMS, keys.evil)],
  ['an embedded jwk', () => raw({ alg: 'ES256', typ: 'at+jwt', jwk: keys.evil.jwk }, CLAIMS, keys.evil)],
  ['an embedded jwk with a known key id', () => raw({ ...HEAD, jwk: keys.evil.jwk }, CLAIMS, keys.evil)],
  ['x5c', () => raw({ ...HEAD, x5c: ['MIIB'] }, CLAIMS, keys.evil)],
  // The header.
  ['an unknown critical extension', () => raw({ ...HEAD, crit: ['exp'] }, CLAIMS, keys.ec)],
  ['an empty crit', () => raw({ ...HEAD, crit: [] }, CLAIMS, keys.ec)],
  ['b64: false', () => raw({ ...HEAD, b64: false, crit: ['b64'] }, CLAIMS, keys.ec)],
  ['zip', () => raw({ ...HEAD, zip: 'DEF' }, CLAIMS, keys.ec)],
  ['a wrong type', () => header({ typ: 'logout+jwt' })],
  ['the type of an identity assertion', () => header({ typ: 'secevent+jwt' })],
  ['no type', () => header({ typ: undefined })],
  ['a type that is no text', () => raw({ ...HEAD, typ: ['at+jwt'] }, CLAIMS, keys.ec)],
  ['a duplicate algorithm', () => raw('{"alg":"none","alg":"ES256","kid":"ec-1","typ":"at+jwt"}', CLAIMS, keys.ec)],
  ['a header that is no JSON', () => raw('alg=ES256', CLAIMS, keys.ec)],
  ['a header that is a list', () => raw([HEAD], CLAIMS, keys.ec)],
  // The claims.
  ['duplicate claims', () => raw(HEAD, `${JSON.stringify(CLAIMS).slice(0, -1)},"scope":"llm:*"}`, keys.ec)],
  [
    'a duplicate claim, escaped',
    () => raw(HEAD, `${JSON.stringify(CLAIMS).slice(0, -1)},"\\u0073cope":"llm:*"}`, keys.ec),
  ],
  ['claims that are a list', () => raw(HEAD, [CLAIMS], keys.ec)],
  ['claims that are no JSON', () => raw(HEAD, 'iss=idp', keys.ec)],
  ['claims with a byte order mark', () => raw(HEAD, `\ufeff${JSON.stringify(CLAIMS)}`, keys.ec)],
  [
    'claims in UTF-16',
    () => rawSigned(`${encode(HEAD)}.${Buffer.from(JSON.stringify(CLAIMS), 'utf16le').toString('base64url')}`, keys.ec),
  ],
  [
    'claims 200 levels deep',
    () => raw(HEAD, `${JSON.stringify(CLAIMS).slice(0, -1)},"x":${'['.repeat(200)}${']'.repeat(200)}}`, keys.ec),
  ],
  ['expired by a second', () => claims({ exp: NOW - 6 })],
  ['expiring now', () => claims({ exp: NOW - 5 })],
  ['no expiry', () => claims({ exp: undefined })],
  ['an expiry in a text', () => claims({ exp: String(NOW + 600) })],
  ['an expiry of infinity', () => raw(HEAD, JSON.stringify(CLAIMS).replace(String(NOW + 600), '1e999'), keys.ec)],
  ['an expiry in milliseconds', () => claims({ exp: START * 1_000 })],
  ['a negative expiry', () => claims({ exp: -1 })],
  ['not valid for another six seconds', () => claims({ nbf: NOW + 6 })],
  ['issued in six seconds', () => claims({ iat: NOW + 6 })],
  ['nbf in a text', () => claims({ nbf: '0' })],
  ['another issuer', () => claims({ iss: 'https://evil.test' })],
  ['an issuer with a slash more', () => claims({ iss: `${ISSUER}/` })],
  ['an issuer in other case', () => claims({ iss: ISSUER.toUpperCase() })],
  ['an issuer in a list', () => claims({ iss: [ISSUER] })],
  ['no issuer', () => claims({ iss: undefined })],
  ['another audience', () => claims({ aud: 'billing' })],
  ['no audience', () => claims({ aud: undefined })],
  ['an audience that only begins so', () => claims({ aud: 'llm-gateway-2' })],
  ['an audience in an object', () => claims({ aud: { 'llm-gateway': true } })],
  ['a list of audiences with something else in it', () => claims({ aud: ['llm-gateway', 5] })],
  ['a subject that is no text', () => claims({ sub: { name: 'ada' } })],
  ['an id that is no text', () => claims({ jti: 5 })],
  // What it is at all.
  ['a nested token', async () => raw({ ...HEAD, cty: 'JWT' }, await claims({}), keys.ec)],
  ['nested, and not marked', async () => raw(HEAD, JSON.stringify(await claims({})), keys.ec)],
  ['an encrypted token', () => `${encode({ alg: 'dir', enc: 'A256GCM' })}..AAAA.AAAA.AAAA`],
  [
    'PBES2 with a billion rounds',
    () => `${encode({ alg: 'PBES2-HS256+A128KW', enc: 'A128GCM', p2c: 1e9, p2s: 'x' })}.A.A.A.A`,
  ],
  ['a token of 20 KB', () => claims({ filler: 'x'.repeat(15_000) })],
  ['a token of a megabyte', () => `${encode(HEAD)}.${'A'.repeat(1_000_000)}.AAAA`],
  ['ten thousand dots', () => `eyJ${'.'.repeat(10_000)}`],
]

function flip(signature: string): string {
  const bytes = Buffer.from(signature, 'base64url')
  bytes[10] = (bytes[10] ?? 0) ^ 1
  return bytes.toString('base64url')
}

describe('attacks on tokens', () => {
  it.each(ATTACKS)('%s is 401 invalid_token', async (_, make) => {
    const token = await make()
    const asked = trap.hits
    const { status, code, message, headers } = await setUpWith().refused(bearer(token))
    expect({ status, code }).toEqual({ status: 401, code: 'invalid_token' })
    expect(headers?.['www-authenticate']).toBe(
      `Bearer realm="llm", error="invalid_token", error_description="${message}"`,
    )
    for (const part of token.split('.').filter((piece) => piece.length > 8))
      expect(`${message} ${JSON.stringify(headers)}`).not.toContain(part)
    expect(trap.hits, 'the attacker was asked for keys').toBe(asked)
  })

  it('are at least forty', () => {
    expect(ATTACKS.length).toBeGreaterThanOrEqual(40)
  })
})

describe('good tokens', () => {
  const GOOD: readonly Attack[] = [
    ['ES256', () => sign(keys.ec, NOW)],
    ['RS256', () => sign(keys.rsa, NOW)],
    ['put together by hand, as the attacks are', () => raw(HEAD, CLAIMS, keys.ec)],
    ['with a jku, an x5u and a jwk that nobody looks at', () => header({ jku: trap.url, x5u: trap.url, jwk: {} })],
    ['the type JWT', () => header({ typ: 'JWT' })],
    ['a type with its prefix and in other case', () => header({ typ: 'application/AT+JWT' })],
    ['expired, within the tolerance', () => claims({ exp: NOW - 4 })],
    ['not valid yet, within the tolerance', () => claims({ nbf: NOW + 5 })],
    ['several audiences', () => claims({ aud: ['billing', 'llm-gateway'] })],
    ['scopes in a list', () => claims({ scope: undefined, scp: ['openid', 'llm:chat'] })],
    ['no key id, where one key fits', () => header({ kid: undefined })],
    ['fractions of a second', () => claims({ exp: NOW + 0.5 })],
  ]

  it.each(GOOD)('%s passes', async (_, make) => {
    const { claims: verified, request } = await setUpWith().passed(bearer(await make()))
    expect(verified).toMatchObject({ iss: ISSUER, sub: 'ada' })
    expect(request?.removeHeaders).toEqual(['authorization'])
  })

  it('a token grants its scopes and no more', async () => {
    const { passed, refused } = setUpWith()
    const token = await claims({ scope: 'openid llm:chat:gpt-4o-mini' })
    await passed(bearer(token))
    const other = await refused({ ...bearer(token), body: { model: 'gpt-5', messages: [] } })
    expect(other).toMatchObject({ status: 403, code: 'insufficient_scope' })
    const none = await refused(bearer(await claims({ scope: 'openid' })))
    expect(none).toMatchObject({ status: 403, code: 'insufficient_scope' })
  })

  it('a maximum age counts from iat, which is then required', async () => {
    const young = setUpWith({}, { max_age_seconds: 60 })
    await young.passed(bearer(await claims({ iat: NOW - 64 })))
    await young.refused(bearer(await claims({ iat: NOW - 65 })))
    await young.refused(bearer(await claims({ iat: undefined })))
  })

  it('types may be left out where the operator says so', async () => {
    await setUpWith({}, { require_typ: false }).passed(bearer(await header({ typ: undefined })))
    await setUpWith({}, { require_typ: false }).refused(bearer(await header({ typ: 'logout+jwt' })))
  })

  it('never travel on in shadow mode, whatever else is wrong with the request', async () => {
    const token = await claims({})
    const jwt = { issuers: [{ issuer: ISSUER, jwks_url: idp.url, audiences: ['llm-gateway'] }] }
    const shadow = setUp({ jwt, mode: 'shadow' }, createWorld({ fetchDocument }))
    for (const parts of [{ path: '/v1//x' }, { headers: { 'x-http-method-override': 'GET' } }, { body: '{' }]) {
      const headers = { ...bearer(token).headers, ...parts.headers }
      const { request, claims: verified } = await shadow.passed({ ...parts, headers })
      expect(request?.removeHeaders).toEqual(['authorization'])
      expect(verified).toMatchObject({ sub: 'ada' })
    }
    const broken = { ...exchange(bearer(token)), caller: () => Promise.reject(new Error('gone')) }
    expect(await shadow.instance.decide(broken)).toMatchObject({
      type: 'pass',
      request: { removeHeaders: ['authorization'] },
    })
  })

  it('forward leaves the token where it is', async () => {
    expect((await setUpWith({ forward: true }).passed(bearer(await claims({})))).request).toBeUndefined()
  })

  it('a header of another name', async () => {
    const { passed, refused } = setUpWith({ header: 'x-team-token' })
    const token = await claims({})
    await passed({ headers: { 'x-team-token': `Bearer ${token}` }, caller: STRANGER })
    await refused(bearer(token))
  })

  it('something else in the header is for whoever authenticates it', async () => {
    const { passed, refused } = setUpWith()
    const key = { headers: { authorization: 'Bearer sk-123' } }
    const caller = { credential: { id: 'k', tags: ['llm:chat'] }, address: '' }
    await passed({ ...key, caller })
    expect((await refused({ ...key, caller: STRANGER })).message).toBe(
      'The credential is no token that this gateway knows.',
    )
    // A bad token is not made good by a key beside it.
    expect((await refused({ headers: { authorization: 'Bearer eyJ.x.y' }, caller })).code).toBe('invalid_token')
  })
})
