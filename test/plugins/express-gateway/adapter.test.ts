import { afterEach, describe, expect, it } from 'vitest'
import { init } from '../../../plugins/express-gateway/index.ts'
import { type Model, startModel } from '../../support/model/index.ts'
import { type Gateway, startGateway } from './support/gateway.ts'

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
})

async function setUp(limit = 1000): Promise<{ gateway: Gateway; model: Model }> {
  const model = await startModel()
  stops.push(() => model.close())
  const gateway = await startGateway({
    plugin: init,
    consumers: [{ username: 'ada', tags: ['free'] }],
    config: {
      apiEndpoints: { llm: { host: '*', paths: '/*' } },
      serviceEndpoints: { model: { url: model.url } },
      policies: ['llm-key', 'key-auth', 'llm-token-limit', 'proxy'],
      pipelines: {
        llm: {
          apiEndpoints: ['llm'],
          policies: [
            { 'llm-key': null },
            { 'key-auth': null },
            { 'llm-token-limit': { action: { limits: [{ name: 'tokens', limit, window_seconds: 60 }] } } },
            { proxy: { action: { serviceEndpoint: 'model' } } },
          ],
        },
      },
    },
  })
  stops.push(() => gateway.stop())
  return { gateway, model }
}

describe('on a real Express Gateway', () => {
  it('lets a call through and shows the limit', async () => {
    const { gateway, model } = await setUp()
    const reply = await fetch(`${gateway.baseUrl}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${gateway.keys.ada}` },
      body: JSON.stringify({ model: 'gpt-4o-mini', max_tokens: 50, messages: [{ role: 'user', content: 'Hi' }] }),
    })
    console.log(reply.status, Object.fromEntries(reply.headers), await reply.text())
    console.log(model.requests.map((r) => [r.url, r.headers]))
    expect(reply.status).toBe(200)
  })
})
