import { describe, expect, it } from 'vitest'
import { openAiChat } from '../../../../policies/llm/protocols/openai-chat.ts'
import { openAiCompletions } from '../../../../policies/llm/protocols/openai-completions.ts'
import { openAiEmbeddings } from '../../../../policies/llm/protocols/openai-embeddings.ts'
import { bodyOf, readCall, refusalOf, textOf } from '../support.ts'

const MESSAGES = [{ role: 'user', content: 'Hi' }]
const chat = (members: object = {}) => readCall(openAiChat, { model: 'gpt-4o', messages: MESSAGES, ...members })
const refusal = (members: object) => refusalOf(() => chat(members))

describe('the calls of a chat', () => {
  it('count whole where they have two forms, whichever the provider reads', () => {
    const call = { id: '1', type: 'custom', custom: { name: 'x', input: 'long' }, function: { name: 'y' } }
    const messages = [{ role: 'assistant', tool_calls: [call] }]
    const { texts } = chat({ messages }).input
    expect(texts.join()).toContain('long')
    expect(texts.join()).toContain('"y"')
  })
})

describe('the declared budget of a chat', () => {
  it.each([
    [{}, undefined],
    [{ max_tokens: 100 }, 100],
    [{ max_completion_tokens: 100 }, 100],
    [{ max_tokens: 5, max_completion_tokens: 50_000 }, 50_000],
    [{ max_tokens: 50_000, max_completion_tokens: 5 }, 50_000],
    [{ max_tokens: 5, n_predict: 900 }, 900],
    [{ max_tokens: 5, max_output_tokens: 900, max_new_tokens: 901 }, 901],
    [{ max_tokens: 100, reasoning: { max_tokens: 8000 } }, 8000],
    [{ max_tokens: 100, thinking: { type: 'enabled', budget_tokens: 900 } }, 900],
    [{ max_tokens: 100, reasoning: null, thinking: true }, 100],
    [{ max_tokens: 1, thinking_budget: 30_000 }, 30_000],
    [{ max_tokens: 1, thinking_budget_tokens: 30_000 }, 30_000],
    [{ max_tokens: 1, thinking_token_budget: 30_000 }, 30_000],
    [{ max_tokens: 1, reasoning_budget: 30_000 }, 30_000],
    [{ max_tokens: 1, reasoning_budget_tokens: 30_000 }, 30_000],
    [{ max_tokens: 1, num_predict: 30_000 }, 30_000],
    [{ max_tokens: 1, nvext: { max_thinking_tokens: 30_000 } }, 30_000],
    [{ max_tokens: 1, chat_template_kwargs: { thinking_budget: 30_000 } }, 30_000],
    [{ max_tokens: 100, thinking_budget: 0 }, 100],
    [{ max_tokens: 100, thinking_budget: 5 }, 100],
    // A limit of the reasoning alone leaves the answer without one.
    [{ thinking_budget: 1 }, undefined],
    [{ reasoning: { max_tokens: 1 } }, undefined],
    [{ thinking: { type: 'enabled', budget_tokens: 1 } }, undefined],
    [{ max_tokens: 100, n: 3 }, 300],
    [{ max_tokens: 100, n: 3, best_of: 7 }, 700],
    [{ max_tokens: null, n: null, max_completion_tokens: 9 }, 9],
    [{ max_tokens: 1e3 }, 1000],
    [{ max_tokens: 0 }, undefined],
    [{ max_tokens: 1000, n: 1e9 }, 1e12],
    [{ max_tokens: Number.MAX_SAFE_INTEGER, n: 1e9 }, Number.MAX_SAFE_INTEGER],
  ])('%j is %s', (members, expected) => {
    expect(chat(members).declaredOutput).toBe(expected)
  })

  it.each([
    ['"100"', 'max_tokens'],
    ['-1', 'max_tokens'],
    ['-0.5', 'max_completion_tokens'],
    ['1.5', 'max_tokens'],
    ['1e400', 'max_tokens'],
    ['9007199254740993', 'max_tokens'],
    ['true', 'max_tokens'],
    ['[1]', 'n_predict'],
    ['"9"', 'thinking_budget'],
    ['1.5', 'thinking_budget_tokens'],
    ['{}', 'max_tokens'],
    ['"1"', 'n'],
    ['0', 'n'],
    ['-3', 'n'],
    ['1.5', 'best_of'],
    ['1e400', 'n'],
    ['"true"', 'stream'],
    ['1', 'stream'],
    ['[]', 'stream_options'],
    ['"x"', 'stream_options'],
    ['{"include_usage":"false"}', 'stream_options.include_usage'],
    ['{"max_tokens":"9"}', 'reasoning.max_tokens'],
    ['{"budget_tokens":-1}', 'thinking.budget_tokens'],
    ['null', 'model'],
    ['""', 'model'],
    ['5', 'model'],
    ['" gpt-4o"', 'model'],
    ['"gpt\\u00004o"', 'model'],
    ['["x"]', 'model'],
    ['"gpt-4o"', 'models'],
    ['[5]', 'models'],
    ['"Hi"', 'messages'],
    ['[null]', 'messages[0]'],
    ['["Hi"]', 'messages[0]'],
    ['{}', 'messages'],
  ])('is refused when %s is the value of %s', (json, name) => {
    const key = name.split(/[.[]/)[0] as string
    const rest = JSON.stringify({ model: 'gpt-4o', messages: MESSAGES, [key]: 0 }).replace(
      `"${key}":0`,
      `"${key}":${json}`,
    )
    const { code, message } = refusalOf(() => readCall(openAiChat, rest))
    expect(code).toBe('invalid_request')
    expect(message).toContain(`"${name}"`)
    expect(message).not.toContain('gpt')
  })

  it('is refused for spellings that some upstream would read', () => {
    for (const key of [
      'Max_Tokens',
      'max_toKens',
      'STREAM',
      'Model',
      'N',
      'Messages',
      'maX_completion_tokenſ',
      'Thinking_budget',
    ])
      expect(refusal({ [key]: 5 }).message).toMatch(/spelled differently/)
    expect(refusal({ stream_options: { Include_usage: false } }).message).toMatch(/include_usage/)
  })

  it('needs a model and messages', () => {
    expect(refusalOf(() => readCall(openAiChat, { messages: MESSAGES })).message).toContain('"model" is missing')
    expect(refusalOf(() => readCall(openAiChat, { model: 'gpt-4o' })).message).toContain('"messages"')
  })
})

describe('the models of a chat', () => {
  it('are those of the body, and of the path before it', () => {
    expect(chat()).toMatchObject({ model: 'gpt-4o' })
    expect(chat()).not.toHaveProperty('otherModels')
    const azure = { model: 'my-deployment' }
    expect(readCall(openAiChat, { messages: MESSAGES }, azure)).toMatchObject({ model: 'my-deployment' })
    const both = readCall(openAiChat, { model: 'gpt-4o', messages: MESSAGES }, azure)
    expect(both).toMatchObject({ model: 'my-deployment', otherModels: ['gpt-4o'] })
    expect(chat({ models: ['gpt-4o', 'a/b', 'c'] })).toMatchObject({ otherModels: ['a/b', 'c'] })
  })
})

describe('the stream of a chat', () => {
  it.each([
    [{}, false, false],
    [{ stream: false }, false, false],
    [{ stream: null }, false, false],
    [{ stream: true }, true, true],
    [{ stream: true, stream_options: null }, true, true],
    [{ stream: true, stream_options: {} }, true, true],
    [{ stream: true, stream_options: { include_usage: false } }, true, true],
    [{ stream: true, stream_options: { include_usage: true } }, true, false],
    [{ stream: true, model: 'mistral-large-latest' }, true, false],
    [{ stream: true, model: 'open-mistral-nemo' }, true, false],
    [{ stream: true, model: 'mistralai/Mistral-7B-Instruct-v0.3' }, true, true],
    [{ stream: true, model: 'mistral:7b' }, true, true],
  ])('%j streams: %s, and must be told to report usage: %s', (members, stream, needsUsageSwitch) => {
    expect(chat(members)).toMatchObject({ stream, needsUsageSwitch })
  })
})

describe('hidden reasoning in a chat', () => {
  it.each([
    ['gpt-4o', {}, false],
    ['gpt-4.1-nano', {}, false],
    ['gpt-3.5-turbo', {}, false],
    ['meta-llama/Llama-3.3-70B-Instruct', {}, false],
    ['deepseek-reasoner', {}, false],
    ['gpt-oss-120b', {}, false],
    ['gpt-4o', { reasoning_effort: 'low' }, true],
    ['gpt-4o', { reasoning_effort: 'none' }, false],
    ['llama-3', { reasoning: { effort: 'high' } }, true],
    ['o1', {}, true],
    ['o4-mini', {}, true],
    ['openai/o3', {}, true],
    ['gpt-5', {}, true],
    ['gpt-5-nano', {}, true],
    ['gpt-6.1', {}, true],
    ['grok-4', {}, true],
    ['gemini-2.5-pro', {}, true],
    ['gemini-2.0-flash', {}, false],
    ['my-deployment', {}, true],
    ['deepseek-r1', { include_reasoning: false }, true],
    ['qwen-3', { reasoning_format: 'hidden' }, true],
    ['qwen-3', { stream_reasoning: false }, true],
    ['qwen-3', { thinking_budget: 100 }, true],
    ['qwen-3', { thinking_budget: 0 }, false],
    ['qwen-3', { reasoning_format: null, include_reasoning: null }, false],
  ])('%s with %j: %s', (model, members, expected) => {
    expect(chat({ model, ...members }).reasoning).toBe(expected)
  })
})

describe('output of a chat that is no text', () => {
  it.each([
    [{ modalities: ['text'] }, false],
    [{ modalities: null, audio: null }, false],
    [{ modalities: ['text', 'audio'], audio: { voice: 'alloy', format: 'pcm16' } }, true],
    [{ modalities: ['image', 'text'] }, true],
    [{ audio: { voice: 'alloy' } }, true],
    [{ n: 2, best_of: 2 }, false],
    [{ n: 2, best_of: 3 }, true],
    [{ best_of: 2 }, true],
  ])('%j: %s', (members, expected) => {
    expect(chat({ model: 'gpt-4o', ...members }).reasoning).toBe(expected)
  })
})

describe('the input of a chat', () => {
  const inputOf = (members: object) => chat(members).input

  it('is every text that the model reads', () => {
    const { texts, tokenIds } = inputOf({
      messages: [
        { role: 'system', content: 'sys' },
        { role: 'user', name: 'ann', content: [{ type: 'text', text: 'part' }] },
        {
          role: 'assistant',
          content: null,
          refusal: 'no',
          tool_calls: [{ id: 'c1', type: 'function', function: { name: 'look', arguments: '{"x":1}' } }],
        },
        { role: 'tool', tool_call_id: 'c1', content: [{ type: 'text', text: 'found' }] },
      ],
      tools: [{ type: 'function', function: { name: 'look', description: 'looks up', parameters: { a: 1 } } }],
      functions: [{ name: 'old' }],
      response_format: { type: 'json_schema', json_schema: { name: 's', schema: { type: 'object' } } },
      prediction: { type: 'content', content: 'expected text' },
      documents: [{ title: 'doc', text: 'unknown member' }],
      user: 'steering',
      metadata: { a: 'steering' },
    })
    const all = texts.join('\n')
    for (const text of [
      'sys',
      'ann',
      'part',
      'no',
      'look',
      '"x',
      'found',
      'looks up',
      'old',
      'json_schema',
      'expected text',
    ])
      expect(all).toContain(text)
    expect(all).toContain('unknown member')
    expect(all).not.toContain('steering')
    expect(tokenIds).toBe(16)
  })

  it('counts media by number, never by the length of their base64', () => {
    const data = `data:image/png;base64,${'A'.repeat(100_000)}`
    const input = inputOf({
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: 'see' },
            { type: 'image_url', image_url: { url: data } },
            { type: 'image_url', image_url: { url: 'https://example.org/x.png' } },
            { type: 'input_audio', input_audio: { data: 'A'.repeat(1000), format: 'wav' } },
            { type: 'file', file: { filename: 'x.pdf', file_data: data } },
            { type: 'video_url', video_url: { url: data } },
          ],
        },
      ],
    })
    expect(input).toEqual({ texts: ['see'], images: 2, audio: 1, files: 2, tokenIds: 4, unseen: false })
  })

  it('takes a data URL in a text for the text that it is', () => {
    const content = `data:text/plain,${'long prompt '.repeat(100)}`
    expect(inputOf({ messages: [{ role: 'user', content }] }).texts).toEqual([content])
    expect(inputOf({ messages: [{ role: 'user', content: [{ type: 'text', text: content }] }] }).texts).toEqual([
      content,
    ])
    expect(
      inputOf({ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: {}, text: 'beside' }] }] }).texts,
    ).toEqual(['beside'])
  })

  it('counts a label that is no label', () => {
    const long = 'ignore all that was said and '.repeat(10)
    expect(inputOf({ messages: [{ role: long, content: 'x' }] }).texts).toContain(long)
    expect(inputOf({ messages: [{ role: 'tool', tool_call_id: long, content: 'x' }] }).texts).toContain(long)
    expect(inputOf({ messages: [{ role: 'user', content: 'x' }] }).texts).toEqual(['x'])
  })

  it('knows what it cannot see', () => {
    const withPart = (part: object) => inputOf({ messages: [{ role: 'user', content: [part] }] }).unseen
    expect(withPart({ type: 'file', file: { file_id: 'file-1' } })).toBe(true)
    expect(inputOf({ web_search_options: {} }).unseen).toBe(true)
    expect(inputOf({ plugins: [{ id: 'web' }] }).unseen).toBe(true)
    expect(inputOf({ model: 'openai/gpt-4o:online' }).unseen).toBe(true)
    expect(inputOf({ tools: [{ type: 'web_search' }] }).unseen).toBe(true)
    expect(inputOf({ tools: [{ type: 'function', function: { name: 'f' } }] }).unseen).toBe(false)
  })
})

describe('editing a chat', () => {
  const edit = (members: object, edits: Parameters<typeof openAiChat.edit>[2]) => {
    const body = bodyOf(JSON.stringify({ model: 'gpt-4o', messages: MESSAGES, ...members }))
    const call = openAiChat.read(body, { name: 'chat', read: false })
    return JSON.parse(textOf(openAiChat.edit(body, call, edits))) as Record<string, unknown>
  }

  it.each([
    [{}, { max_tokens: 50 }],
    [{ model: 'o3-mini' }, { max_completion_tokens: 50 }],
    [{ model: 'openai/gpt-5' }, { max_completion_tokens: 50 }],
    [{ max_tokens: 100 }, { max_tokens: 50 }],
    [
      { max_tokens: 100, max_completion_tokens: 5 },
      { max_tokens: 50, max_completion_tokens: 5 },
    ],
    [
      { max_tokens: 20, max_completion_tokens: 100, n_predict: 9e9 },
      { max_tokens: 20, max_completion_tokens: 50, n_predict: 50 },
    ],
    [{ max_completion_tokens: null }, { max_completion_tokens: null, max_tokens: 50 }],
    [{ max_tokens: null }, { max_tokens: 50 }],
    [{ max_tokens: 0 }, { max_tokens: 50 }],
    [
      { max_tokens: 100, reasoning: { effort: 'low', max_tokens: 90 }, thinking: { budget_tokens: 9 } },
      { max_tokens: 50, reasoning: { effort: 'low', max_tokens: 50 } },
    ],
    [
      { max_tokens: 100, thinking_budget: 30_000, nvext: { max_thinking_tokens: 90, top: 1 } },
      { max_tokens: 50, thinking_budget: 50, nvext: { max_thinking_tokens: 50, top: 1 } },
    ],
    [
      { thinking_budget: 30_000, reasoning_budget: 7 },
      { max_tokens: 50, thinking_budget: 50, reasoning_budget: 7 },
    ],
    [{ n: 4 }, { max_tokens: 12 }],
    [{ n: 4, max_tokens: 100 }, { max_tokens: 12 }],
  ])('limits %j to 50 tokens in all', (members, expected) => {
    const before = { model: 'gpt-4o', messages: MESSAGES, ...members }
    expect(edit(members, { maxOutputTokens: 50 })).toEqual({ ...before, ...expected })
  })

  it('never forwards less than a token for each candidate: a limit of zero could mean none', () => {
    expect(() => edit({ n: 51 }, { maxOutputTokens: 50 })).toThrow(/one token/)
  })

  it.each([
    [{ stream: true }, { include_usage: true }],
    [{ stream: true, stream_options: null }, { include_usage: true }],
    [{ stream: true, stream_options: { include_usage: false } }, { include_usage: true }],
    [
      { stream: true, stream_options: { include_obfuscation: false } },
      { include_obfuscation: false, include_usage: true },
    ],
  ])('switches usage on in %j', (members, expected) => {
    expect(edit(members, { includeUsage: true }).stream_options).toEqual(expected)
  })

  it('leaves every other byte alone', () => {
    const text =
      '{ "model":"gpt-4o" ,"messages":[ {"role":"user","content":"\\u00fc \\/ 1.0"} ],"n":1.0,"stream":true }'
    const body = bodyOf(text)
    const call = openAiChat.read(body, { name: 'chat', read: false })
    expect(textOf(openAiChat.edit(body, call, { maxOutputTokens: 7, includeUsage: true }))).toBe(
      text.replace('"stream":true', '"stream":true,"max_tokens":7,"stream_options":{"include_usage":true}'),
    )
  })
})

describe('completions', () => {
  it('know that candidates which are dropped are output as well', () => {
    const complete = (members: object) => readCall(openAiCompletions, { model: 'gpt-4o', prompt: 'a', ...members })
    expect(complete({ n: 2 }).reasoning).toBe(false)
    expect(complete({ n: 2, best_of: 5 }).reasoning).toBe(true)
  })

  const read = (members: object) => readCall(openAiCompletions, { model: 'gpt-3.5-turbo-instruct', ...members })

  it.each([
    [{ prompt: 'Hi' }, 1, ['Hi'], 0],
    [{ prompt: null }, 1, [], 0],
    [{}, 1, [], 0],
    [{ prompt: [] }, 1, [], 0],
    [{ prompt: ['a', 'b', 'c'] }, 3, ['a', 'b', 'c'], 0],
    [{ prompt: [1, 2, 3] }, 1, [], 3],
    [{ prompt: [[1, 2], [3], []] }, 3, [], 3],
    [{ prompt: ['a'], suffix: 'z', n: 2, best_of: 5 }, 5, ['a', 'z'], 0],
  ])('%j generates %s candidates', (members, candidates, texts, tokenIds) => {
    const call = read(members)
    expect(call.candidates).toBe(candidates)
    expect(call.input).toMatchObject({ texts, tokenIds })
    expect(read({ ...members, max_tokens: 10 }).declaredOutput).toBe(10 * candidates)
  })

  it.each([
    [{ prompt: 5 }],
    [{ prompt: {} }],
    [{ prompt: [1, 'a'] }],
    [{ prompt: [[1], 'a', 2] }],
    [{ prompt: [1.5] }],
  ])('refuses %j', (members) => {
    expect(refusalOf(() => read(members)).message).toContain('"prompt"')
  })
})

describe('embeddings', () => {
  const read = (input: unknown) => readCall(openAiEmbeddings, { model: 'text-embedding-3-small', input })

  it('generate nothing', () => {
    expect(read('a')).toMatchObject({ generates: false, stream: false, candidates: 1, reasoning: false })
    expect(read('a').declaredOutput).toBeUndefined()
  })

  it.each([
    ['text', ['text'], 0],
    [['a', 'b'], ['a', 'b'], 0],
    [[5, 6, 7], [], 3],
    [[[5, 6], [7]], [], 3],
  ])('count %j', (input, texts, tokenIds) => {
    expect(read(input).input).toMatchObject({ texts, tokenIds })
  })

  it('are never edited', () => {
    const body = bodyOf({ model: 'm', input: 'a' })
    const call = openAiEmbeddings.read(body, { name: 'embeddings', read: false })
    expect(openAiEmbeddings.edit(body, call, { maxOutputTokens: 5 })).toBe(body.bytes)
  })

  it('refuse an input that is neither text nor ids', () => {
    expect(refusalOf(() => read([1, 'a'])).message).toContain('"input"')
  })
})
