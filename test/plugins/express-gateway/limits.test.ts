import { describe, expect, it } from 'vitest'
import { ask, CHAT, PROXY, setStage } from './support/stage.ts'

describe('a limit for one model', () => {
  const limits = [{ name: 'large', limit: 100, window_seconds: 3_600, match: { models: ['gpt-4o'] } }]
  const policies = [{ 'llm-token-limit': { action: { limits } } }, PROXY]
  const body = { ...CHAT, model: 'small-1', max_tokens: 200 }

  it.each<readonly [string, Parameters<typeof ask>[1]]>([
    ['a query', { path: '/v1/chat/completions?model=gpt-4o' }],
    ['an encoded query behind another one', { path: '/v1/chat/completions?a=1?%6Dodel=gpt-4o' }],
    ['a header', { headers: { 'x-portkey-config': 'c' } }],
    ['a header in underscores', { headers: { x_portkey_config: 'c' } }],
    ['an extra body', { body: { ...body, extra_body: { model: 'gpt-4o' } } }],
  ])('is not passed by with another one in %s', async (_, options) => {
    const stage = await setStage({ policies })
    const reply = await ask(stage, { key: undefined, body, ...options })
    expect([reply.status, await reply.json()]).toMatchObject([429, { error: { code: 'request_exceeds_limit' } }])
    expect(stage.model.requests).toEqual([])
  })

  it('leaves other models alone', async () => {
    const stage = await setStage({ policies })
    const reply = await ask(stage, { key: undefined, body, path: '/v1/chat/completions?api-version=1' })
    expect(reply.status).toBe(200)
  })
})
