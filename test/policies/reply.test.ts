import Anthropic, { RateLimitError as AnthropicRateLimitError } from '@anthropic-ai/sdk'
import OpenAI, { APIError, AuthenticationError, RateLimitError } from 'openai'
import { describe, expect, it } from 'vitest'
import { CODES, type Code } from '../../policies/errors.ts'
import { PROTOCOLS, requireProtocol } from '../../policies/llm/protocols/index.ts'
import type { Reject } from '../../policies/policy.ts'
import { refusalReply } from '../../policies/reply.ts'

const LIMITED: Reject = {
  type: 'reject',
  status: 429,
  code: 'rate_limit_exceeded',
  message: 'The limit "per_minute" has no room for this request now.',
  headers: { 'retry-after': '17', 'x-should-retry': 'false' },
}

const rejectOf = (code: Code): Reject => ({ type: 'reject', status: CODES[code].status, code, message: 'No.' })

/** A `fetch` that answers with one refusal. */
const answering = (reject: Reject, protocolId?: string) => async () => {
  const protocol = protocolId === undefined ? undefined : requireProtocol(protocolId)
  const { status, headers, body } = refusalReply(reject, { protocol, requestId: 'req-1' })
  return new Response(body, { status, headers })
}

async function errorOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work
  } catch (error) {
    return error
  }
  throw new Error('It did not fail.')
}

describe('refusalReply', () => {
  it('is JSON that no cache keeps, under the id of the request', () => {
    const reply = refusalReply(LIMITED, { requestId: 'req-1' })
    expect(reply.status).toBe(429)
    expect(reply.headers).toEqual({
      'content-type': 'application/json',
      'cache-control': 'no-store',
      'x-request-id': 'req-1',
      'retry-after': '17',
      'x-should-retry': 'false',
    })
    expect(JSON.parse(reply.body)).toEqual({
      error: { message: LIMITED.message, type: 'rate_limit_error', param: null, code: 'rate_limit_exceeded' },
      request_id: 'req-1',
    })
  })

  it('keeps its own headers over those of the refusal', () => {
    const reject = { ...LIMITED, headers: { 'content-type': 'text/html', 'cache-control': 'public' } }
    expect(refusalReply(reject, { requestId: 'req-1' }).headers).toMatchObject({
      'content-type': 'application/json',
      'cache-control': 'no-store',
    })
  })

  it('has the shape of the API that was called', () => {
    const anthropic = refusalReply(LIMITED, { protocol: requireProtocol('anthropic-messages'), requestId: 'req-1' })
    expect(JSON.parse(anthropic.body)).toEqual({
      type: 'error',
      error: { type: 'rate_limit_error', message: LIMITED.message, details: { error_code: 'rate_limit_exceeded' } },
      request_id: 'req-1',
    })
    expect(anthropic.headers['request-id']).toBe('req-1')
    const gemini = refusalReply(LIMITED, { protocol: requireProtocol('gemini-generate'), requestId: 'req-1' })
    expect(JSON.parse(gemini.body)).toEqual({
      error: {
        code: 429,
        message: LIMITED.message,
        status: 'RESOURCE_EXHAUSTED',
        details: [
          {
            '@type': 'type.googleapis.com/google.rpc.ErrorInfo',
            reason: 'RATE_LIMIT_EXCEEDED',
            domain: 'portcullis',
            metadata: { code: 'rate_limit_exceeded' },
          },
          { '@type': 'type.googleapis.com/google.rpc.RequestInfo', requestId: 'req-1' },
          { '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: '17s' },
        ],
      },
    })
  })

  it('carries every code in every shape', () => {
    for (const protocol of PROTOCOLS)
      for (const code of Object.keys(CODES) as Code[]) {
        const reply = refusalReply(rejectOf(code), { protocol, requestId: 'r' })
        expect(reply.status).toBe(CODES[code].status)
        expect(JSON.stringify(JSON.parse(reply.body))).toContain(`"${code}"`)
      }
  })
})

describe('the official OpenAI SDK', () => {
  const client = (reject: Reject, protocolId: string) =>
    new OpenAI({ apiKey: 'k', maxRetries: 0, fetch: answering(reject, protocolId) })

  it('understands a refusal', async () => {
    const chat = client(LIMITED, 'openai-chat').chat.completions
    const error = await errorOf(chat.create({ model: 'gpt-4o', messages: [] }))
    expect(error).toBeInstanceOf(RateLimitError)
    expect(error).toMatchObject({
      status: 429,
      code: 'rate_limit_exceeded',
      type: 'rate_limit_error',
      requestID: 'req-1',
    })
    expect((error as Error).message).toContain(LIMITED.message)
    const key = await errorOf(client(rejectOf('invalid_key'), 'openai-embeddings').models.list())
    expect(key).toBeInstanceOf(AuthenticationError)
    expect(key).toMatchObject({ code: 'invalid_key' })
  })

  it.each(['openai-chat', 'openai-completions', 'openai-responses'])(
    'understands a fault in a stream of %s',
    async (id) => {
      const event = requireProtocol(id).errorEvent?.(rejectOf('policy_unavailable'), 'req-1') ?? ''
      const fetch = async () => new Response(event, { headers: { 'content-type': 'text/event-stream' } })
      const openai = new OpenAI({ apiKey: 'k', maxRetries: 0, fetch })
      const read = async () => {
        const stream =
          id === 'openai-responses'
            ? await openai.responses.create({ model: 'gpt-4o', input: 'x', stream: true })
            : await openai.chat.completions.create({ model: 'gpt-4o', messages: [], stream: true })
        for await (const chunk of stream) throw new Error(`An event came through: ${JSON.stringify(chunk)}`)
      }
      const error = await errorOf(read())
      expect(error).toBeInstanceOf(APIError)
      expect(error).toMatchObject({ code: 'policy_unavailable' })
    },
  )
})

describe('the official Anthropic SDK', () => {
  it('understands a refusal', async () => {
    const client = new Anthropic({ apiKey: 'k', maxRetries: 0, fetch: answering(LIMITED, 'anthropic-messages') })
    const error = await errorOf(client.messages.create({ model: 'claude-opus-5', max_tokens: 5, messages: [] }))
    expect(error).toBeInstanceOf(AnthropicRateLimitError)
    expect(error).toMatchObject({
      status: 429,
      type: 'rate_limit_error',
      errorCode: 'rate_limit_exceeded',
      requestID: 'req-1',
    })
  })

  it('understands a fault in a stream', async () => {
    const event = requireProtocol('anthropic-messages').errorEvent?.(rejectOf('policy_unavailable'), 'req-1') ?? ''
    const fetch = async () => new Response(event, { headers: { 'content-type': 'text/event-stream' } })
    const client = new Anthropic({ apiKey: 'k', maxRetries: 0, fetch })
    const stream = client.messages.stream({ model: 'claude-opus-5', max_tokens: 5, messages: [] })
    expect(await errorOf(stream.finalMessage())).toMatchObject({ type: 'api_error', errorCode: 'policy_unavailable' })
  })
})
