/**
 * OpenAI's API and Azure's. Shapes: replies recorded in vercel/ai, `packages/openai/src/{chat,completion,embedding}/__fixtures__`
 * (openai-text, openai-completion-text, openai-embedding), Azure's filter events from `azure-model-router.1.chunks.txt`, errors from
 * `reasoning-model-temperature-error.json` and openai/openai-openapi `openapi.yaml` (ErrorResponse, ListModelsResponse).
 */

import { type Api, type Frame, type ModelCall, type Operation, type Refusal, wholeNumber } from './api.ts'
import { type Asked, countInput, type Generation, outputTokens, report } from './generation.ts'
import { responses } from './openai-responses.ts'

const FILTER = { filtered: false, severity: 'safe' }
const FILTERS = { hate: FILTER, self_harm: FILTER, sexual: FILTER, violence: FILTER }

export const openai: Api = {
  name: 'openai',
  find(method, path) {
    if (method === 'GET' && path === '/v1/models') return models
    const found = /^(?:\/v1|\/openai\/v1|\/openai\/deployments\/[^/]+|\/openai)(\/.+)$/.exec(path)
    return method === 'POST' ? POSTS[found?.[1] ?? ''] : undefined
  },
  failure(status, message) {
    const kinds: Record<number, [string, string | null, string]> = {
      400: ['invalid_request_error', null, 'We could not parse the JSON body of your request.'],
      401: ['invalid_request_error', 'invalid_api_key', 'Incorrect API key provided.'],
      404: ['invalid_request_error', null, 'Invalid URL'],
      429: ['tokens', 'rate_limit_exceeded', 'Rate limit reached. Please try again in 1s.'],
      503: ['server_error', null, 'The engine is currently overloaded, please try again later'],
    }
    const [type, code, text] = kinds[status] ?? [
      'server_error',
      null,
      'The server had an error while processing your request.',
    ]
    return { error: { message: message ?? text, type, param: null, code } }
  },
}

function isAzure(call: ModelCall): boolean {
  return call.path.startsWith('/openai/deployments/')
}

function modelOf(call: ModelCall): string | undefined {
  const deployment = /^\/openai\/deployments\/([^/]+)\//.exec(call.path)?.[1]
  if (deployment !== undefined) return decodeURIComponent(deployment)
  return typeof call.body.model === 'string' ? call.body.model : undefined
}

function read(call: ModelCall, input: unknown, limits: readonly string[]): Asked | Refusal {
  const model = modelOf(call)
  if (model === undefined) return { status: 400, body: openai.failure(400, 'you must provide a model parameter') }
  if (input === undefined) return { status: 400, body: openai.failure(400, 'Missing required parameter.') }
  const declared = limits.map((name) => wholeNumber(call.body[name])).find((limit) => limit !== undefined)
  return {
    model,
    inputTokens: countInput([input, call.body.tools]) + 3,
    ...(declared === undefined ? {} : { maxOutput: declared }),
    candidates: wholeNumber(call.body.n) ?? 1,
  }
}

function chatUsage(generation: Generation): unknown {
  const output = outputTokens(generation)
  return report(generation.usage, {
    prompt_tokens: generation.inputTokens,
    completion_tokens: output,
    total_tokens: generation.inputTokens + output,
    prompt_tokens_details: { cached_tokens: generation.cachedTokens, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: generation.reasoningTokens * generation.candidates,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  })
}

function wantsUsage(call: ModelCall): boolean {
  const options = call.body.stream_options
  return typeof options === 'object' && options !== null && 'include_usage' in options && options.include_usage === true
}

const streams = (call: ModelCall): boolean => call.body.stream === true
const indexes = (generation: Generation): number[] => Array.from({ length: generation.candidates }, (_, at) => at)

function* failureFrames(): Iterable<Frame> {
  yield { data: JSON.stringify(openai.failure(500)) }
}

const chat: Operation = {
  read: (call) => read(call, call.body.messages, ['max_completion_tokens', 'max_tokens']),
  stream: streams,
  reply: (generation, call) => ({
    id: `chatcmpl-${generation.id}`,
    object: 'chat.completion',
    created: generation.created,
    model: generation.model,
    ...(isAzure(call) ? { prompt_filter_results: [{ prompt_index: 0, content_filter_results: FILTERS }] } : {}),
    choices: indexes(generation).map((index) => ({
      index,
      message: { role: 'assistant', content: generation.pieces.join(''), refusal: null, annotations: [] },
      logprobs: null,
      finish_reason: generation.finish,
      ...(isAzure(call) ? { content_filter_results: FILTERS } : {}),
    })),
    usage: chatUsage(generation),
    service_tier: 'default',
    system_fingerprint: 'fp_de604bd877',
  }),
  *frames(generation, call) {
    const chunk = (choices: unknown[], usage: unknown): Frame => ({
      data: JSON.stringify({
        id: `chatcmpl-${generation.id}`,
        object: 'chat.completion.chunk',
        created: generation.created,
        model: generation.model,
        service_tier: 'default',
        system_fingerprint: 'fp_de604bd877',
        choices,
        ...(wantsUsage(call) ? { usage } : {}),
        obfuscation: 'Qup1BsQ3',
      }),
    })
    const choice = (index: number, delta: unknown, finish: string | null): unknown => ({
      index,
      delta,
      logprobs: null,
      finish_reason: finish,
    })
    if (isAzure(call)) {
      const results = [{ prompt_index: 0, content_filter_results: FILTERS }]
      yield {
        data: JSON.stringify({
          choices: [],
          created: 0,
          id: '',
          model: '',
          object: '',
          prompt_filter_results: results,
        }),
      }
    }
    const all = indexes(generation)
    for (const at of all) yield chunk([choice(at, { role: 'assistant', content: '', refusal: null }, null)], null)
    for (const piece of generation.pieces)
      for (const at of all) yield chunk([choice(at, { content: piece }, null)], null)
    for (const at of all) yield chunk([choice(at, {}, generation.finish)], null)
    if (wantsUsage(call) && generation.usage !== 'omit') yield chunk([], chatUsage(generation))
    yield { data: '[DONE]' }
  },
  failureFrames,
}

const completions: Operation = {
  read: (call) => read(call, call.body.prompt, ['max_tokens']),
  stream: streams,
  reply: (generation) => ({
    id: `cmpl-${generation.id}`,
    object: 'text_completion',
    created: generation.created,
    model: generation.model,
    choices: indexes(generation).map((index) => ({
      text: generation.pieces.join(''),
      index,
      logprobs: null,
      finish_reason: generation.finish,
    })),
    usage: shortUsage(generation),
  }),
  *frames(generation, call) {
    const head = { id: `cmpl-${generation.id}`, object: 'text_completion', created: generation.created }
    const tail = { model: generation.model, ...(wantsUsage(call) ? { usage: null } : {}) }
    for (const [at, text] of generation.pieces.entries()) {
      const finish_reason = at === generation.pieces.length - 1 ? generation.finish : null
      for (const index of indexes(generation))
        yield { data: JSON.stringify({ ...head, choices: [{ text, index, logprobs: null, finish_reason }], ...tail }) }
    }
    if (wantsUsage(call) && generation.usage !== 'omit')
      yield { data: JSON.stringify({ ...head, model: generation.model, usage: shortUsage(generation), choices: [] }) }
    yield { data: '[DONE]' }
  },
  failureFrames,
}

function shortUsage(generation: Generation): unknown {
  const output = outputTokens(generation)
  return report(generation.usage, {
    prompt_tokens: generation.inputTokens,
    completion_tokens: output,
    total_tokens: generation.inputTokens + output,
  })
}

const embeddings: Operation = {
  read: (call) => read(call, call.body.input, []),
  stream: () => false,
  reply: (generation, call) => {
    const inputs = Array.isArray(call.body.input) ? call.body.input.length : 1
    const embedding = [0.0057293195, -0.012727811, 0.020042092, -0.013437585, 0.022833068]
    const base64 = Buffer.from(new Float32Array(embedding).buffer).toString('base64')
    return {
      object: 'list',
      data: Array.from({ length: inputs }, (_, index) => ({
        object: 'embedding',
        index,
        embedding: call.body.encoding_format === 'base64' ? base64 : embedding,
      })),
      model: generation.model,
      usage: report(generation.usage, { prompt_tokens: generation.inputTokens, total_tokens: generation.inputTokens }),
    }
  },
}

const moderations: Operation = {
  read: (call) => read({ ...call, body: { model: 'omni-moderation-latest', ...call.body } }, call.body.input, []),
  stream: () => false,
  reply: (generation) => ({
    id: `modr-${generation.id}`,
    model: generation.model,
    results: [{ flagged: false, categories: { violence: false }, category_scores: { violence: 0.0001 } }],
  }),
}

const models: Operation = {
  read: () => ({ model: 'none', inputTokens: 0, candidates: 1 }),
  stream: () => false,
  reply: () => ({
    object: 'list',
    data: [{ id: 'gpt-4o-mini', object: 'model', created: 1686935002, owned_by: 'openai' }],
  }),
}

const POSTS: Readonly<Record<string, Operation>> = {
  '/chat/completions': chat,
  '/completions': completions,
  '/embeddings': embeddings,
  '/moderations': moderations,
  '/responses': responses,
}
