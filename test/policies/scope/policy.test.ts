import { describe, expect, it } from 'vitest'
import { ConfigError } from '../../../policies/errors.ts'
import type { Caller } from '../../../policies/policy.ts'
import { parsePolicyConfig } from '../../../policies/schema/parse.ts'
import { scope } from '../../../policies/scope/index.ts'
import { channels, type DecisionEvent } from '../../../policies/telemetry.ts'
import { chat, exchange, form, granted, STRANGER, setUp } from './support.ts'

const FORM = { 'content-type': 'multipart/form-data; boundary=xyz' }

describe('operations and models', () => {
  it.each([
    ['llm:chat:gpt-4o-mini', {}],
    ['llm:chat:gpt-4o-mini', { path: '/v1/completions', body: { model: 'gpt-4o-mini', prompt: 'Hi' } }],
    ['llm:chat', { body: 'not read at all' }],
    ['llm:responses:gpt-5', { path: '/v1/responses', body: { model: 'gpt-5', input: 'Hi' } }],
    ['llm:embeddings:text-*', { path: '/v1/embeddings', body: { model: 'text-embedding-3-small', input: 'Hi' } }],
    ['llm:chat:claude-*', { path: '/v1/messages', body: chat({ model: 'claude-haiku-4-5', max_tokens: 5 }) }],
    ['llm:chat:read', { path: '/v1/messages/count_tokens', body: chat({ model: 'claude-haiku-4-5' }) }],
    ['llm:chat:claude-*', { path: '/v1/messages/count_tokens', body: chat({ model: 'claude-haiku-4-5' }) }],
    ['llm:chat:gemini-2.0-flash', { path: '/v1beta/models/gemini-2.0-flash:generateContent', body: { contents: [] } }],
    ['llm:chat:gemini-*', { path: '/v1beta/models/gemini-2.0-flash:streamGenerateContent', body: { contents: [] } }],
    ['llm:chat:gpt-4o', { path: '/openai/deployments/gpt-4o/chat/completions', body: { messages: [] } }],
    ['llm:images:dall-e-3', { path: '/v1/images/generations', body: { model: 'dall-e-3', prompt: 'x' } }],
    ['llm:images', { path: '/v1/images/generations', body: { prompt: 'x' } }],
    ['llm:audio:tts-1', { path: '/v1/audio/speech', body: { model: 'tts-1', input: 'x', voice: 'alloy' } }],
    [
      'llm:audio:whisper-1',
      {
        path: '/v1/audio/transcriptions',
        headers: FORM,
        body: form('xyz', [
          ['file', 'RIFF', '; filename="a.wav"'],
          ['model', 'whisper-1'],
        ]),
      },
    ],
    ['llm:moderations:omni-*', { path: '/v1/moderations', body: { model: 'omni-moderation-latest', input: 'x' } }],
    ['llm:models', { method: 'GET', path: '/v1/models', body: null }],
    ['llm:read', { method: 'GET', path: '/v1/models/gpt-4o', body: null }],
    ['llm:read', { method: 'HEAD', path: '/v1/models', body: null }],
    ['llm:files', { path: '/v1/files', headers: FORM, body: form('xyz', [['purpose', 'batch']]) }],
    ['llm:files', { method: 'DELETE', path: '/v1/files/file-1', body: null }],
    ['llm:batches', { path: '/v1/batches', body: { input_file_id: 'file-1' } }],
    [
      'llm:batches:claude-*',
      { path: '/v1/messages/batches', body: { requests: [{ custom_id: '1', params: chat({ model: 'claude-3' }) }] } },
    ],
    [
      'llm:fine_tuning:gpt-4o-mini',
      { path: '/v1/fine_tuning/jobs', body: { model: 'gpt-4o-mini', training_file: 'f' } },
    ],
    ['llm:*', { path: '/v1/batches/b-1/cancel', body: null }],
  ])('%s is enough for %j', async (grant, request) => {
    await setUp().passed({ ...request, caller: granted(grant) })
  })

  it.each([
    ['llm:chat:gpt-4o-mini', 'llm:chat:gpt-5', { body: chat({ model: 'gpt-5' }) }],
    ['llm:read', 'llm:chat:gpt-4o-mini', { path: '/openai/deployments/gpt-4o-mini/chat/completions' }],
    ['llm:embeddings', 'llm:chat', {}],
    ['llm:read', 'llm:files', { path: '/v1/files', headers: FORM, body: form('xyz', []) }],
    ['llm:read', 'llm:files', { method: 'DELETE', path: '/v1/files/file-1', body: null }],
    ['llm:chat', 'llm:models:read', { method: 'GET', path: '/v1/models', body: null }],
    [
      'llm:batches:gpt-4o-mini',
      'llm:batches',
      { path: '/v1/batches', body: { input_file_id: 'f', model: 'gpt-4o-mini' } },
    ],
    [
      'llm:batches:claude-3',
      'llm:batches:claude-4',
      {
        path: '/v1/messages/batches',
        body: { requests: [{ params: { model: 'claude-3' } }, { params: { model: 'claude-4' } }] },
      },
    ],
    ['llm:images:dall-e-2', 'llm:images', { path: '/v1/images/generations', body: { prompt: 'x' } }],
    ['llm:chat:gpt-4o-mini', 'llm:chat:o3', { body: chat({ models: ['gpt-4o-mini', 'o3'] }) }],
    ['llm:chat:gpt-4o-mini', 'llm:chat', { body: chat({ fallbacks: ['o3'] }) }],
    ['llm:chat:gpt-4o-mini', 'llm:chat', { body: chat({ Preset: 'x' }) }],
    [
      'llm:responses:gpt-5',
      'llm:responses:gpt-image-1',
      {
        path: '/v1/responses',
        body: { model: 'gpt-5', input: 'x', tools: [{ type: 'image_generation', model: 'gpt-image-1' }] },
      },
    ],
    ['llm:responses:gpt-5', 'llm:responses', { path: '/v1/responses', body: { prompt: { id: 'p-1' } } }],
    [
      'llm:chat:acme',
      'llm:chat:tunedModels/acme',
      { path: '/v1beta/tunedModels/acme:generateContent', body: { contents: [] } },
    ],
  ])('%s: %s is missing for %j', async (grant, missing, request) => {
    const { status, code, message, headers } = await setUp().refused({ ...request, caller: granted(grant) })
    expect({ status, code }).toEqual({ status: 403, code: 'insufficient_scope' })
    expect(message).toBe(`The scope "${missing}" is missing.`)
    expect(headers?.['www-authenticate']).toBe(`Bearer realm="llm", error="insufficient_scope", scope="${missing}"`)
  })

  it('what no rule recognises is refused whatever was granted', async () => {
    for (const request of [
      { path: '/v1/chat/completions/' },
      { path: '/v1/realtime', method: 'GET', body: null },
      { path: '/v1/organization/admin_api_keys', method: 'GET', body: null },
      { method: 'PUT' },
      { method: 'OPTIONS', body: null },
      { method: 'CONNECT', body: null },
    ]) {
      const { status, code } = await setUp().refused({ ...request, caller: granted('llm:*') })
      expect({ status, code }).toEqual({ status: 403, code: 'insufficient_scope' })
    }
  })

  it('an operator adds operations', async () => {
    const { passed, refused } = setUp({
      operations: [
        { path: '/team/{model}/ask', operation: 'chat' },
        { method: 'GET', path: '/v1/responses/{id}', operation: 'responses' },
        { path: '/rank', operation: 'embeddings', read: true },
      ],
    })
    const ask = { path: '/team/gpt-4o-mini/ask', body: null }
    await passed({ ...ask, caller: granted('llm:chat:gpt-4o-mini') })
    await refused({ ...ask, caller: granted('llm:chat:gpt-5') })
    await refused({ ...ask, body: { model: 'gpt-5' }, caller: granted('llm:chat:gpt-4o-mini') })
    await passed({ method: 'GET', path: '/v1/responses/resp_1', body: null, caller: granted('llm:read') })
    await passed({ path: '/rank', body: { model: 'r-1' }, caller: granted('llm:embeddings:read:r-1') })
  })
})

describe('sources', () => {
  const consumer = { id: 'c-1', username: 'ada', customId: 'x-1', tags: ['llm:read'], groups: ['research'] }
  const caller = (parts: Partial<Caller> = {}): Caller => ({
    consumer,
    credential: { id: 'k-1', tags: ['llm:chat'] },
    address: '192.0.2.1',
    ...parts,
  })
  const MAPS = {
    aliases: { everything: ['llm:*'], small: ['llm:chat:gpt-4o-mini', 'llm:embeddings'] },
    static: { ada: ['llm:audio'], 'k-1': ['small'] },
    groups: { research: ['everything'] },
  }
  const mayChat = async (config: object, who: Caller) => {
    const decision = await setUp({ ...MAPS, ...config }).instance.decide(exchange({ caller: who }))
    return decision.type === 'pass'
  }

  it('the first source that knows the caller decides', async () => {
    expect(await mayChat({ sources: ['credential', 'consumer'] }, caller())).toBe(true)
    expect(await mayChat({ sources: ['consumer', 'credential'] }, caller())).toBe(false)
    expect(await mayChat({ sources: ['static', 'consumer'] }, caller())).toBe(true)
    expect(await mayChat({ sources: ['static'] }, caller({ credential: { id: 'k-2', tags: [] } }))).toBe(false)
    expect(await mayChat({ sources: ['groups'] }, caller())).toBe(true)
    expect(await mayChat({ sources: ['consumer', 'groups'] }, caller())).toBe(false)
  })

  it('tags that are no grants say nothing, an alias among them does', async () => {
    const tagged = (...tags: string[]) => caller({ credential: { id: 'k', tags } })
    expect(await mayChat({ sources: ['credential', 'groups'] }, tagged('gold', 'eu'))).toBe(true)
    expect(await mayChat({ sources: ['credential'] }, tagged('gold', 'everything'))).toBe(true)
    expect(await mayChat({ sources: ['credential'] }, tagged('gold', 'llm:chatter'))).toBe(false)
  })

  it('scopes of a credential count', async () => {
    const scopes = ['openid', 'llm:chat']
    expect(await mayChat({}, caller({ credential: { id: 'k', tags: [], scopes } }))).toBe(true)
  })

  it('claims that the gateway verified count, and do not fall back when they grant nothing', async () => {
    expect(await mayChat({}, { claims: { scope: 'openid llm:chat' }, address: '' })).toBe(true)
    expect(await mayChat({}, { claims: { scp: ['llm:chat'] }, address: '' })).toBe(true)
    expect(await mayChat({}, { ...caller(), claims: { scope: 'openid' } })).toBe(false)
    expect(await mayChat({ sources: ['credential'] }, { claims: { scope: 'llm:chat' }, address: '' })).toBe(false)
  })

  it('a consumer without a credential is no identity', async () => {
    const anonymous: Caller = { consumer: { ...consumer, tags: ['llm:*'] }, address: '192.0.2.1' }
    const { status, code, headers } = await setUp(MAPS).refused({ caller: anonymous })
    expect({ status, code }).toEqual({ status: 401, code: 'invalid_token' })
    expect(headers?.['www-authenticate']).toBe('Bearer realm="llm"')
  })

  it('nobody is 401, somebody without grants 403', async () => {
    expect((await setUp().refused({ caller: STRANGER })).status).toBe(401)
    expect((await setUp().refused({ caller: granted() })).status).toBe(403)
    expect((await setUp().refused({ caller: { claims: {}, address: '' } })).status).toBe(403)
  })
})

describe('modes and reports', () => {
  it('shadow refuses nothing and says what it would have', async () => {
    const { passed } = setUp({ mode: 'shadow' })
    expect((await passed({ caller: granted() })).wouldReject).toMatchObject({
      code: 'insufficient_scope',
      rule: 'llm:chat',
    })
    const ofModel = { caller: granted('llm:chat:o1'), body: { model: 'gpt-4o-4111-1111-1111-1111', messages: [] } }
    expect((await passed(ofModel)).wouldReject).toMatchObject({ code: 'insufficient_scope', rule: 'llm:chat' })
    expect((await passed({ caller: STRANGER })).wouldReject?.code).toBe('invalid_token')
    expect((await passed({ body: '{', caller: granted('llm:chat:x') })).wouldReject?.code).toBe('invalid_request')
    expect((await passed({ path: '/v1//x' })).wouldReject?.code).toBe('invalid_request')
    expect((await passed({ caller: granted('llm:chat') })).wouldReject).toBeUndefined()
  })

  it('publishes who decided and what was missing', async () => {
    const events: DecisionEvent[] = []
    const listen = (event: unknown) => void events.push(event as DecisionEvent)
    channels.decision.subscribe(listen)
    const { passed, refused } = setUp()
    await passed({ caller: granted('llm:chat:gpt-*') })
    await refused({ caller: granted('llm:chat:o3') })
    channels.decision.unsubscribe(listen)
    expect(events).toMatchObject([
      { policy: 'llm-scope', decision: 'pass', rule: 'credential', model: 'gpt-4o-mini' },
      { decision: 'reject', code: 'insufficient_scope', rule: 'llm:chat:gpt-4o-mini', model: 'gpt-4o-mini' },
    ])
  })
})

describe('what a caller wrote where a model belongs', () => {
  const secret = 'sk-proj-Zu7Yq0RkXw3vB1nM5tLc'
  it.each([
    ['a body', { body: { model: secret, messages: [] } }],
    ['a path', { path: `/v1beta/models/${secret}:generateContent`, body: { contents: [] } }],
  ])('is told to nobody but the caller: %s', async (_, parts) => {
    const events: unknown[] = []
    const listen = (event: unknown) => void events.push(event)
    channels.decision.subscribe(listen)
    const { refused } = setUp()
    for (const grant of ['llm:chat:o3', 'llm:files'])
      expect((await refused({ ...parts, caller: granted(grant) })).code).toBe('insufficient_scope')
    channels.decision.unsubscribe(listen)
    expect(events).toHaveLength(2)
    expect(JSON.stringify(events)).not.toContain(secret)
  })
})

describe('config', () => {
  const issuer = { issuer: 'https://idp', jwks_url: 'https://idp/keys', audiences: ['llm'] }
  const paths = (config: object): string[] => {
    try {
      parsePolicyConfig(scope, config)
    } catch (error) {
      if (error instanceof ConfigError) return error.issues.map(({ path }) => path)
      throw error
    }
    return []
  }

  it.each([
    [{}, []],
    [{ jwt: { issuers: [issuer] } }, []],
    [{ jwt: { issuers: [{ ...issuer, jwks_url: 'http://127.0.0.1:9/keys' }] } }, []],
    [{ jwt: { issuers: [{ ...issuer, jwks_url: 'http://idp/keys' }], allow_http: true } }, []],
    [{ jwt: { issuers: [{ ...issuer, jwks_url: 'http://idp/keys' }] } }, ['jwt.issuers[0].jwks_url']],
    [{ jwt: { issuers: [{ ...issuer, jwks_url: 'https://u:p@idp/keys' }] } }, ['jwt.issuers[0].jwks_url']],
    [{ jwt: { issuers: [issuer, issuer] } }, ['jwt.issuers[1].issuer']],
    [{ jwt: { issuers: [{ ...issuer, jwks: '{}' }] } }, ['jwt.issuers[0].jwks_url', 'jwt.issuers[0].jwks']],
    [{ jwt: { issuers: [{ ...issuer, algorithms: ['HS256'] }] } }, ['jwt.issuers[0].algorithms[0]']],
    [{ jwt: { issuers: [{ ...issuer, algorithms: ['none'] }] } }, ['jwt.issuers[0].algorithms[0]']],
    [{ jwt: { issuers: [{ ...issuer, audiences: [] }] } }, ['jwt.issuers[0].audiences']],
    [{ jwt: { issuers: [issuer] }, sources: ['consumer'] }, ['jwt']],
    [{ sources: ['consumer', 'consumer'] }, ['sources[1]']],
    [{ static: { ada: ['llm:chatter'] } }, ['static.ada[0]']],
    [{ groups: { g: ['unknown-alias'] } }, ['groups.g[0]']],
    [{ aliases: { a: ['b'], b: ['llm:*'] } }, ['aliases.a[0]']],
    [{ aliases: { 'llm:read': ['llm:*'] } }, ['aliases.llm:read']],
    [{ unmatched: 'allow' }, ['unmatched']],
    [{ revocation: { store: 'redis' } }, ['revocation.redis']],
    [{ revocation: { redis: {} } }, ['revocation.redis']],
  ])('%j has issues at %j', (config, expected) => {
    expect(paths(config)).toEqual(expected)
  })

  it('refuses key sets that hold a private or a shared key', () => {
    const jwks = (key: object) => ({
      jwt: { issuers: [{ issuer: 'x', audiences: ['y'], jwks: JSON.stringify({ keys: [key] }) }] },
    })
    const at = ['jwt.issuers[0].jwks']
    expect(paths(jwks({ kty: 'oct', k: 'c2VjcmV0' }))).toEqual(at)
    expect(paths(jwks({ kty: 'EC', crv: 'P-256', x: 'x', y: 'y', d: 'd' }))).toEqual(at)
    expect(paths(jwks({ kty: 'EC', crv: 'P-256', x: 'x', y: 'y' }))).toEqual([])
  })
})
