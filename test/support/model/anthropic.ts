/**
 * Anthropic's messages. Shapes: vercel/ai `packages/anthropic/src/__fixtures__/anthropic-text.{json,chunks.txt}`, the older
 * stream without input in its last event from anthropics/anthropic-sdk-python `tests/lib/streaming/fixtures/basic_response.txt`,
 * errors from Anthropic's "Errors" page (529 overloaded_error).
 */

import { type Api, type Frame, type Operation, wholeNumber } from './api.ts'
import { countInput, type Generation, outputTokens, report } from './generation.ts'

const ERRORS: Readonly<Record<number, readonly [string, string]>> = {
  400: ['invalid_request_error', 'The request body is not valid JSON'],
  401: ['authentication_error', 'invalid x-api-key'],
  404: ['not_found_error', 'Not found'],
  413: ['request_too_large', 'Request exceeds the maximum size'],
  429: ['rate_limit_error', 'This request would exceed your rate limit'],
  529: ['overloaded_error', 'Overloaded'],
}

export const anthropic: Api = {
  name: 'anthropic',
  find: (method, path) => (method === 'POST' ? POSTS[path] : undefined),
  failure(status, message) {
    const [type, text] = ERRORS[status] ?? ['api_error', 'Internal server error']
    return { type: 'error', error: { type, message: message ?? text }, request_id: 'req_011CSHoEeqs5C35K2UUqR7Fy' }
  },
}

function usage(generation: Generation, output: number): Record<string, unknown> {
  return {
    input_tokens: generation.inputTokens - generation.cachedTokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: generation.cachedTokens,
    output_tokens: output,
  }
}

const EXTRA = {
  cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 0 },
  service_tier: 'standard',
}
const stopReason = (generation: Generation): string => (generation.finish === 'stop' ? 'end_turn' : 'max_tokens')

const messages: Operation = {
  read(call) {
    const maxOutput = wholeNumber(call.body.max_tokens)
    if (typeof call.body.model !== 'string')
      return { status: 400, body: anthropic.failure(400, 'model: Field required') }
    if (maxOutput === undefined) return { status: 400, body: anthropic.failure(400, 'max_tokens: Field required') }
    if (!Array.isArray(call.body.messages))
      return { status: 400, body: anthropic.failure(400, 'messages: Field required') }
    const { model, messages: said, system, tools } = call.body
    return { model, inputTokens: countInput([said, system, tools]) + 3, maxOutput, candidates: 1 }
  },
  stream: (call) => call.body.stream === true,
  reply: (generation) => ({
    model: generation.model,
    id: `msg_${generation.id}`,
    type: 'message',
    role: 'assistant',
    content: [{ type: 'text', text: generation.pieces.join('') }],
    stop_reason: stopReason(generation),
    stop_sequence: null,
    usage: report(generation.usage, { ...usage(generation, outputTokens(generation)), ...EXTRA }),
  }),
  *frames(generation) {
    const frame = (type: string, rest: object): Frame => ({ event: type, data: JSON.stringify({ type, ...rest }) })
    yield frame('message_start', {
      message: {
        model: generation.model,
        id: `msg_${generation.id}`,
        type: 'message',
        role: 'assistant',
        content: [],
        stop_reason: null,
        stop_sequence: null,
        usage: report(generation.usage, { ...usage(generation, 1), ...EXTRA }),
      },
    })
    yield frame('content_block_start', { index: 0, content_block: { type: 'text', text: '' } })
    yield frame('ping', {})
    for (const text of generation.pieces)
      yield frame('content_block_delta', { index: 0, delta: { type: 'text_delta', text } })
    yield frame('content_block_stop', { index: 0 })
    yield frame('message_delta', {
      delta: { stop_reason: stopReason(generation), stop_sequence: null },
      usage: report(generation.usage, usage(generation, outputTokens(generation))),
    })
    yield frame('message_stop', {})
  },
  *failureFrames() {
    yield {
      event: 'error',
      data: JSON.stringify({ type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } }),
    }
  },
}

const countTokens: Operation = {
  read(call) {
    if (typeof call.body.model !== 'string')
      return { status: 400, body: anthropic.failure(400, 'model: Field required') }
    const { model, messages: said, system, tools } = call.body
    return { model, inputTokens: countInput([said, system, tools]) + 3, candidates: 1 }
  },
  stream: () => false,
  reply: (generation) => ({ input_tokens: generation.inputTokens }),
}

const POSTS: Readonly<Record<string, Operation>> = {
  '/v1/messages': messages,
  '/v1/messages/count_tokens': countTokens,
}
