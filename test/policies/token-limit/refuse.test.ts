import { describe, expect, it } from 'vitest'
import { RefusedRead } from '../../../policies/errors.ts'
import type { LimitStore } from '../../../policies/stores/ports.ts'
import { channels, type DecisionEvent, type FaultEvent } from '../../../policies/telemetry.ts'
import { chat, exchange, forwardedBody, type RequestParts, remaining, rule, setUp } from './support.ts'

const LIMITS = [rule(), rule({ name: 'calls', count: 'requests', limit: 3 })]

const GEMINI: RequestParts = {
  path: '/v1beta/models/gemini-2.5-flash:generateContent',
  body: { contents: [{ parts: [{ text: 'Hi' }] }] },
}

/** As Gemini's compatible API documents it. */
function withGoogleThinking(thinking_budget: unknown) {
  return chat({ max_tokens: 100, extra_body: { google: { thinking_config: { thinking_budget } } } })
}

const UNREADABLE: readonly (readonly [what: string, code: string, parts: RequestParts])[] = [
  ['an unknown path', 'unmetered_operation', { path: '/v1/unknown' }],
  ['a path that only ends like one', 'unmetered_operation', { path: '/evil/v1/chat/completions' }],
  ['a batch', 'unmetered_operation', { path: '/v1/batches' }],
  ['fine-tuning', 'unmetered_operation', { path: '/v1/fine_tuning/jobs' }],
  ['images', 'unmetered_operation', { path: '/v1/images/generations' }],
  [
    'a background run',
    'unmetered_operation',
    { path: '/v1/responses', body: { model: 'm', input: 'x', background: true } },
  ],
  ['an upgrade', 'unmetered_operation', { method: 'GET', headers: { upgrade: 'websocket' } }],
  [
    'a read that asks to be a POST',
    'invalid_request',
    { method: 'GET', headers: { 'x-http-method-override': 'POST' } },
  ],
  ['a read that asks for it in the query', 'invalid_request', { method: 'GET', query: ['alt', '_Method'] }],
  [
    'a read that asks Google for it',
    'invalid_request',
    { method: 'GET', path: '/v1beta/models/gemini-2.0-flash:generateContent', query: ['$httpMethod'] },
  ],
  ['headers in the query', 'invalid_request', { ...GEMINI, query: ['$httpHeaders'] }],
  [
    'a path in a header',
    'invalid_request',
    { path: '/v1/free', headers: { 'x-original-url': '/v1/chat/completions' } },
  ],
  ['CONNECT', 'unmetered_operation', { method: 'CONNECT' }],
  ['a method without meaning', 'unmetered_operation', { method: 'BREW' }],
  ['a path with dot segments', 'invalid_request', { path: '/v1/free/../chat/completions' }],
  ['a path with an encoded slash', 'invalid_request', { path: '/v1%2Fchat/completions' }],
  ['no body', 'invalid_request', { body: null }],
  ['an empty body', 'invalid_request', { body: '' }],
  ['a body that is no JSON', 'invalid_request', { body: 'model=gpt-4o' }],
  ['a truncated body', 'invalid_request', { body: '{"model":"gpt-4o","messages":[' }],
  ['a body that is a list', 'invalid_request', { body: [] }],
  ['a deeply nested body', 'invalid_request', { body: '['.repeat(100_000) }],
  ['a duplicate key', 'invalid_request', { body: '{"model":"a","max_tokens":1,"max_tokens":9,"messages":[]}' }],
  ['a look-alike key', 'invalid_request', { body: chat({ MAX_TOKENS: 5 }) }],
  ['a stream that is text', 'invalid_request', { body: chat({ stream: 'true' }) }],
  ['a negative budget', 'invalid_request', { body: chat({ max_tokens: -1 }) }],
  ['a fractional budget', 'invalid_request', { body: chat({ max_tokens: 1.5 }) }],
  ['a budget that is text', 'invalid_request', { body: chat({ max_tokens: '10' }) }],
  ['no model', 'invalid_request', { body: { messages: [] } }],
  ['a form', 'invalid_request', { headers: { 'content-type': 'application/x-www-form-urlencoded' } }],
  ['text', 'invalid_request', { headers: { 'content-type': 'text/plain; application/json' } }],
  ['two content types', 'invalid_request', { headers: { 'content-type': 'application/json, text/plain' } }],
  ['no content type', 'invalid_request', { headers: { 'content-type': '' } }],
  ['a compressed body', 'unsupported_encoding', { headers: { 'content-encoding': 'gzip' } }],
  ['a twice encoded body', 'unsupported_encoding', { headers: { 'content-encoding': 'identity, br' } }],
  ['another charset', 'unsupported_encoding', { headers: { 'content-type': 'application/json; charset=utf-16' } }],
  [
    'a second charset',
    'unsupported_encoding',
    { headers: { 'content-type': 'application/json; charset=utf-8; charset=utf-16' } },
  ],
  [
    'a charset with a space',
    'unsupported_encoding',
    { headers: { 'content-type': 'application/json; charset =utf-16' } },
  ],
  ['a reply without its usage', 'invalid_request', { ...GEMINI, query: ['fields'] }],
  ['the same by its other name', 'invalid_request', { ...GEMINI, query: ['alt', '$fields'] }],
  ['the same in a header', 'invalid_request', { ...GEMINI, headers: { 'x-goog-fieldmask': 'candidates' } }],
  ['a reply that is a script', 'invalid_request', { ...GEMINI, query: ['callback'] }],
  [
    'a reply without its usage from an API that Google makes compatible',
    'invalid_request',
    { path: '/v1beta/openai/chat/completions', query: ['Fields'] },
  ],
  ['a budget that a router puts over it', 'invalid_request', { body: chat({ extra_body: { max_tokens: 9 } }) }],
  ['candidates that it does', 'invalid_request', { body: chat({ extraBody: { deep: [{ N: 9 }] } }) }],
  ['a stream without usage that it does', 'invalid_request', { body: chat({ 'extra-body': { stream_options: {} } }) }],
  ['a budget of a fallback', 'invalid_request', { body: chat({ fallbacks: [{ model: 'm', maxTokens: 9 }] }) }],
  ['a budget of reasoning put over it', 'invalid_request', { body: chat({ extra_body: { thinking_budget: 9 } }) }],
  [
    'such a budget further down',
    'invalid_request',
    { body: chat({ litellm_params: { thinking: { 'Budget-Tokens': 9 } } }) },
  ],
  ['a budget of thinking that is no number', 'invalid_request', { body: withGoogleThinking('800') }],
  ['a budget of thinking below none', 'invalid_request', { body: withGoogleThinking(-2) }],
]

describe('what cannot be metered', () => {
  for (const [what, code, parts] of UNREADABLE) {
    it(`refuses ${what}`, async () => {
      const { refused, passed } = setUp({ limits: LIMITS })
      const decision = await refused(parts)
      expect(decision.code).toBe(code)
      expect(decision.status).toBe(code === 'unsupported_encoding' ? 415 : 400)
      // Nothing was taken for it.
      expect(remaining(await passed(), 'requests')).toBe(2)
    })

    it(`lets ${what} through in shadow mode, and says what it held back`, async () => {
      const { passed } = setUp({ limits: LIMITS, mode: 'shadow' })
      const decision = await passed(parts)
      expect(decision).toEqual({ type: 'pass', wouldReject: expect.objectContaining({ code }) })
    })
  }

  it('refuses more candidates or models than can be meant', async () => {
    const { refused } = setUp({ limits: LIMITS })
    expect((await refused({ body: chat({ n: 1e9, max_tokens: 1 }) })).status).toBeGreaterThanOrEqual(400)
    const models = Array.from({ length: 20 }, (_, index) => `m${index}`)
    expect((await refused({ body: chat({ models }) })).code).toBe('invalid_request')
  })

  it('lets Gemini’s clients ask for the reply as they need it', async () => {
    const { passed } = setUp({ limits: [rule({ limit: 1_000_000 })] })
    await passed({ ...GEMINI, query: ['alt', 'key', '$alt', 'prettyPrint'] })
    await passed({ query: ['fields'] })
  })

  it('accepts JSON in its other clothes', async () => {
    const { passed } = setUp({ limits: [rule({ limit: 100_000 })] })
    for (const type of [
      'application/json; charset=utf-8',
      'Application/JSON',
      'application/vnd.api+json',
      'application/json;charset="UTF-8"',
    ])
      await passed({ headers: { 'content-type': type } })
    await passed({ headers: { 'content-encoding': 'identity' } })
  })

  it('counts reads as requests only', async () => {
    const { passed, refused } = setUp({ limits: LIMITS })
    for (const method of ['GET', 'HEAD', 'DELETE']) {
      const decision = await passed({ method, path: '/v1/models/gpt-4o', body: null })
      expect(decision.tap).toBeUndefined()
      expect(decision.request).toBeUndefined()
      expect(decision.replyHeaders).not.toHaveProperty('x-ratelimit-remaining-tokens')
    }
    const decision = await refused({ method: 'OPTIONS', path: '/anything', body: null })
    expect(decision).toMatchObject({ code: 'rate_limit_exceeded' })
    expect(decision.message).toContain('of 3 requests per 60 s')
  })

  it('counts tokens of a request for free', async () => {
    const { passed } = setUp({ limits: LIMITS })
    const decision = await passed({ path: '/v1/messages/count_tokens', body: null })
    expect(remaining(decision, 'requests')).toBe(2)
  })

  it('lets through what the operator lists, as a request only', async () => {
    const { passed, refused } = setUp({ limits: LIMITS, unmetered: ['/v1/batches', '/v1/audio/*'] })
    expect(remaining(await passed({ path: '/v1/batches', body: null }), 'requests')).toBe(2)
    await passed({ path: '/v1/audio/transcriptions', body: null, headers: { 'content-type': 'multipart/form-data' } })
    await refused({ path: '/v1/batches/x', body: null })
    await refused({ path: '/v1/audio/../chat/completions' })
  })

  it('meters an operation that the operator adds', async () => {
    const operations = [{ path: '/llm/ask', protocol: 'openai-chat' }]
    const { passed } = setUp({ limits: LIMITS, operations })
    expect((await passed({ path: '/llm/ask', body: chat({ max_tokens: 5 }) })).tap?.protocol).toBe('openai-chat')
  })

  it('understands nothing where only requests are counted', async () => {
    const { passed, refused } = setUp({ limits: [rule({ count: 'requests', limit: 2 })] })
    await passed({ path: '/whatever', body: null })
    const decision = await passed({ body: 'no json' })
    expect(decision.request).toBeUndefined()
    await refused({ path: '/whatever', body: null })
  })

  it('needs to understand the model where a requests rule depends on it', async () => {
    const { refused } = setUp({ limits: [rule({ count: 'requests', limit: 2, match: { models: ['gpt-*'] } })] })
    expect((await refused({ path: '/whatever' })).code).toBe('unmetered_operation')
  })
})

describe('shadow', () => {
  it('refuses nothing, shows nothing, and says what it held back', async () => {
    const { passed, store } = setUp({ limits: [rule({ limit: 300 })], mode: 'shadow' })
    const body = chat({ max_tokens: 200 })
    const first = await passed({ body })
    expect(first.wouldReject).toBeUndefined()
    expect(first.replyHeaders).toEqual({})
    const second = await passed({ body })
    expect(second.wouldReject).toMatchObject({ status: 429, code: 'rate_limit_exceeded' })
    expect(second.replyHeaders).toEqual({})
    expect((await store.show('consumer=5:alice'))[0]?.used).toBe(200 + (first.reservation?.estimated.input ?? 0))
  })

  it('does not cut a request, and is charged no more than it would have let through', async () => {
    const { passed, settle, store } = setUp({
      limits: [rule({ limit: 300 })],
      mode: 'shadow',
      default_output_tokens: 1000,
    })
    const decision = await passed()
    expect(decision.request?.body).toBeUndefined()
    await settle(decision, { ended: 'complete', status: 200, usage: { inputTokens: 20, outputTokens: 900 } })
    expect((await store.show('consumer=5:alice'))[0]?.used).toBe(300)
  })

  it('works for one rule among enforced ones', async () => {
    const { passed, refused } = setUp({
      limits: [rule({ limit: 500 }), rule({ name: 'trial', limit: 100, mode: 'shadow' })],
    })
    const decision = await passed({ body: chat({ max_tokens: 200 }) })
    expect(decision.wouldReject?.message).toContain('"trial"')
    expect(decision.wouldReject?.rule).toBe('trial')
    expect(decision.replyHeaders?.ratelimit).not.toContain('trial')
    const refusal = await refused({ body: chat({ max_tokens: 400 }) })
    expect(refusal.message).toContain('"tokens"')
    expect(JSON.stringify(refusal.headers)).not.toContain('trial')
  })

  it('refuses nobody whose claim holds no limit', async () => {
    const { passed } = setUp({ limits: [rule({ limit: undefined, limit_from: 'claim:x', mode: 'shadow' })] })
    expect((await passed()).wouldReject?.code).toBe('insufficient_scope')
  })

  it('lets a request through when the body is too large or the store is down', async () => {
    const large = setUp({ limits: LIMITS, mode: 'shadow' })
    const tooLarge = {
      ...exchange(),
      body: () => {
        throw new RefusedRead('request_too_large', 'Too large.')
      },
    }
    expect(await large.instance.decide(tooLarge)).toMatchObject({ type: 'pass', wouldReject: { status: 413 } })

    const { passed, lines } = setUp({ limits: LIMITS, mode: 'shadow' }, { store: brokenStore() })
    const faults: FaultEvent[] = []
    const listen = (event: unknown) => faults.push(event as FaultEvent)
    channels.fault.subscribe(listen)
    expect((await passed()).wouldReject?.code).toBe('policy_unavailable')
    channels.fault.unsubscribe(listen)
    expect(faults).toEqual([{ where: 'llm-token-limit.decide', code: 'internal_error' }])
    expect(JSON.stringify(lines)).not.toContain('secret')
  })
})

describe('faults', () => {
  it('are thrown, so that the door stays shut', async () => {
    const { decide } = setUp({ limits: LIMITS }, { store: brokenStore() })
    await expect(decide()).rejects.toThrow()
  })

  it('after a reservation give it back', async () => {
    const settled: unknown[] = []
    const store: LimitStore = {
      ...brokenStore(),
      reserve: async ({ claims }) => ({
        admitted: true,
        claims: claims.map(({ key }) => ({
          key,
          at: 1,
          epoch: 1,
          reserved: 5,
          remaining: 5,
          resetMs: Number.NaN,
          retryAfterMs: 5,
        })),
      }),
      settle: async (settlement) => {
        settled.push(settlement)
        return true
      },
    }
    const limits = [rule({ mode: 'shadow' })]
    const body = { model: 'm', max_tokens: 5, messages: [{ role: 'user', content: 'Hi' }] }
    await expect(setUp({ limits }, { store }).decide({ path: '/v1/messages', body })).rejects.toThrow(RangeError)
    expect(settled).toHaveLength(1)
  })

  it('refuses when the store refuses without a reason', async () => {
    const store: LimitStore = {
      ...brokenStore(),
      reserve: async ({ claims }) => ({
        admitted: false,
        claims: claims.map(({ key }) => ({ key, at: 0, epoch: 0, reserved: 0, remaining: 5, resetMs: 5 })),
      }),
    }
    expect((await setUp({ limits: LIMITS }, { store }).refused()).code).toBe('rate_limit_exceeded')
  })
})

describe('telemetry', () => {
  it('publishes every decision, without a word of the request', async () => {
    const events: DecisionEvent[] = []
    const listen = (event: unknown) => events.push(event as DecisionEvent)
    channels.decision.subscribe(listen)
    const { passed, refused } = setUp({ limits: [rule()] })
    await passed({ body: chat({ max_tokens: 900 }), route: { name: 'r' } })
    await refused({ body: chat({ max_tokens: 900 }) })
    await refused({ path: '/nope' })
    channels.decision.unsubscribe(listen)
    expect(events).toMatchObject([
      { policy: 'llm-token-limit', requestId: 'request-1', route: { name: 'r' }, decision: 'pass', model: 'gpt-4o' },
      { decision: 'reject', code: 'rate_limit_exceeded', rule: 'tokens', estimated: { output: 1024 } },
      { decision: 'reject', code: 'unmetered_operation' },
    ])
    expect(JSON.stringify(events)).not.toContain('Hello')
  })
})

describe('forwarding', () => {
  it('changes no byte that it need not change', async () => {
    const { passed } = setUp({ limits: [rule()] })
    const body =
      '{ "model":"gpt-4o",\n "max_tokens" : 5, "stream":true, "messages":[{"role":"user","content":"\\u00e4 é"}] }'
    const decision = await passed({ body })
    const sent = new TextDecoder().decode(decision.request?.body)
    expect(sent).toContain('"messages":[{"role":"user","content":"\\u00e4 é"}]')
    expect(forwardedBody(decision)).toMatchObject({ stream_options: { include_usage: true }, max_tokens: 5 })
  })
})

function brokenStore(): LimitStore {
  const fail = async () => {
    throw new Error('secret connection string')
  }
  return { reserve: fail, settle: fail, show: fail, reset: fail, grant: fail, close: fail }
}
