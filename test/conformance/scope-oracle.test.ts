import { describe, expect, it } from 'vitest'
import type { Received } from '../support/model/index.ts'
import { trespasses } from './scope-oracle.ts'

describe('the oracle', () => {
  const received = (parts: Partial<Received>): Received => ({
    method: 'POST',
    url: '/v1/chat/completions',
    headers: {},
    rawHeaders: [],
    body: Buffer.from('{"model":"gpt-4o-mini"}'),
    ended: Promise.resolve('finished'),
    ...parts,
  })

  it('lets what was granted be, and sees through disguise', () => {
    expect(trespasses(received({}))).toEqual([])
    for (const disguised of [
      { url: '/v1/x/%2e%2e/files' },
      { url: '/v1/chat/completions/..;/../files' },
      { headers: { 'x-http-method-override': 'DELETE' } },
      { headers: { 'x-original-url': '/v1/files' } },
      { body: Buffer.from('{"model":"gpt-4o-mini","MODEL":"gpt-5"}') },
      { body: Buffer.from('{"\\u006dodel":"gpt-5"}') },
      { body: Buffer.from('{"model":"gpt-5"}', 'utf16le') },
      { body: Buffer.from('--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-5\r\n--b--') },
      { url: '/v1/chat/completions?model=gpt-5' },
      { url: '/v1/chat/completions?x;Model[]=gpt-5' },
      { url: '/v1/chat/completions?_method=DELETE' },
      { headers: { x_http_method_override: 'DELETE' } },
      { headers: { 'azureml-model-deployment': 'gpt-5' } },
      { body: Buffer.from('{"model":"claude-haiku-4-5,gpt-5"}') },
      { body: Buffer.from('{"model":"claude-haiku-4-5/../gpt-5"}') },
      { body: Buffer.from('{"model":"gpt-4o-mini","x":{"modelName":"gpt-5"}}') },
    ])
      expect(trespasses(received(disguised)), JSON.stringify(disguised)).not.toEqual([])
  })
})
