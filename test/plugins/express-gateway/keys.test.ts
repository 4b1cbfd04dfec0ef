import { describe, expect, it } from 'vitest'
import { createSpy } from './support/spy.ts'
import { ask, CHAT, LIMIT, PROXY, setStage } from './support/stage.ts'

const SPY = { 'llm-spy': null }
const KEYED = [{ 'llm-key': null }, { 'key-auth': null }]

describe('llm-key and key-auth', () => {
  const KEY = 'id-of-ada:secret-of-ada'
  const consumers = [{ username: 'ada', key: KEY }]

  it.each<readonly [string, Readonly<Record<string, string>>, string]>([
    ['Bearer', { authorization: `Bearer ${KEY}` }, ''],
    ['bearer with spaces', { authorization: `  bearer   ${KEY}  ` }, ''],
    ['x-api-key', { 'x-api-key': KEY }, ''],
    ['api-key', { 'api-key': KEY }, ''],
    ['x-goog-api-key', { 'x-goog-api-key': KEY }, ''],
    ['?key=', {}, `?key=${encodeURIComponent(KEY)}`],
    ['?apiKey=, as key-auth reads it', {}, `?apiKey=${KEY}`],
    ['an encoded name', {}, `?%6Bey=${KEY}`],
    ['its own scheme', { authorization: `apiKey ${KEY}` }, ''],
    ['several with the same key', { authorization: `Bearer ${KEY}`, 'x-api-key': KEY }, `?key=${KEY}`],
  ])('takes %s, and sends none of it upstream', async (_, headers, query) => {
    const stage = await setStage({ consumers })
    const path = `/v1/chat/completions${query}${query === '' ? '?' : '&'}a=%20b&c`
    expect((await ask(stage, { key: undefined, headers, path })).status).toBe(200)
    const [received] = stage.model.requests
    expect(received?.url).toBe('/v1/chat/completions?a=%20b&c')
    const sent = [...(received?.rawHeaders ?? []), received?.url].join('\n')
    expect(sent).not.toMatch(/id-of-ada|secret-of-ada|authorization|api-key/i)
  })

  it('sends the key of no other form upstream either', async () => {
    const stage = await setStage({ policies: [LIMIT, PROXY] })
    const headers = { authorization: 'Basic YTpi', 'proxy-authorization': 'Basic YTpi', 'api-key': 'k' }
    const path = '/v1/chat/completions?access_token=t&key=k&apiKey=k&keep=1'
    expect((await ask(stage, { key: undefined, headers, path })).status).toBe(200)
    expect(stage.model.requests[0]?.url).toBe('/v1/chat/completions?keep=1')
    expect(stage.model.requests[0]?.rawHeaders.join('\n')).not.toMatch(/authorization|api-key/i)
  })

  it.each<readonly [string, Readonly<Record<string, string>>]>([
    ['two headers', { authorization: `Bearer ${KEY}`, 'x-api-key': 'other:key' }],
    ['header and query', { 'x-goog-api-key': 'other:key' }],
    ['a key no key can be', { 'x-api-key': `${'x'.repeat(2_000)}` }],
  ])('refuses %s', async (_, headers) => {
    const stage = await setStage({ consumers })
    const path = '/v1/messages?key=third:key'
    const reply = await ask(stage, { key: undefined, headers, path })
    expect(reply.status).toBe(401)
    expect(await reply.json()).toMatchObject({
      type: 'error',
      error: { type: 'authentication_error', details: { error_code: 'invalid_key' } },
    })
  })

  it('leaves tokens of others alone: jwt reads its own', async () => {
    const spy = createSpy()
    const secret = 'a-secret-for-hs256'
    const jwt = { jwt: { action: { secretOrPublicKey: secret, checkCredentialExistence: false } } }
    const stage = await setStage({ extra: [spy.policy], policies: [{ 'llm-key': null }, jwt, SPY, PROXY] })
    const token = await signed({ sub: 'u-1', tier: 'gold', type: 'user', id: 'forged', username: 'ada' }, secret)
    expect((await ask(stage, { key: token })).status).toBe(200)
    // Claims are claims, whatever they call themselves.
    expect(spy.seen[0]?.caller).toMatchObject({ claims: { sub: 'u-1', tier: 'gold' } })
    expect(spy.seen[0]?.caller.consumer).toBeUndefined()
    expect(JSON.stringify(stage.model.requests[0]?.rawHeaders)).not.toContain(token)
    expect((await ask(stage, { key: `${token}x` })).status).toBe(401)
  })

  it('answers key-auth’s own refusals in the shape of the API', async () => {
    const stage = await setStage()
    const paths = ['/v1/chat/completions', '/v1/messages', '/v1beta/models/gemini-2.5-flash:generateContent']
    const bodies = []
    for (const path of paths) {
      const reply = await ask(stage, { path, key: undefined, headers: { 'x-request-id': 'mine-7' } })
      expect([reply.status, reply.headers.get('cache-control'), reply.headers.get('x-request-id')]).toEqual([
        401,
        'no-store',
        'mine-7',
      ])
      bodies.push(await reply.json())
    }
    expect(bodies).toMatchObject([
      { error: { code: 'invalid_key', type: 'authentication_error' } },
      { type: 'error', error: { type: 'authentication_error' } },
      { error: { code: 401, status: 'UNAUTHENTICATED' } },
    ])
    const missingScope = await setStage({
      config: { apiEndpoints: { llm: { host: '*', paths: '/*', scopes: ['llm'] } } },
    })
    const reply = await ask(missingScope)
    expect([reply.status, await reply.json()]).toMatchObject([403, { error: { code: 'insufficient_scope' } }])
  })
})

describe('the caller', () => {
  it('has the scopes that were granted, not those that the endpoint asks for', async () => {
    const spy = createSpy()
    const stage = await setStage({
      extra: [spy.policy],
      policies: [...KEYED, SPY, PROXY],
      consumers: [{ username: 'ada', tags: ['gold', 'team-a'], scopes: ['llm', 'llm:chat', 'other'], key: 'k1:s1' }],
      config: { apiEndpoints: { llm: { host: '*', paths: '/*', scopes: ['llm'] } } },
    })
    expect((await ask(stage)).status).toBe(200)
    const { caller, route } = spy.seen[0] ?? {}
    expect(caller?.credential).toMatchObject({ id: 'k1', scopes: ['llm', 'llm:chat', 'other'] })
    expect(caller?.credential?.createdAt).toBeGreaterThan(1_600_000_000)
    expect(caller?.credential?.fingerprint).toMatch(/^[0-9a-f]{32}$/)
    expect(caller?.consumer).toMatchObject({ username: 'ada', tags: ['gold', 'team-a'], groups: [] })
    expect(route).toEqual({ name: 'llm', serviceName: 'model' })
  })

  it('is nobody on an open pipeline, whatever headers say', async () => {
    const spy = createSpy()
    const stage = await setStage({ extra: [spy.policy], policies: [SPY, PROXY] })
    const headers = { 'eg-consumer-id': 'ada', 'x-forwarded-for': '203.0.113.9', 'x-consumer-id': 'ada' }
    expect((await ask(stage, { key: undefined, headers })).status).toBe(200)
    expect(spy.seen[0]?.caller).toEqual({ address: '127.0.0.1' })
    expect(stage.model.requests[0]?.headers['eg-consumer-id']).toBeUndefined()
  })

  it('is nobody when authentication was passed through', async () => {
    const spy = createSpy()
    const policies = [{ 'llm-key': null }, { 'key-auth': { action: { passThrough: true } } }, SPY, PROXY]
    const stage = await setStage({ extra: [spy.policy], policies })
    expect((await ask(stage, { key: 'no:such' })).status).toBe(200)
    expect((await ask(stage, {})).status).toBe(200)
    expect(spy.seen.map(({ caller }) => caller.consumer?.username)).toEqual([undefined, 'ada'])
  })

  it('of basic-auth is known too', async () => {
    const spy = createSpy()
    const stage = await setStage({ extra: [spy.policy], policies: [{ 'basic-auth': null }, SPY, PROXY] })
    await stage.gateway.addBasicAuth('ada', 'pass-of-ada')
    const headers = { authorization: `Basic ${Buffer.from('ada:pass-of-ada').toString('base64')}` }
    expect((await ask(stage, { key: undefined, headers })).status).toBe(200)
    expect(spy.seen[0]?.caller).toMatchObject({ consumer: { username: 'ada' }, credential: { tags: [] } })
    expect(JSON.stringify(stage.model.requests[0]?.rawHeaders)).not.toContain('Basic')
  })

  it('has the credential of a key that it knows, not of one whose id it has heard of', async () => {
    const spy = createSpy()
    const condition = { name: 'pathExact', path: '/elsewhere' }
    const elsewhere = { 'key-auth': { condition, action: { apiKeyHeader: 'x-key' } } }
    const stage = await setStage({
      extra: [spy.policy],
      policies: [elsewhere, { 'basic-auth': null }, SPY, PROXY],
      consumers: [{ username: 'ada', scopes: ['llm:*'], key: 'k1:s1' }],
    })
    await stage.gateway.addBasicAuth('ada', 'pass-of-ada')
    const authorization = `Basic ${Buffer.from('ada:pass-of-ada').toString('base64')}`
    for (const key of ['k1:s2', 'k1:', 'k1', ':', 'k1:s1s', 'k1:s'])
      expect((await ask(stage, { key, headers: { authorization, 'x-key': `apiKey ${key}` } })).status).toBe(200)
    expect(spy.seen.map(({ caller }) => caller.credential)).toEqual(new Array(6).fill({ tags: [] }))
    expect((await ask(stage, { headers: { authorization, 'x-key': 'apiKey k1:s1' } })).status).toBe(200)
    expect(spy.seen[6]?.caller.credential).toMatchObject({ id: 'k1', scopes: ['llm:*'] })
  })

  it('has the credential of its key wherever key-auth found that', async () => {
    const spy = createSpy()
    const unused = { condition: { name: 'pathExact', path: '/elsewhere' }, action: { apiKeyHeader: 'x-key' } }
    const used = { action: { disableHeadersScheme: true } }
    const stage = await setStage({
      extra: [spy.policy],
      policies: [{ 'key-auth': [unused, used] }, SPY, PROXY],
      consumers: [{ username: 'ada', key: 'k1:s1' }],
    })
    const path = '/v1/chat/completions?apiKey=k1:s1'
    expect((await ask(stage, { key: undefined, path, headers: { authorization: '' } })).status).toBe(200)
    expect((await ask(stage, { key: undefined, path, headers: { 'x-key': 'apiKey other' } })).status).toBe(200)
    expect(spy.seen.map(({ caller }) => caller.credential?.id)).toEqual(['k1', 'k1'])
  })

  it('owns what it sends: body and path as forwarded', async () => {
    const spy = createSpy()
    const stage = await setStage({ extra: [spy.policy], policies: [...KEYED, SPY, PROXY] })
    await ask(stage, { headers: { 'x-request-id': 'abc.1:2_3-4' } })
    await ask(stage, { headers: { 'x-request-id': 'has spaces and <tags>' } })
    expect(spy.seen[0]).toMatchObject({
      path: '/v1/chat/completions',
      body: JSON.stringify(CHAT),
      requestId: 'abc.1:2_3-4',
    })
    expect(spy.seen[1]?.requestId).toMatch(/^\w{20,24}$/)
  })
})

async function signed(claims: object, secret: string): Promise<string> {
  const { SignJWT } = await import('jose')
  return new SignJWT({ ...claims }).setProtectedHeader({ alg: 'HS256' }).sign(new TextEncoder().encode(secret))
}
