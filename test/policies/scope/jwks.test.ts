import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { fetchDocument } from '../../../plugins/fetch-document.ts'
import { createPipeline } from '../../../policies/pipeline.ts'
import { parsePolicyConfig } from '../../../policies/schema/parse.ts'
import { scope } from '../../../policies/scope/index.ts'
import { tokenLimit } from '../../../policies/token-limit/index.ts'
import { encode, ISSUER, type IssuerKey, makeKey, sign } from '../../support/jwks/issuer.ts'
import { type Answer, startJwksServer } from '../../support/jwks/server.ts'
import { createWorld, exchange, START, STRANGER, setUp } from './support.ts'

const NOW = START / 1_000
const [one, two] = await Promise.all([makeKey('one'), makeKey('two')])

async function stage(first: Answer, jwt: object = {}) {
  const idp = await startJwksServer(first)
  onTestFinished(() => idp.close())
  const world = createWorld({ fetchDocument })
  const issuers = [{ issuer: ISSUER, jwks_url: idp.url, audiences: ['llm-gateway'] }]
  const { instance, lines, wait } = setUp({ jwt: { issuers, timeout_ms: 500, ...jwt } }, world)
  const ask = (token: string) =>
    Promise.resolve(
      instance.decide(exchange({ headers: { authorization: `Bearer ${token}` }, caller: STRANGER })),
    ).then(
      (decision) => (decision.type === 'pass' ? 'pass' : decision.code),
      // The pipeline makes a 503 of it.
      (error: { code?: string }) => error.code,
    )
  let serial = 0
  /** A token that no cache knows. */
  const fresh = (key: IssuerKey) => sign(key, NOW, { claims: { jti: `t-${serial++}`, exp: NOW + 1_000_000 } })
  return { idp, ask, fresh, lines, wait }
}

const SERVED = { keys: [one.jwk] }
const ROTATED = { keys: [one.jwk, two.jwk] }

describe('a key set behind a URL', () => {
  it('is fetched once for many tokens, also when they come together', async () => {
    const { idp, ask, fresh } = await stage(SERVED)
    const tokens = await Promise.all(Array.from({ length: 20 }, () => fresh(one)))
    expect(new Set(await Promise.all(tokens.map(ask)))).toEqual(new Set(['pass']))
    expect(idp.hits).toBe(1)
  })

  it('a new key is found at once when the cooldown is over', async () => {
    const { idp, ask, fresh, wait } = await stage(SERVED, { cooldown_seconds: 30 })
    expect(await ask(await fresh(one))).toBe('pass')
    idp.serve(ROTATED)
    expect(await ask(await fresh(two))).toBe('invalid_token')
    wait(30_000)
    expect(await ask(await fresh(two))).toBe('pass')
    expect(idp.hits).toBe(2)
  })

  it('a flood of unknown key ids costs one fetch a cooldown, and good tokens pass meanwhile', async () => {
    const { idp, ask, fresh, wait } = await stage(SERVED, { cooldown_seconds: 10 })
    expect(await ask(await fresh(one))).toBe('pass')
    const unknown = (kid: string) =>
      `${encode({ alg: 'ES256', kid, typ: 'at+jwt' })}.${encode({ iss: ISSUER, aud: 'llm-gateway', exp: NOW + 1e6 })}.${'A'.repeat(86)}`
    for (let second = 0; second < 60; second++) {
      const flood = Array.from({ length: 50 }, (_, at) => ask(unknown(`k-${second}-${at}`)))
      expect(new Set(await Promise.all(flood))).toEqual(new Set(['invalid_token']))
      expect(await ask(await fresh(one))).toBe('pass')
      wait(1_000)
    }
    expect(idp.hits).toBeLessThanOrEqual(7)
    expect(idp.hits).toBeGreaterThan(1)
  })

  it('a key that is taken back stops what it had verified', async () => {
    const { idp, ask, fresh, wait } = await stage(ROTATED, { refresh_seconds: 60, cooldown_seconds: 1 })
    const token = await fresh(two)
    expect(await ask(token)).toBe('pass')
    idp.serve(SERVED)
    expect(await ask(token)).toBe('pass')
    wait(61_000)
    // Starts the refresh in the background.
    await ask(token)
    await vi.waitFor(async () => expect(await ask(token)).toBe('invalid_token'))
    expect(await ask(await fresh(one))).toBe('pass')
  })

  it.each<[string, Answer]>([
    ['is down', { status: 503 }],
    ['does not answer', { hang: true }],
    ['answers nonsense', { text: '<html>' }],
    ['answers an empty set', { keys: [] }],
    ['answers another document', { text: '{"keys":"none"}' }],
    ['answers only secret keys', { keys: [{ kty: 'oct', k: 'AAAA', kid: 'one' }] }],
    ['answers without an end', { endless: true }],
    ['breaks off', { cut: true }],
    ['redirects', { redirectTo: 'http://127.0.0.1:9/keys' }],
  ])('an issuer that %s does not take its keys away, for a bounded time', async (_, outage) => {
    const { idp, ask, fresh, lines, wait } = await stage(SERVED, {
      refresh_seconds: 60,
      cooldown_seconds: 10,
      stale_seconds: 600,
    })
    const early = await fresh(one)
    expect(await ask(early)).toBe('pass')
    idp.serve(outage)
    wait(61_000)
    expect(await ask(await fresh(one))).toBe('pass')
    await vi.waitFor(() => expect(lines.some(({ level }) => level === 'warn')).toBe(true), { timeout: 5_000 })
    wait(590_000)
    expect(await ask(await fresh(one))).toBe('pass')
    wait(30_000)
    // Neither new tokens nor ones that were verified before.
    expect(await ask(await fresh(one))).toBe('jwks_unavailable')
    expect(await ask(early)).toBe('jwks_unavailable')
    idp.serve(SERVED)
    wait(10_000)
    expect(await ask(early)).toBe('pass')
    expect(JSON.stringify(lines)).not.toContain('<html>')
  })

  it('a set that was never there is asked for once a cooldown, and the door stays shut', async () => {
    const { idp, ask, fresh, wait } = await stage({ status: 500 }, { cooldown_seconds: 10 })
    for (let at = 0; at < 20; at++) expect(await ask(await fresh(one))).toBe('jwks_unavailable')
    expect(idp.hits).toBe(1)
    idp.serve(SERVED)
    wait(10_000)
    expect(await ask(await fresh(one))).toBe('pass')
    expect(idp.hits).toBe(2)
  })

  it('a slow answer delays only those who need it', async () => {
    const { idp, ask, fresh, wait } = await stage(SERVED, { refresh_seconds: 60, cooldown_seconds: 1 })
    expect(await ask(await fresh(one))).toBe('pass')
    idp.serve({ delayMs: 300, keys: [one.jwk, two.jwk] })
    wait(61_000)
    const order: string[] = []
    const newcomer = ask(await fresh(two)).then((result) => void order.push(`two ${result}`))
    const old = ask(await fresh(one)).then((result) => void order.push(`one ${result}`))
    await Promise.all([newcomer, old])
    expect(order).toEqual(['one pass', 'two pass'])
    expect(idp.hits).toBe(2)
  })

  it('what is larger than allowed is an outage', async () => {
    const many = Array.from({ length: 90 }, (_, at) => ({ ...one.jwk, kid: `k-${at}`, x5c: ['A'.repeat(1_000)] }))
    const { ask, fresh, lines } = await stage({ keys: [one.jwk, ...many] }, { max_jwks_bytes: 65_536 })
    expect(await ask(await fresh(one))).toBe('jwks_unavailable')
    expect(lines).toMatchObject([{ level: 'warn', fields: { detail: 'The document is larger than 65536 bytes.' } }])
  })

  it('keys of other kinds in a set do no harm', async () => {
    const odd = [
      { kty: 'oct', k: 'AAAA', kid: 'one' },
      { kty: 'RSA', kid: 'rsa', n: '!', e: 'AQAB', alg: 'RS256' },
      { ...two.jwk, kid: 'one', use: 'enc' },
      'text',
      null,
    ]
    const { ask, fresh, lines } = await stage({ keys: [...(odd as object[]), one.jwk] })
    expect(await ask(await fresh(one))).toBe('pass')
    expect(lines.map(({ level }) => level)).toEqual(['error'])
  })

  it('two keys with one id are none', async () => {
    const { ask, fresh } = await stage({ keys: [one.jwk, { ...two.jwk, kid: 'one' }] })
    expect(await ask(await fresh(one))).toBe('invalid_token')
  })
})

describe('a key set in the config', () => {
  it('needs no network', async () => {
    const jwks = JSON.stringify({ keys: [one.jwk] })
    const issuers = [{ issuer: ISSUER, jwks, audiences: ['llm-gateway'] }]
    const { passed } = setUp({ jwt: { issuers } })
    await passed({ headers: { authorization: `Bearer ${await sign(one, NOW)}` }, caller: STRANGER })
  })

  it('one behind a URL is refused where there is no network', () => {
    const issuers = [{ issuer: ISSUER, jwks_url: 'https://idp.test/keys', audiences: ['llm-gateway'] }]
    expect(() => setUp({ jwt: { issuers } })).toThrow('inline')
  })
})

describe('several issuers', () => {
  it('each is held to its own keys, audiences and algorithms', async () => {
    const issuers = [
      { issuer: 'https://a', jwks: JSON.stringify({ keys: [one.jwk] }), audiences: ['a'] },
      { issuer: 'https://b', jwks: JSON.stringify({ keys: [two.jwk] }), audiences: ['b'] },
    ]
    const { passed, refused } = setUp({ jwt: { issuers } })
    const by = async (key: IssuerKey, iss: string, aud: string) => ({
      headers: { authorization: `Bearer ${await sign(key, NOW, { claims: { iss, aud } })}` },
      caller: STRANGER,
    })
    await passed(await by(one, 'https://a', 'a'))
    await passed(await by(two, 'https://b', 'b'))
    await refused(await by(two, 'https://a', 'a'))
    await refused(await by(one, 'https://b', 'b'))
    await refused(await by(one, 'https://a', 'b'))
  })
})

describe('the cache of verified tokens', () => {
  it('spares the work, ends with the token, and stays within its size', async () => {
    const jwks = JSON.stringify({ keys: [one.jwk] })
    const jwt = { issuers: [{ issuer: ISSUER, jwks, audiences: ['llm-gateway'] }], cache_size: 2 }
    const world = createWorld()
    const { passed, refused, wait } = setUp({ jwt }, world)
    const ask = (token: string) => ({ headers: { authorization: `Bearer ${token}` }, caller: STRANGER })
    const tokens = await Promise.all(
      [1, 2, 3].map((jti) => sign(one, NOW, { claims: { jti: String(jti), exp: NOW + 60 } })),
    )
    const [first = '', second = '', third = ''] = tokens
    const claims = (await passed(ask(first))).claims
    // The same object: nothing was parsed or verified again.
    expect((await passed(ask(first))).claims).toBe(claims)
    // Nor by another plugin that trusts the same issuers.
    expect((await setUp({ jwt: { ...jwt, forward: true } }, world).passed(ask(first))).claims).toBe(claims)
    await passed(ask(second))
    await passed(ask(third))
    expect((await passed(ask(first))).claims).not.toBe(claims)
    wait(65_000)
    expect((await refused(ask(first))).message).toBe('The token has expired.')
  })

  it.each([0, 100])('one signature check a request however many policies look, with a cache of %i', async (size) => {
    const jwks = JSON.stringify({ keys: [one.jwk] })
    const issuers = [{ issuer: ISSUER, jwks, audiences: ['llm-gateway'] }]
    const world = createWorld()
    const checks = vi.spyOn(crypto.subtle, 'verify')
    onTestFinished(() => checks.mockRestore())
    const jwt = { issuers, cache_size: size }
    const limits = [{ name: 'r', limit: 100, window_seconds: 60, count: 'requests', per: ['claim:sub'] }]
    const revocation = { store: 'memory' }
    const pipeline = createPipeline(
      [
        { name: 'llm-scope', instance: scope.create(parsePolicyConfig(scope, { jwt, revocation }), world.deps) },
        {
          name: 'llm-token-limit',
          instance: tokenLimit.create(parsePolicyConfig(tokenLimit, { limits, revocation }), world.deps),
        },
      ],
      world.deps.logger,
    )
    const token = await sign(one, NOW, { claims: { sub: 'ada', exp: NOW + 1_000 } })
    const ask = () => pipeline.decide(exchange({ headers: { authorization: `Bearer ${token}` }, caller: STRANGER }))
    expect(await ask()).toMatchObject({ type: 'pass', claims: { sub: 'ada' } })
    expect(checks).toHaveBeenCalledTimes(1)
    // Requests that come together wait for one check, and a cache spares all later ones.
    await Promise.all([ask(), ask(), ask()])
    expect(checks).toHaveBeenCalledTimes(size === 0 ? 2 : 1)
    await ask()
    expect(checks).toHaveBeenCalledTimes(size === 0 ? 3 : 1)
  })

  it('a flood of key ids that exist nowhere leaves nothing behind', async () => {
    const { idp, ask, fresh } = await stage(SERVED)
    expect(await ask(await fresh(one))).toBe('pass')
    const odd = await Promise.all(
      Array.from({ length: 200 }, (_, at) =>
        sign(one, NOW, { header: { kid: `k-${at}` }, claims: { jti: `odd-${at}`, exp: NOW + 1_000 } }),
      ),
    )
    expect(new Set(await Promise.all(odd.map(ask)))).toEqual(new Set(['invalid_token']))
    expect(await ask(await fresh(one))).toBe('pass')
    expect(idp.hits).toBe(1)
  })
})
