/**
 * OpenAI's responses. Shapes: vercel/ai `packages/azure/src/__fixtures__/azure-text.1.chunks.txt` and
 * `packages/openai/src/responses/__fixtures__/{openai-phase.1.json,openai-error.1.chunks.txt}`.
 */

import { type Frame, type ModelCall, type Operation, wholeNumber } from './api.ts'
import { countInput, type Generation, outputTokens, report } from './generation.ts'

interface State {
  readonly status: 'in_progress' | 'completed' | 'incomplete' | 'failed'
  readonly output: readonly unknown[]
  readonly usage: unknown
}

export const responses: Operation = {
  read(call) {
    const { model, input } = call.body
    if (typeof model !== 'string' || input === undefined) {
      const message = "Missing required parameter: 'model' or 'input'."
      return { status: 400, body: { error: { message, type: 'invalid_request_error', param: null, code: null } } }
    }
    const maxOutput = wholeNumber(call.body.max_output_tokens)
    return {
      model,
      inputTokens: countInput([input, call.body.instructions, call.body.tools]) + 3,
      ...(maxOutput === undefined ? {} : { maxOutput }),
      candidates: 1,
    }
  },
  stream: (call) => call.body.stream === true,
  reply: (generation, call) => response(generation, call, final(generation)),
  *frames(generation, call) {
    let sequence = 0
    const frame = (type: string, rest: object): Frame => ({
      event: type,
      data: JSON.stringify({ type, sequence_number: sequence++, ...rest }),
    })
    const at = { item_id: `msg_${generation.id}`, output_index: 0, content_index: 0 }
    const started: State = { status: 'in_progress', output: [], usage: null }
    yield frame('response.created', { response: response(generation, call, started) })
    yield frame('response.in_progress', { response: response(generation, call, started) })
    yield frame('response.output_item.added', {
      output_index: 0,
      item: { ...message(generation), content: [], status: 'in_progress' },
    })
    yield frame('response.content_part.added', { ...at, part: { ...part(generation), text: '' } })
    for (const delta of generation.pieces)
      yield frame('response.output_text.delta', { ...at, delta, logprobs: [], obfuscation: 'VLMdSoETMf5' })
    yield frame('response.output_text.done', { ...at, text: generation.pieces.join(''), logprobs: [] })
    yield frame('response.content_part.done', { ...at, part: part(generation) })
    yield frame('response.output_item.done', { output_index: 0, item: message(generation) })
    const end = final(generation)
    yield frame(`response.${end.status}`, { response: response(generation, call, end) })
  },
  *failureFrames() {
    const error = { type: 'server_error', code: 'server_error', message: 'The server had an error.', param: null }
    yield { event: 'error', data: JSON.stringify({ type: 'error', sequence_number: 99, error }) }
  },
}

function final(generation: Generation): State {
  const output = outputTokens(generation)
  return {
    status: generation.finish === 'stop' ? 'completed' : 'incomplete',
    output: [message(generation)],
    usage: report(generation.usage, {
      input_tokens: generation.inputTokens,
      input_tokens_details: { cached_tokens: generation.cachedTokens },
      output_tokens: output,
      output_tokens_details: { reasoning_tokens: generation.reasoningTokens },
      total_tokens: generation.inputTokens + output,
    }),
  }
}

function part(generation: Generation): object {
  return { type: 'output_text', annotations: [], logprobs: [], text: generation.pieces.join('') }
}

function message(generation: Generation): object {
  return {
    id: `msg_${generation.id}`,
    type: 'message',
    status: 'completed',
    content: [part(generation)],
    role: 'assistant',
  }
}

function response(generation: Generation, call: ModelCall, state: State): object {
  return {
    id: `resp_${generation.id}`,
    object: 'response',
    created_at: generation.created,
    status: state.status,
    background: false,
    error: null,
    incomplete_details: state.status === 'incomplete' ? { reason: 'max_output_tokens' } : null,
    instructions: null,
    max_output_tokens: call.body.max_output_tokens ?? null,
    max_tool_calls: null,
    model: generation.model,
    output: state.output,
    parallel_tool_calls: true,
    previous_response_id: call.body.previous_response_id ?? null,
    reasoning: { effort: 'none', summary: null },
    service_tier: 'default',
    store: true,
    temperature: 1,
    text: { format: { type: 'text' }, verbosity: 'medium' },
    tool_choice: 'auto',
    tools: [],
    top_p: 1,
    truncation: 'disabled',
    usage: state.usage,
    user: null,
    metadata: {},
  }
}
