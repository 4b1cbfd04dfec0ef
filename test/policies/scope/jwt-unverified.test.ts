import { describe, expect, it } from 'vitest'
import { AUDIENCE, encode, ISSUER, makeKey, sign } from '../../support/jwks/issuer.ts'
import { createWorld, exchange, START, STRANGER, setUp } from './support.ts'

const NOW = START / 1_000
const [key, psKey] = await Promise.all([makeKey('known'), makeKey('ps', 'PS256')])

function stage() {
  let fetches = 0
  const fetchDocument = async () => {
    fetches++
    return JSON.stringify({ keys: [key.jwk, psKey.jwk] })
  }
  const world = createWorld({ fetchDocument })
  const issuers = [{ issuer: ISSUER, jwks_url: 'https://idp.test/keys', audiences: [AUDIENCE] }]
  const { instance, wait, lines } = setUp({ jwt: { issuers, cooldown_seconds: 10 } }, world)
  const ask = async (token: string) => {
    const decision = await instance.decide(
      exchange({ headers: { authorization: `Bearer ${token}` }, caller: STRANGER }),
    )
    return decision.type === 'pass' ? { message: 'pass' } : decision
  }
  return { ask, wait, lines, fetches: () => fetches }
}

const NOT_ACCEPTED = 'The token is signed with an algorithm that is not accepted.'
const HEAD = { alg: 'ES256', kid: 'known', typ: 'at+jwt' }
const CLAIMS = { iss: ISSUER, aud: AUDIENCE, sub: 'ada', iat: NOW, exp: NOW + 600, scope: 'llm:*' }
const unsigned = (header: object, claims: object) => `${encode(header)}.${encode(claims)}.${'A'.repeat(86)}`

describe('a token whose signature nobody has checked', () => {
  it.each<[what: string, header: object, claims: object, message: string]>([
    ['another issuer', {}, { iss: 'https://evil.test' }, 'The token is not from a trusted issuer.'],
    ['another audience', {}, { aud: 'billing' }, 'The token is for somebody else.'],
    ['an expired one', {}, { exp: NOW - 60 }, 'The token has expired.'],
    ['one of tomorrow', {}, { nbf: NOW + 60 }, 'The token is not valid yet.'],
    ['no expiry', {}, { exp: undefined }, 'The token has no expiry.'],
    ['a malformed claim', {}, { jti: 5 }, 'The claim jti of the token is malformed.'],
    ['another type', { typ: 'logout+jwt' }, {}, 'The token is of another type.'],
    ['another algorithm', { alg: 'PS256', kid: 'ps' }, {}, NOT_ACCEPTED],
    ['no algorithm at all', { alg: 'none' }, {}, NOT_ACCEPTED],
    ['a shared secret', { alg: 'HS256' }, {}, NOT_ACCEPTED],
    ['a header that changes what is signed', { crit: ['b64'] }, {}, 'The token has a header that is not accepted.'],
  ])('with %s fetches no keys', async (_, header, claims, message) => {
    const { ask, fetches } = stage()
    expect(await ask(unsigned({ ...HEAD, ...header }, { ...CLAIMS, ...claims }))).toMatchObject({
      status: 401,
      code: 'invalid_token',
      message,
    })
    expect(fetches()).toBe(0)
  })

  it('fetches keys once a cooldown, whatever its claims and key ids', async () => {
    const { ask, fetches, wait } = stage()
    for (let at = 0; at < 50; at++) {
      const claims = { ...CLAIMS, sub: `user-${at}`, jti: `id-${at}` }
      const { message } = await ask(unsigned({ ...HEAD, kid: `kid-${at}` }, claims))
      expect(message).toBe('The token is signed with an unknown key.')
    }
    expect(fetches()).toBe(1)
    // What names a known key asks for none, however bad its signature.
    wait(60_000)
    for (let at = 0; at < 50; at++)
      expect((await ask(unsigned(HEAD, { ...CLAIMS, jti: `id-${at}` }))).message).toBe(
        'The signature of the token is wrong.',
      )
    expect(fetches()).toBe(1)
  })

  it('is not told apart by what it says, nor repeated anywhere', async () => {
    const { ask, lines } = stage()
    await ask(await sign(key, NOW))
    const answers = await Promise.all(
      ['ada', 'root', 'sk-secret-0123456789'].map((sub) => ask(unsigned(HEAD, { ...CLAIMS, sub, scope: sub }))),
    )
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1)
    expect(JSON.stringify({ answers, lines })).not.toMatch(/root|sk-secret/)
  })

  it('grants nothing to whoever comes with the same claims, or at the same time', async () => {
    const { ask } = stage()
    const good = await sign(key, NOW)
    const [head, body] = good.split('.')
    const forged = `${head}.${body}.${'A'.repeat(86)}`
    const together = await Promise.all([forged, good, forged, good].map(ask))
    expect(together.map(({ message }) => message === 'pass')).toEqual([false, true, false, true])
    expect((await ask(forged)).message).toBe('The signature of the token is wrong.')
    expect((await ask(good)).message).toBe('pass')
  })
})
