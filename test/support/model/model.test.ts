import { request as httpRequest } from 'node:http'
import { gunzipSync } from 'node:zlib'
import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Model, startModel } from './index.ts'

let model: Model
beforeEach(async () => {
  model = await startModel()
})
afterEach(() => model.close())

const messages = [{ role: 'user' as const, content: 'Say something short.' }]
const chat = { model: 'gpt-4o-mini', messages }

function post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(model.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'accept-encoding': 'identity', ...headers },
    body: JSON.stringify(body),
  })
}

async function json(reply: Promise<Response>): Promise<Record<string, unknown>> {
  return (await (await reply).json()) as Record<string, unknown>
}

describe('official clients read it', () => {
  it('openai: chat, stream, completions, responses, embeddings, models', async () => {
    const client = new OpenAI({ apiKey: 'k', baseURL: `${model.url}/v1`, maxRetries: 0 })
    const reply = await client.chat.completions.create({ ...chat, max_tokens: 7 })
    expect(reply.usage?.completion_tokens).toBe(7)
    expect(reply.choices[0]?.finish_reason).toBe('length')
    expect(reply.choices[0]?.message.content?.split(' ')).toHaveLength(7)

    const stream = await client.chat.completions.create({
      ...chat,
      stream: true,
      stream_options: { include_usage: true },
    })
    const chunks = []
    for await (const chunk of stream) chunks.push(chunk)
    expect(chunks.at(-1)?.choices).toEqual([])
    expect(chunks.at(-1)?.usage?.completion_tokens).toBe(40)
    expect(chunks.slice(0, -1).every((chunk) => chunk.usage === null)).toBe(true)

    const legacy = await client.completions.create({
      model: 'gpt-3.5-turbo-instruct',
      prompt: 'Hi',
      max_tokens: 3,
      n: 2,
    })
    expect(legacy.usage?.completion_tokens).toBe(6)

    const response = await client.responses.create({ model: 'gpt-5.1', input: 'Hi', max_output_tokens: 5 })
    expect(response.status).toBe('incomplete')
    expect(response.usage?.output_tokens).toBe(5)
    const events = []
    for await (const event of await client.responses.create({ model: 'gpt-5.1', input: 'Hi', stream: true }))
      events.push(event)
    expect(events.at(-1)?.type).toBe('response.completed')

    const vectors = await client.embeddings.create({ model: 'text-embedding-3-small', input: ['a', 'b'] })
    expect(vectors.data.map((item) => item.embedding.length)).toEqual([5, 5])
    expect((await client.models.list()).data[0]?.id).toBe('gpt-4o-mini')
  })

  it('anthropic: message, stream, count_tokens, typed errors', async () => {
    const client = new Anthropic({ apiKey: 'k', baseURL: model.url, maxRetries: 0 })
    const ask = { model: 'claude-sonnet-4-6', max_tokens: 12, messages }
    expect((await client.messages.create(ask)).usage.output_tokens).toBe(12)
    const final = await client.messages.stream(ask).finalMessage()
    expect([final.usage.output_tokens, final.stop_reason]).toEqual([12, 'max_tokens'])
    expect((await client.messages.countTokens({ model: 'claude-sonnet-4-6', messages })).input_tokens).toBeGreaterThan(
      3,
    )
    model.next({ status: 529 })
    await expect(client.messages.create(ask)).rejects.toMatchObject({
      status: 529,
      error: { error: { type: 'overloaded_error' } },
    })
  })

  it('gemini: SSE and JSON array', async () => {
    const body = { contents: [{ role: 'user', parts: [{ text: 'Hi' }] }], generationConfig: { maxOutputTokens: 3 } }
    const whole = await json(post('/v1beta/models/gemini-2.5-flash:generateContent', body))
    expect(whole.usageMetadata).toMatchObject({ candidatesTokenCount: 3 })
    const array = await json(post('/v1beta/models/gemini-2.5-flash:streamGenerateContent', body))
    expect(array).toHaveLength(4)
    const sse = await post('/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse', body)
    expect(sse.headers.get('content-type')).toContain('text/event-stream')
    expect((await sse.text()).match(/^data: /gm)).toHaveLength(4)
  })

  it('azure: deployment paths, filter events', async () => {
    const reply = await post('/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21', {
      messages,
      stream: true,
    })
    const first = JSON.parse((await reply.text()).split('\n')[0]?.slice('data: '.length) ?? '')
    expect(first).toMatchObject({ choices: [], prompt_filter_results: [{ prompt_index: 0 }] })
  })
})

describe('knobs', () => {
  it('counts candidates, reasoning and cached tokens', async () => {
    const knobs = { 'x-model-reasoning': '5', 'x-model-cached': '4', 'x-model-output': '10' }
    const { usage } = await json(post('/v1/chat/completions', { ...chat, n: 2 }, knobs))
    expect(usage).toMatchObject({
      completion_tokens: 30,
      completion_tokens_details: { reasoning_tokens: 10 },
      prompt_tokens_details: { cached_tokens: 4 },
    })
  })

  it('reports odd usage', async () => {
    const seen: unknown[] = []
    for (const mode of ['omit', 'null', 'missing', 'negative', 'strings', 'floats', 'huge', 'zero'])
      seen.push((await json(post('/v1/completions', { model: `m--output-1--usage-${mode}`, prompt: 'Hi' }))).usage)
    const of = (value: unknown): unknown => ({ prompt_tokens: value, completion_tokens: value, total_tokens: value })
    expect(seen.slice(0, 3)).toEqual([undefined, null, {}])
    expect(seen[3]).toMatchObject({ completion_tokens: -2 })
    expect(seen[4]).toMatchObject({ completion_tokens: '1' })
    expect(seen[5]).toMatchObject({ completion_tokens: 1.5 })
    expect(seen.slice(6)).toEqual([of(1e300), of(0)])
  })

  it('breaks, hangs, and says who hung up', async () => {
    const broken = await post('/v1/chat/completions', { ...chat, stream: true }, { 'x-model-break': '3' })
    await expect(broken.text()).rejects.toThrow()
    expect(await model.requests[0]?.ended).toBe('broken')
    await expect(post('/v1/chat/completions', chat, { 'x-model-break': '0' })).rejects.toThrow()

    const hanging = await post('/v1/chat/completions', { ...chat, stream: true }, { 'x-model-hang': '2' })
    await hanging.body?.cancel()
    expect(await model.requests[2]?.ended).toBe('gone')
  })

  it('compresses for whoever asks, each event flushed', async () => {
    const bytes = await new Promise<Buffer>((done) => {
      const headers = { 'accept-encoding': 'gzip', 'content-type': 'application/json' }
      const request = httpRequest(`${model.url}/v1/chat/completions`, { method: 'POST', headers }, async (response) => {
        expect(response.headers['content-encoding']).toBe('gzip')
        const pieces: Buffer[] = []
        for await (const piece of response) pieces.push(piece)
        done(Buffer.concat(pieces))
      })
      request.end(JSON.stringify({ ...chat, stream: true }))
    })
    expect(gunzipSync(bytes).toString()).toContain('data: [DONE]')
  })

  it('frames streams as asked: CRLF, comments, no [DONE], cut writes, lied type, error event', async () => {
    const text = async (headers: Record<string, string>): Promise<string> =>
      (await post('/v1/chat/completions', { ...chat, stream: true }, headers)).text()
    expect(await text({ 'x-model-ending': 'crlf', 'x-model-cut': '3' })).toContain('data: [DONE]\r\n\r\n')
    expect(await text({ 'x-model-comments': '1' })).toContain(': keep-alive\n\n')
    expect(await text({ 'x-model-done': '0' })).not.toContain('[DONE]')
    expect(await text({ 'x-model-error': '2' })).toContain('"server_error"')
    expect(await text({ 'x-model-say': 'usage' })).toContain('prompt_tokens')
    const lie = await post('/v1/chat/completions', { ...chat, stream: true }, { 'x-model-type': 'text/plain' })
    expect(lie.headers.get('content-type')).toBe('text/plain')
  })

  it('refuses what a test mistyped', async () => {
    const reply = await post('/v1/chat/completions', chat, { 'x-model-brek': '1' })
    expect([reply.status, await reply.text()]).toEqual([500, 'unknown knob brek'])
  })
})

it('refuses in the API’s own shape, and remembers what arrived', async () => {
  expect(await (await post('/v1/messages', { model: 'claude' })).json()).toMatchObject({ type: 'error' })
  expect((await post('/v1/nothing', {})).status).toBe(404)
  expect((await post('/v1/chat/completions', { messages })).status).toBe(400)
  expect(model.requests.map((request) => request.url)).toEqual(['/v1/messages', '/v1/nothing', '/v1/chat/completions'])
  expect(model.requests[0]?.body.toString()).toBe('{"model":"claude"}')
})

it('asks for its key when it has one', async () => {
  const guarded = await startModel({ apiKey: 'upstream' })
  const ask = (headers: Record<string, string>): Promise<Response> => fetch(`${guarded.url}/v1/models`, { headers })
  expect((await ask({})).status).toBe(401)
  expect((await ask({ authorization: 'Bearer upstream' })).status).toBe(200)
  await guarded.close()
})
