import { describe, expect, it, onTestFinished } from 'vitest'
import { fetchDocument } from '../../../plugins/fetch-document.ts'
import type { FetchDocument } from '../../../policies/policy.ts'
import { type IssuerKey, makeKey, sign } from '../../support/jwks/issuer.ts'
import { type Answer, startJwksServer } from '../../support/jwks/server.ts'
import { createWorld, exchange, START, STRANGER, setUp } from './support.ts'

const NOW = START / 1_000
// One id, two keys: whose it is must come from the issuer.
const [ours, theirs, young] = await Promise.all([makeKey('k-1'), makeKey('k-1'), makeKey('k-2', 'RS256')])

async function serve(answer: Answer) {
  const server = await startJwksServer(answer)
  onTestFinished(() => server.close())
  return server
}

function gatewayFor(issuers: readonly object[], fetch: FetchDocument = fetchDocument) {
  const world = createWorld({ fetchDocument: fetch })
  const { instance, wait } = setUp({ jwt: { issuers, cooldown_seconds: 10, timeout_ms: 500 } }, world)
  let serial = 0
  const ask = async (key: IssuerKey, claims: object, header: object = {}) => {
    const all = { jti: `t-${serial++}`, exp: NOW + 10_000, ...claims }
    const token = await sign(key, NOW, { claims: all, header: { ...header } })
    const asked = exchange({ headers: { authorization: `Bearer ${token}` }, caller: STRANGER })
    try {
      const decision = await instance.decide(asked)
      return decision.type === 'pass' ? 'pass' : decision.message
    } catch (error) {
      return (error as { code?: string }).code
    }
  }
  return { ask, wait }
}

async function stage() {
  const [a, b] = await Promise.all([serve({ keys: [ours.jwk] }), serve({ keys: [theirs.jwk, young.jwk] })])
  const gateway = gatewayFor([
    { issuer: 'https://a', jwks_url: a.url, audiences: ['llm-a', 'llm'] },
    {
      issuer: 'https://b',
      jwks_url: b.url,
      audiences: ['llm-b'],
      algorithms: ['RS256'],
      types: ['JWT'],
      max_age_seconds: 60,
    },
  ])
  const asA = (key: IssuerKey, claims: object = {}) => gateway.ask(key, { iss: 'https://a', aud: 'llm', ...claims })
  const asB = (key: IssuerKey, claims: object = {}, header: object = {}) =>
    gateway.ask(key, { iss: 'https://b', aud: 'llm-b', ...claims }, { typ: 'JWT', ...header })
  return { a, b, asA, asB, ...gateway }
}

describe('several issuers behind URLs', () => {
  it('each is asked for its own keys only, and for no stranger’s', async () => {
    const { a, b, asA, asB, ask } = await stage()
    expect(await asA(ours)).toBe('pass')
    expect([a.hits, b.hits]).toEqual([1, 0])
    expect(await ask(ours, { iss: 'https://c', aud: 'llm' })).toBe('The token is not from a trusted issuer.')
    expect([a.hits, b.hits]).toEqual([1, 0])
    expect(await asB(young)).toBe('pass')
    expect([a.hits, b.hits]).toEqual([1, 1])
  })

  it('a key counts for its own issuer only, though both have one of that id', async () => {
    const { asA, asB } = await stage()
    expect(await asA(ours)).toBe('pass')
    expect(await asA(theirs)).toBe('The signature of the token is wrong.')
    expect(await asB(ours)).toBe('The token is signed with an algorithm that is not accepted.')
    expect(await asB(young)).toBe('pass')
    expect(await asA(young)).toBe('The token is signed with an unknown key.')
  })

  it('each has its own audiences, types and oldest age', async () => {
    const { asA, asB } = await stage()
    expect(await asA(ours, { aud: 'llm-b' })).toBe('The token is for somebody else.')
    expect(await asB(young, { aud: 'llm' })).toBe('The token is for somebody else.')
    expect(await asB(young, {}, { typ: 'at+jwt' })).toBe('The token is of another type.')
    expect(await asB(young, { iat: NOW - 100 })).toBe('The token has expired.')
    expect(await asA(ours, { iat: NOW - 100 })).toBe('pass')
  })

  it('the outage of one, and a flood of its key ids, are nothing to the other', async () => {
    const { a, b, asA, asB, wait } = await stage()
    b.serve({ status: 503 })
    expect(await asB(young)).toBe('jwks_unavailable')
    expect(await asA(ours)).toBe('pass')
    for (let at = 0; at < 30; at++) await asA({ ...ours, kid: `flood-${at}` })
    expect([a.hits, b.hits]).toEqual([1, 1])
    b.serve({ keys: [young.jwk] })
    wait(10_000)
    expect(await asB(young, { iat: NOW + 10 })).toBe('pass')
  })
})

describe('keys that are long in coming', () => {
  it('verify no token that has expired meanwhile', async () => {
    const jwks = JSON.stringify({ keys: [ours.jwk] })
    let pass = (): void => undefined
    const slow = gatewayFor(
      [{ issuer: 'https://a', jwks_url: 'https://idp.test/keys', audiences: ['llm'] }],
      async () => {
        pass()
        return jwks
      },
    )
    pass = () => slow.wait(5_000)
    const claims = { iss: 'https://a', aud: 'llm' }
    expect(await slow.ask(ours, { ...claims, exp: NOW })).toBe('The token has expired.')
    expect(await slow.ask(ours, { ...claims, exp: NOW + 1 })).toBe('pass')
  })
})
