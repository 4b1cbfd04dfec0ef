import { describe, expect, it } from 'vitest'
import { caller, chat, forwardedBody, remaining, rule, setUp } from './support.ts'

describe('reservation', () => {
  it('takes estimated input and declared output, and says what is left', async () => {
    const { passed } = setUp({ limits: [rule()] })
    const decision = await passed({ body: chat({ max_tokens: 200 }) })
    const { estimated } = decision.reservation ?? { estimated: { input: 0, output: 0 } }
    expect(estimated.output).toBe(200)
    expect(estimated.input).toBeGreaterThan(5)
    expect(estimated.input).toBeLessThan(30)
    expect(remaining(decision)).toBe(1000 - 200 - estimated.input)
  })

  it('admits concurrent requests only as far as they fit together', async () => {
    const { decide } = setUp({ limits: [rule({ limit: 2000 })] })
    const body = chat({ max_tokens: 300 })
    const decisions = await Promise.all(Array.from({ length: 20 }, () => decide({ body })))
    const input = decisions.flatMap((d) => (d.type === 'pass' ? [d.reservation?.estimated.input ?? 0] : []))
    expect(input).toHaveLength(Math.floor(2000 / (300 + (input[0] ?? 0))))
  })

  it('counts the largest declared budget, times candidates', async () => {
    const { passed, refused } = setUp({ limits: [rule()] })
    const decision = await passed({ body: chat({ max_tokens: 1, max_completion_tokens: 100, n: 3 }) })
    expect(decision.reservation?.estimated.output).toBe(300)
    await refused({ body: chat({ max_tokens: 1, max_completion_tokens: 400, n: 2 }) })
  })

  describe('the budget of thinking that Gemini takes in extra_body', () => {
    const thinking = (config: object) => chat({ max_tokens: 10, n: 2, extra_body: { google: config } })

    it.each([
      ['counts, for each candidate', { thinking_config: { thinking_budget: 300, include_thoughts: true } }, 600],
      ['counts in any spelling', { thinkingConfig: { 'thinking-budget': 1, thinkingBudget: 300 } }, 600],
      ['leaves a larger limit of all output as it is', { thinking_config: { thinking_budget: 5 } }, 20],
      ['declares nothing at -1, where Gemini decides', { thinking_config: { thinking_budget: -1 } }, 20],
    ])('%s', async (_, config, output) => {
      const { passed } = setUp({ limits: [rule()] })
      expect((await passed({ body: thinking(config) })).reservation?.estimated.output).toBe(output)
    })

    it('is no limit of all output', async () => {
      const { passed } = setUp({ limits: [rule({ limit: 100_000 })], default_output_tokens: 777 })
      const body = chat({ extra_body: { google: { thinking_config: { thinking_budget: 5 } } } })
      expect((await passed({ body })).reservation?.estimated.output).toBe(777)
    })
  })

  it.each<[string, object]>([
    ['cached content, as Gemini documents it', { google: { cached_content: 'cachedContents/x' } }],
    ['tools that run at the provider', { tools: [{ type: 'web_search' }] }],
    ['a search', { web_search_options: {} }],
    ['an earlier answer', { previous_response_id: 'r' }],
  ])('counts as unseen input, in settings over the body: %s', async (_, extra_body) => {
    const { passed } = setUp({ limits: [rule({ limit: 100_000 })], unseen_input_tokens: 5000 })
    const estimated = async (extra: object) =>
      (await passed({ body: chat({ max_tokens: 1, extra_body: extra }) })).reservation?.estimated.input ?? 0
    expect(await estimated(extra_body)).toBeGreaterThan(5000)
    expect(await estimated({ google: { safety_settings: [], cached_content: null }, tools: [] })).toBeLessThan(100)
  })

  it('has an error of its own for a budget larger than the whole limit', async () => {
    const { refused } = setUp({ limits: [rule()] })
    const decision = await refused({ body: chat({ max_tokens: 1001 }) })
    expect(decision).toMatchObject({ status: 429, code: 'request_exceeds_limit' })
    expect(decision.message).toContain('declared output budget of 1001')
    expect(decision.headers).toMatchObject({ 'x-should-retry': 'false' })
    expect(decision.headers).not.toHaveProperty('retry-after')
  })

  it('refuses with the wait and the limit that is short', async () => {
    const { passed, refused } = setUp({ limits: [rule({ algorithm: 'fixed_window' })] })
    await passed({ body: chat({ max_tokens: 900 }) })
    const decision = await refused({ body: chat({ max_tokens: 900 }) })
    expect(decision).toMatchObject({ status: 429, code: 'rate_limit_exceeded' })
    expect(decision.message).toContain('"tokens" of 1000 total tokens per 60 s')
    // The epoch second of START is 20 s into an aligned minute.
    expect(decision.headers).toMatchObject({ 'retry-after': '40', 'retry-after-ms': '40000' })
    expect(decision.headers).not.toHaveProperty('x-should-retry')
  })

  it('tells SDKs not to retry when the wait is long', async () => {
    const { passed, refused } = setUp({ limits: [rule({ window_seconds: 3600 })] })
    await passed({ body: chat({ max_tokens: 900 }) })
    expect((await refused({ body: chat({ max_tokens: 900 }) })).headers).toMatchObject({ 'x-should-retry': 'false' })
  })

  it('reserves what is expected of a caller that declares nothing', async () => {
    const { passed, settle } = setUp({ limits: [rule({ limit: 100_000 })], default_output_tokens: 777 })
    for (let call = 0; call < 5; call++) {
      const decision = await passed()
      expect(decision.reservation?.estimated.output).toBe(777)
      await settle(decision, { ended: 'complete', status: 200, usage: { inputTokens: 10, outputTokens: 100 } })
    }
    // m = 100, d falls from 50 by a quarter each time: 50 x (3/4)^4 = 15.8; E = 100 + 4 x 15.8.
    expect((await passed()).reservation?.estimated.output).toBe(164)
    expect((await passed({ caller: caller('bob') })).reservation?.estimated.output).toBe(777)
    expect((await passed({ body: chat({ model: 'other' }) })).reservation?.estimated.output).toBe(777)
    expect((await passed({ body: chat({ n: 2 }) })).reservation?.estimated.output).toBe(328)
  })

  it('reserves the expected output of an SDK that always declares a lot', async () => {
    const { passed } = setUp({ limits: [rule({ reserve: 'expected' })], default_output_tokens: 300 })
    expect((await passed({ body: chat({ max_tokens: 64_000 }) })).reservation?.estimated.output).toBe(300)
    expect((await passed({ body: chat({ max_tokens: 50 }) })).reservation?.estimated.output).toBe(50)
  })

  it('cuts an undeclared budget to what fits, and the forwarded request with it', async () => {
    const { passed, refused } = setUp({ limits: [rule({ limit: 500 })], default_output_tokens: 400 })
    const whole = await passed()
    expect(whole.request?.body).toBeUndefined()
    const cut = await passed()
    const left = remaining(whole)
    expect(cut.reservation?.estimated.output).toBe(left - (cut.reservation?.estimated.input ?? 0))
    expect(Object.values(forwardedBody(cut) ?? {})).toContain(cut.reservation?.estimated.output)
    expect(remaining(cut)).toBe(0)
    // Nothing worth forwarding is left.
    expect((await refused()).code).toBe('rate_limit_exceeded')
  })

  it('cuts no budget below one token for each candidate', async () => {
    const clamp = { on_short_budget: 'clamp', clamp_floor: 1 }
    const wide = setUp({ limits: [rule(clamp)] })
    const most = await wide.passed({ body: chat({ max_tokens: 900, n: 5 }) })
    expect(forwardedBody(most)).toMatchObject({ max_tokens: Math.floor((most.reservation?.estimated.output ?? 0) / 5) })
    for (const body of [chat({ n: 500 }), chat({ n: 500, max_tokens: 10 })]) {
      const { passed, refused } = setUp({ limits: [rule(clamp)] })
      await passed({ body: chat({ max_tokens: 700 }) })
      expect(await refused({ body })).toMatchObject({ status: 429, code: 'rate_limit_exceeded' })
    }
    const never = await setUp({ limits: [rule()] }).refused({ body: chat({ n: 2000 }) })
    expect(never).toMatchObject({ status: 429, code: 'request_exceeds_limit' })
  })

  it('leaves a declared budget alone unless it may clamp it', async () => {
    const strict = setUp({ limits: [rule({ limit: 500 })] })
    await strict.passed({ body: chat({ max_tokens: 300 }) })
    await strict.refused({ body: chat({ max_tokens: 300 }) })

    const lenient = setUp({ limits: [rule({ limit: 500, on_short_budget: 'clamp', clamp_floor: 100 })] })
    await lenient.passed({ body: chat({ max_tokens: 300 }) })
    const cut = await lenient.passed({ body: chat({ max_tokens: 300 }) })
    const kept = Number(forwardedBody(cut)?.max_tokens)
    expect(kept).toBeLessThan(200)
    expect(kept).toBe(cut.reservation?.estimated.output)
    await lenient.refused({ body: chat({ max_tokens: 300 }) })
  })

  it('cuts a budget that is larger than the whole limit when it may', async () => {
    const { passed } = setUp({ limits: [rule({ limit: 500, on_short_budget: 'clamp' })] })
    const cut = await passed({ body: chat({ max_tokens: 100_000 }) })
    expect(forwardedBody(cut)?.max_tokens).toBe(500 - (cut.reservation?.estimated.input ?? 0))
  })

  it('switches usage on in a stream and withholds it from a caller who did not ask', async () => {
    const { passed } = setUp({ limits: [rule()] })
    const asked = await passed({ body: chat({ stream: true, max_tokens: 10 }) })
    expect(forwardedBody(asked)?.stream_options).toEqual({ include_usage: true })
    expect(asked.tap).toMatchObject({ protocol: 'openai-chat', stream: true, withholdUsage: true })
    const own = await passed({ body: chat({ stream: true, stream_options: { include_usage: true }, max_tokens: 10 }) })
    expect(own.request?.body).toBeUndefined()
    expect(own.tap?.withholdUsage).toBe(false)
  })

  it('asks the upstream for an uncompressed reply', async () => {
    const { passed } = setUp({ limits: [rule()] })
    expect((await passed()).request?.setHeaders).toEqual({ 'accept-encoding': 'identity' })
  })

  it('ends a stream at what was reserved only when told to', async () => {
    const body = chat({ stream: true, max_tokens: 100 })
    expect((await setUp({ limits: [rule()] }).passed({ body })).tap).not.toHaveProperty('maxOutputTokens')
    const config = {
      limits: [rule(), rule({ name: 'shadow', reserve: 'expected', mode: 'shadow' })],
      default_output_tokens: 40,
    }
    const enforced = setUp({ ...config, enforce_stream: true })
    expect((await enforced.passed({ body })).tap?.maxOutputTokens).toBe(100)
    expect((await enforced.passed({ body: chat({ max_tokens: 100 }) })).tap).not.toHaveProperty('maxOutputTokens')
  })

  it('applies all names together and of each the first that matches', async () => {
    const { passed } = setUp({
      limits: [
        rule({ name: 'tier', limit: 9000, match: { tags: ['gold'] } }),
        rule({ name: 'tier', limit: 700 }),
        rule({ name: 'calls', count: 'requests', limit: 5 }),
      ],
    })
    const gold = await passed({ caller: caller('g', ['gold']), body: chat({ max_tokens: 10 }) })
    expect(gold.replyHeaders).toMatchObject({
      'x-ratelimit-limit-tokens': '9000',
      'x-ratelimit-remaining-requests': '4',
    })
    const free = await passed({ body: chat({ max_tokens: 10 }) })
    expect(free.replyHeaders?.['x-ratelimit-limit-tokens']).toBe('700')
  })

  it('is strict about every model that may answer, so that a decoy chooses no rule', async () => {
    const { passed } = setUp({
      limits: [
        rule({ name: 'models', limit: 9000, match: { models: ['cheap-*'] } }),
        rule({ name: 'models', limit: 700, match: { models: ['*'] } }),
      ],
    })
    const only = await passed({ body: chat({ model: 'CHEAP-1', max_tokens: 10 }) })
    expect(only.replyHeaders?.['x-ratelimit-limit-tokens']).toBe('9000')
    const decoy = await passed({ body: chat({ model: 'cheap-1', models: ['cheap-1', 'dear-1'], max_tokens: 10 }) })
    expect(decoy.replyHeaders?.['x-ratelimit-limit-tokens']).toBe('700')
  })

  it('counts models apart when told to, by any spelling of their case', async () => {
    const { passed } = setUp({ limits: [rule({ per: ['consumer', 'model'] })] })
    const first = await passed({ body: chat({ max_tokens: 500 }) })
    expect(remaining(await passed({ body: chat({ model: 'other', max_tokens: 500 }) }))).toBe(remaining(first))
    expect(remaining(await passed({ body: chat({ model: 'GPT-4o', max_tokens: 300 }) }))).toBeLessThan(200)
  })

  it('takes the limit from a verified claim, or refuses', async () => {
    const { passed, refused } = setUp({ limits: [rule({ limit: undefined, limit_from: 'claim:plan.tokens' })] })
    const withClaim = (tokens: unknown) => ({ ...caller('alice'), claims: { plan: { tokens } } })
    const body = chat({ max_tokens: 10 })
    expect((await passed({ body, caller: withClaim(5000) })).replyHeaders?.['x-ratelimit-limit-tokens']).toBe('5000')
    for (const bad of [undefined, '5000', 0, -1, 1.5, Number.NaN, 1e300, null, [5]]) {
      const decision = await refused({ body, caller: withClaim(bad) })
      expect(decision).toMatchObject({ status: 403, code: 'insufficient_scope' })
      expect(decision.message).toContain('plan.tokens')
    }
  })

  it('takes nothing from any rule when one refuses', async () => {
    const { passed, refused, wait } = setUp({
      limits: [
        rule({ window_seconds: 3600 }),
        rule({ name: 'calls', count: 'requests', limit: 1, algorithm: 'fixed_window' }),
      ],
    })
    const first = await passed({ body: chat({ max_tokens: 100 }) })
    for (let again = 0; again < 5; again++) await refused({ body: chat({ max_tokens: 100 }) })
    wait(60_000)
    const next = await passed({ body: chat({ max_tokens: 100 }) })
    expect(1000 - remaining(next)).toBe(2 * (1000 - remaining(first)))
  })

  it('passes what no rule applies to, and reserves nothing', async () => {
    const { passed } = setUp({ limits: [rule({ match: { consumers: ['bob'] } })] })
    expect(await passed()).toEqual({ type: 'pass' })
  })

  it('counts input outside the body by what was last settled, or a least figure', async () => {
    const { passed, settle } = setUp({ limits: [rule({ limit: 100_000 })], unseen_input_tokens: 5000 })
    const body = { model: 'gpt-4o', input: 'Go on.', previous_response_id: 'resp_1', max_output_tokens: 10 }
    const first = await passed({ path: '/v1/responses', body })
    expect(first.reservation?.estimated.input).toBeGreaterThan(5000)
    await settle(first, { ended: 'complete', status: 200, usage: { inputTokens: 20_000, outputTokens: 5 } })
    const second = await passed({ path: '/v1/responses', body })
    expect(second.reservation?.estimated.input).toBeGreaterThan(20_000)
  })

  it('counts images, audio and files by a flat cost', async () => {
    const { passed } = setUp({
      limits: [rule({ limit: 100_000 })],
      image_tokens: 700,
      audio_tokens: 90,
      file_tokens: 5,
    })
    const image = { type: 'image_url', image_url: { url: `data:image/png;base64,${'A'.repeat(50_000)}` } }
    const content = [image, image, { type: 'text', text: 'What is this?' }]
    const decision = await passed({ body: chat({ messages: [{ role: 'user', content }], max_tokens: 1 }) })
    expect(decision.reservation?.estimated.input).toBeGreaterThan(1400)
    expect(decision.reservation?.estimated.input).toBeLessThan(1450)
  })

  it('reserves no output for embeddings', async () => {
    const { passed } = setUp({ limits: [rule()] })
    const decision = await passed({
      path: '/v1/embeddings',
      body: { model: 'text-embedding-3-small', input: 'Hello.' },
    })
    expect(decision.reservation?.estimated.output).toBe(0)
    expect(decision.request?.body).toBeUndefined()
  })

  it('counts exactly with the tokenizer', async () => {
    const { passed } = setUp({ limits: [rule()], tokenizer: 'gpt-tokenizer' })
    const decision = await passed({
      path: '/v1/embeddings',
      body: { model: 'text-embedding-3-small', input: 'hello world' },
    })
    expect(decision.reservation?.estimated.input).toBe(2)
  })
})
