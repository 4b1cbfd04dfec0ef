import { describe, expect, it } from 'vitest'
import { chat, exchange, type RequestParts, remaining, rule, setUp } from './support.ts'

const EXPENSIVE = rule({ match: { models: ['gpt-4o*'] }, limit: 100 })
const OTHER = rule({ match: { models: ['claude-*'] }, limit: 500 })
const REST = rule({ limit: 1_000_000 })
const CHEAP = { model: 'small-1', max_tokens: 200 }
const ANTHROPIC = {
  path: '/v1/messages',
  body: { model: 'small-1', max_tokens: 200, messages: [{ role: 'user', content: 'Hello' }] },
}
const responses = (parts: Readonly<Record<string, unknown>>): RequestParts => ({
  path: '/v1/responses',
  body: { max_output_tokens: 200, input: 'Hello', ...parts },
})

/** Each lets somebody behind the gateway answer with another model than `small-1`. */
const REDIRECTED: readonly (readonly [what: string, parts: RequestParts])[] = [
  ['a model in the query', { body: chat(CHEAP), query: ['model'] }],
  ['a deployment in the query', { body: chat(CHEAP), query: ['deployment_id'] }],
  ['a header of a router', { body: chat(CHEAP), headers: { 'x-portkey-config': '{}' } }],
  ['a deployment in a header', { body: chat(CHEAP), headers: { 'azureml-model-deployment': 'x' } }],
  ['extra_body', { body: chat({ ...CHEAP, extra_body: { model: 'gpt-4o' } }) }],
  ['another spelling of it', { body: chat({ ...CHEAP, extraBody: { model: 'gpt-4o' } }) }],
  ['fallbacks', { body: chat({ ...CHEAP, fallbacks: ['gpt-4o'] }) }],
  ['an alias map', { body: chat({ ...CHEAP, model_alias_map: { 'small-1': 'gpt-4o' } }) }],
  ['a list of models in one name', { body: chat({ ...CHEAP, model: 'small-1,gpt-4o' }) }],
  ['a name that leaves its place in a URL', { body: chat({ ...CHEAP, model: 'x/../gpt-4o' }) }],
  ['a tool with a model of its own', responses({ model: 'small-1', tools: [{ type: 'x', model: 'gpt-4o' }] })],
  ['a stored prompt', responses({ prompt: { id: 'pmpt_1' } })],
  [
    'routing of Vertex',
    {
      path: '/v1beta/models/small-1:generateContent',
      body: { contents: [], generationConfig: { maxOutputTokens: 200, routingConfig: { autoMode: {} } } },
    },
  ],
  ['fallbacks that the provider picks', { ...ANTHROPIC, body: { ...ANTHROPIC.body, fallbacks: 'default' } }],
  ['a named fallback', { ...ANTHROPIC, body: { ...ANTHROPIC.body, fallbacks: [{ model: 'gpt-4o' }] } }],
]

describe('a request that names several models', () => {
  it('gives back once what it took once from a counter that they share', async () => {
    const { passed, settle } = setUp({ limits: [rule({ per: ['consumer', 'model'], limit: 100_000 })] })
    for (let index = 0; index < 64; index++) await passed({ body: chat({ model: `m-${index}`, max_tokens: 10 }) })
    const spent = await passed({ body: chat({ model: 'further-0', max_tokens: 50_000 }) })
    await settle(spent, { ended: 'complete', status: 200, usage: { inputTokens: 10, outputTokens: 50_000 } })
    const models = ['further-2', 'further-3', 'further-4']
    const several = await passed({ body: chat({ model: 'further-1', models, max_tokens: 20_000 }) })
    await settle(several, { ended: 'complete', status: 200, usage: { inputTokens: 10, outputTokens: 1 } })
    expect(remaining(await passed({ body: chat({ model: 'further-5', max_tokens: 29 }) }))).toBeLessThan(50_000)
  })
})

describe('a request that leaves open which model answers', () => {
  it.each(REDIRECTED)('is held to the rule of any model: %s', async (_, parts) => {
    const { refused } = setUp({ limits: [EXPENSIVE, OTHER, REST] })
    expect((await refused(parts)).message).toContain('all of the limit "tokens" of 100 ')
  })

  it.each(REDIRECTED)('also where there is no other rule: %s', async (_, parts) => {
    const { refused } = setUp({ limits: [EXPENSIVE] })
    expect(await refused(parts)).toMatchObject({ status: 429 })
  })

  it('is charged to each of them, and to the first one without models', async () => {
    const rules = [
      rule({ name: 'a', match: { models: ['gpt-4o'] } }),
      rule({ name: 'a', match: { models: ['gpt-4o'], tags: ['gold'] } }),
      rule({ name: 'a', match: { models: ['claude-*'] } }),
      rule({ name: 'a', count: 'requests' }),
      rule({ name: 'a', match: { models: ['late-*'] } }),
      rule({ name: 'b', match: { models: ['gpt-4o'] } }),
    ]
    const { passed, settle, store } = setUp({ limits: rules })
    const pass = await passed({ body: chat(CHEAP), query: ['model'] })
    await settle(pass, { ended: 'complete', status: 200, usage: { inputTokens: 7, outputTokens: 3 } })
    const used = (await store.show('consumer=5:alice')).map((view) => view.used)
    expect(used.toSorted()).toEqual([1, 10, 10, 10])
  })

  it('counts as the missing model where each model has a counter', async () => {
    const { passed, store } = setUp({ limits: [rule({ per: ['consumer', 'model'] })] })
    await passed({ body: chat(CHEAP), query: ['model'] })
    const keys = (await store.show('consumer=5:alice')).map(({ key }) => key.replace(/.*\//, ''))
    expect(keys.toSorted()).toEqual(['model=1:-', 'model=7:small-1'])
  })

  it('reads neither query nor further headers where no rule cares for the model', async () => {
    const { instance } = setUp({ limits: [rule()] })
    const asked: string[] = []
    const plain = exchange({ body: chat(CHEAP), query: ['model'] })
    await instance.decide({
      ...plain,
      queryNames: () => {
        asked.push('query')
        return plain.queryNames()
      },
      header: (name) => {
        asked.push(name)
        return plain.header(name)
      },
    })
    expect(asked).toContain('content-type')
    expect(asked.filter((name) => /query|portkey|helicone|azureml/.test(name))).toEqual([])
  })
})

describe('a request without a model', () => {
  it.each<readonly [string, RequestParts]>([
    ['a list of models', { method: 'GET', path: '/v1/models', body: null }],
    ['an operation that is let through unmetered', { path: '/v1/images/generations' }],
    ['counting tokens', { path: '/v1/messages/count_tokens', body: ANTHROPIC.body }],
  ])('is held to no model’s rule: %s', async (_, parts) => {
    const rules = [rule({ count: 'requests', limit: 1, match: { models: ['gpt-4o'] } })]
    const { passed } = setUp({ limits: rules, unmetered: ['/v1/images/*'] })
    expect((await passed(parts)).reservation).toBeUndefined()
  })
})
