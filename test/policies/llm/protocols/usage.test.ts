import { describe, expect, it } from 'vitest'
import { requireProtocol } from '../../../../policies/llm/protocols/index.ts'
import { createTap } from '../../../../policies/llm/tap-stream.ts'
import type { Usage } from '../../../../policies/llm/usage.ts'
import { fixture, textOf, through } from '../support.ts'

const OPENAI: Usage = { inputTokens: 19, cachedInputTokens: 4, outputTokens: 10, reasoningTokens: 3 }
const COMPLETION: Usage = { inputTokens: 14, outputTokens: 16 }
const RESPONSES: Usage = { inputTokens: 50, cachedInputTokens: 16, outputTokens: 84, reasoningTokens: 64 }

/** File, protocol, usage, text delivered, whether the protocol's own end is seen. */
const REPLIES: readonly (readonly [string, string, Usage | undefined, string, boolean])[] = [
  ['openai-chat.json', 'openai-chat', OPENAI, '', true],
  ['openai-chat.sse', 'openai-chat', OPENAI, 'Grüße aus 北京 🚀.', true],
  ['openai-chat-tools.sse', 'openai-chat', { inputTokens: 61, outputTokens: 15 }, '{"town":"Trier"}', true],
  [
    'azure-chat.sse',
    'openai-chat',
    { inputTokens: 15, cachedInputTokens: 0, outputTokens: 78, reasoningTokens: 64 },
    'Capital city.',
    true,
  ],
  ['groq-chat.sse', 'openai-chat', { inputTokens: 45, outputTokens: 7 }, 'Intrigue.', true],
  ['groq-chat-older.sse', 'openai-chat', { inputTokens: 45, outputTokens: 7 }, 'Intrigue.', true],
  [
    'deepseek-chat.sse',
    'openai-chat',
    { inputTokens: 13, cachedInputTokens: 8, outputTokens: 9, reasoningTokens: 5 },
    'Two and two.Four.',
    true,
  ],
  ['mistral-chat.sse', 'openai-chat', { inputTokens: 13, outputTokens: 8 }, 'Hello, world!', true],
  ['mistral-thinking.sse', 'openai-chat', { inputTokens: 10, outputTokens: 10 }, 'Let me see.Yes.', true],
  [
    'xai-chat.sse',
    'openai-chat',
    { inputTokens: 12, cachedInputTokens: 11, outputTokens: 291, reasoningTokens: 290 },
    'First,Hello',
    true,
  ],
  [
    'openrouter-chat.sse',
    'openai-chat',
    { inputTokens: 14, cachedInputTokens: 2, cacheCreationTokens: 3, outputTokens: 12, reasoningTokens: 6 },
    'Hm.Yes.',
    true,
  ],
  ['vllm-chat-continuous.sse', 'openai-chat', { inputTokens: 31, outputTokens: 4 }, 'One two.', true],
  ['perplexity-chat.sse', 'openai-chat', { inputTokens: 11, outputTokens: 5 }, '**Eco[1]', false],
  ['openai-completion.json', 'openai-completions', COMPLETION, '', true],
  ['openai-completion.sse', 'openai-completions', COMPLETION, 'The feast day', true],
  ['openai-embeddings.json', 'openai-embeddings', { inputTokens: 12, outputTokens: 0 }, '', true],
  ['openai-responses.json', 'openai-responses', RESPONSES, '', true],
  ['openai-responses.sse', 'openai-responses', RESPONSES, 'Hello there', true],
  ['openai-responses-failed.sse', 'openai-responses', undefined, '', true],
  [
    'anthropic.json',
    'anthropic-messages',
    { inputTokens: 117, cachedInputTokens: 100, cacheCreationTokens: 5, outputTokens: 29 },
    '',
    true,
  ],
  [
    'anthropic.sse',
    'anthropic-messages',
    { inputTokens: 117, cachedInputTokens: 100, cacheCreationTokens: 5, outputTokens: 30 },
    "Hello! I'm well.",
    true,
  ],
  [
    'anthropic-tools.sse',
    'anthropic-messages',
    { inputTokens: 472, cachedInputTokens: 0, cacheCreationTokens: 0, outputTokens: 89, reasoningTokens: 21 },
    'The town is Trier.{"town": "Trier"}',
    true,
  ],
  [
    'anthropic-compaction.sse',
    'anthropic-messages',
    { inputTokens: 60_997, cachedInputTokens: 0, cacheCreationTokens: 0, outputTokens: 3341 },
    'Done.',
    true,
  ],
  ['anthropic-overloaded.sse', 'anthropic-messages', { inputTokens: 25 }, 'He', false],
  ['gemini.json', 'gemini-generate', { inputTokens: 9, outputTokens: 272, reasoningTokens: 244 }, '', true],
  [
    'gemini.sse',
    'gemini-generate',
    { inputTokens: 940, cachedInputTokens: 512, outputTokens: 191, reasoningTokens: 185 },
    'There are **3**',
    true,
  ],
  [
    'gemini-array.json',
    'gemini-generate',
    { inputTokens: 940, cachedInputTokens: 512, outputTokens: 191, reasoningTokens: 185 },
    'There are **3**',
    true,
  ],
  ['gemini-blocked.json', 'gemini-generate', { inputTokens: 7 }, '', true],
  ['gemini-embeddings.json', 'gemini-embeddings', { inputTokens: 6, outputTokens: 0 }, '', true],
]

function charactersOf(text: string): readonly number[] {
  const counts = [0, 0, 0, 0]
  for (const character of text) {
    const length = Buffer.byteLength(character)
    counts[length - 1] = (counts[length - 1] ?? 0) + 1
  }
  return counts
}

describe.each(REPLIES)('%s', (name, protocolId, usage, text, sawFinal) => {
  const protocol = requireProtocol(protocolId)
  const reply = fixture(name)

  it.each([[[reply.length]], [[1]], [[7]], [[100, 3]]])('is read and passed on in pieces of %j', (sizes) => {
    const tap = createTap({ protocol: protocolId, stream: name.endsWith('.sse'), withholdUsage: false }, protocol)
    expect(through(tap, reply, sizes)).toBe(textOf(reply))
    const result = tap.result()
    expect(result.usage).toEqual(usage)
    expect(result.delivered?.characters ?? [0, 0, 0, 0]).toEqual(charactersOf(text))
    expect(result.sawFinal).toBe(sawFinal)
    expect(result.cut).toBe(false)
  })
})

describe('usage that is no usage', () => {
  const odd = [-1, 1.5, '12', null, true, {}, [], Number.MAX_SAFE_INTEGER + 1]

  it.each([
    ['openai-chat', 'prompt_tokens', 'completion_tokens'],
    ['openai-responses', 'input_tokens', 'output_tokens'],
    ['anthropic-messages', 'input_tokens', 'output_tokens'],
  ])('is left out of %s field by field', (id, input, output) => {
    const protocol = requireProtocol(id)
    const usage = (value: unknown) => protocol.replyUsage({ usage: value })
    expect(usage({ [input]: 0, [output]: 0 })).toEqual({ inputTokens: 0, outputTokens: 0 })
    for (const value of odd) {
      expect(usage({ [input]: value, [output]: 5 })).toEqual({ outputTokens: 5 })
      expect(usage({ [input]: 5, [output]: value })).toEqual({ inputTokens: 5 })
      expect(usage({ [input]: value, [output]: value })).toBeUndefined()
      expect(usage(value)).toBeUndefined()
    }
    expect(protocol.replyUsage(null)).toBeUndefined()
    expect(protocol.replyUsage([{ usage: { [input]: 1 } }])).toBeUndefined()
    expect(protocol.replyUsage({ choices: [{ usage: { [input]: 1 } }] })).toBeUndefined()
  })

  it('is left out of Gemini field by field', () => {
    const protocol = requireProtocol('gemini-generate')
    for (const value of odd)
      expect(protocol.replyUsage({ usageMetadata: { promptTokenCount: 3, candidatesTokenCount: value } })).toEqual({
        inputTokens: 3,
      })
  })

  it('is left out where a part is larger than its whole', () => {
    const protocol = requireProtocol('openai-chat')
    expect(
      protocol.replyUsage({
        usage: {
          prompt_tokens: 10,
          completion_tokens: 5,
          prompt_tokens_details: { cached_tokens: 11 },
          completion_tokens_details: { reasoning_tokens: 6 },
        },
      }),
    ).toEqual({ inputTokens: 10, outputTokens: 5 })
  })
})

describe('halves', () => {
  const protocol = requireProtocol('anthropic-messages')

  it('keep the cached parts that only message_start reports', () => {
    const start = protocol.eventUsage({
      type: 'message_start',
      message: { usage: { input_tokens: 43, cache_read_input_tokens: 1000, output_tokens: 1 } },
    })
    expect(start).toEqual({ inputTokens: 1043, cachedInputTokens: 1000 })
    expect(
      protocol.eventUsage({ type: 'message_delta', usage: { input_tokens: 61, output_tokens: 2 } }, start),
    ).toEqual({ inputTokens: 1061, cachedInputTokens: 1000, outputTokens: 2 })
  })

  it('count what an advisor used, which the usage around it leaves out', () => {
    const cache = { cache_read_input_tokens: 7, cache_creation_input_tokens: 0 }
    const iterations = [
      { type: 'message', input_tokens: 1051, output_tokens: 35 },
      { type: 'advisor_message', input_tokens: 2728, output_tokens: 874, ...cache },
      { type: 'message', input_tokens: 1363, output_tokens: 3165 },
      { type: 'fallback_message', input_tokens: 5, output_tokens: 5 },
      { type: 'compaction', input_tokens: -5, output_tokens: 'x' },
      null,
    ]
    expect(protocol.replyUsage({ usage: { input_tokens: 2414, output_tokens: 3200, iterations } })).toEqual({
      inputTokens: 2414 + 2728 + 7,
      outputTokens: 3200 + 874,
    })
  })

  it('count only in the events that carry them', () => {
    expect(protocol.eventUsage({ type: 'content_block_delta', usage: { output_tokens: 2 } })).toBeUndefined()
    expect(protocol.eventUsage({ type: 'message_start', usage: { output_tokens: 2 } })).toBeUndefined()
    expect(protocol.eventUsage({ type: 'message_delta', message: { usage: { output_tokens: 2 } } })).toBeUndefined()
  })
})
