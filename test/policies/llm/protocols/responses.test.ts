import { describe, expect, it } from 'vitest'
import { openAiResponses } from '../../../../policies/llm/protocols/openai-responses.ts'
import { bodyOf, readCall, refusalOf, textOf } from '../support.ts'

const read = (members: object = {}) =>
  readCall(openAiResponses, { model: 'gpt-4o', input: 'Hi', ...members }, { name: 'responses' })

describe('a response', () => {
  it('counts every argument of a call, whichever the provider reads', () => {
    const call = { type: 'custom_tool_call', name: 'f', arguments: '', input: 'long', action: { a: 'act' } }
    expect(read({ input: [call] }).input.texts).toEqual(['f', 'long', '{"a":"act"}'])
  })

  it('reads its decisive fields', () => {
    expect(read()).toMatchObject({
      operation: 'responses',
      model: 'gpt-4o',
      stream: false,
      unmetered: false,
      stored: true,
      reasoning: false,
      needsUsageSwitch: false,
    })
    expect(read({ stream: true, max_output_tokens: 70, store: false })).toMatchObject({
      stream: true,
      declaredOutput: 70,
      stored: false,
    })
    expect(read({ background: true }).unmetered).toBe(true)
    expect(read({ reasoning: { effort: 'low' } }).reasoning).toBe(true)
    expect(read({ model: 'gpt-5' }).reasoning).toBe(true)
    expect(read({ max_output_tokens: 1, reasoning: { max_tokens: 9000 } }).declaredOutput).toBe(9000)
    expect(read({ thinking_budget: 1 }).declaredOutput).toBeUndefined()
  })

  it('may leave the model to a stored prompt', () => {
    const body = { prompt: { id: 'pmpt_1', variables: { city: 'Trier' } } }
    const call = readCall(openAiResponses, body, { name: 'responses' })
    expect(call).toMatchObject({ model: '', input: { unseen: true } })
    expect(call.input.texts).toContain('Trier')
    expect(refusalOf(() => readCall(openAiResponses, { input: 'x' })).message).toContain('"model" is missing')
  })

  it.each([
    [{ max_output_tokens: '5' }, 'max_output_tokens'],
    [{ max_output_tokens: -5 }, 'max_output_tokens'],
    [{ stream: 'true' }, 'stream'],
    [{ background: 1 }, 'background'],
    [{ store: 'no' }, 'store'],
    [{ input: 5 }, 'input'],
    [{ Background: true }, 'background'],
  ])('refuses %j', (members, name) => {
    expect(refusalOf(() => read(members)).message).toContain(`"${name}"`)
  })

  it('counts items of every kind', () => {
    const { input } = read({
      instructions: 'be brief',
      input: [
        { role: 'user', content: 'easy' },
        {
          type: 'message',
          role: 'user',
          content: [
            { type: 'input_text', text: 'part' },
            { type: 'input_image', image_url: `data:image/png;base64,${'A'.repeat(5000)}` },
            { type: 'input_file', filename: 'x.pdf', file_data: 'A'.repeat(5000) },
          ],
        },
        { type: 'function_call', call_id: 'c', name: 'look', arguments: '{"q":"arg"}' },
        { type: 'function_call_output', call_id: 'c', output: 'result' },
        { type: 'function_call_output', call_id: 'd', output: [{ type: 'input_text', text: 'listed' }] },
        {
          type: 'reasoning',
          id: 'r',
          summary: [{ type: 'summary_text', text: 'thought' }],
          encrypted_content: 'E'.repeat(600),
        },
        {
          type: 'computer_call_output',
          call_id: 'e',
          output: { type: 'computer_screenshot', image_url: 'data:image/png;base64,AA' },
        },
      ],
      text: { format: { type: 'json_schema', name: 'answer', schema: {} }, verbosity: 'low' },
      tools: [{ type: 'function', name: 'look', parameters: {} }],
    })
    const all = input.texts.join('\n')
    for (const text of ['be brief', 'easy', 'part', 'look', 'arg', 'result', 'listed', 'thought', 'json_schema'])
      expect(all).toContain(text)
    expect(all).not.toContain('AAAA')
    expect(input).toMatchObject({ images: 2, files: 1, tokenIds: 7 * 4 + 100, unseen: false })
  })

  it.each([
    [{ previous_response_id: 'resp_1' }],
    [{ conversation: 'conv_1' }],
    [{ prompt: { id: 'pmpt_1' } }],
    [{ input: [{ type: 'item_reference', id: 'msg_1' }] }],
    [{ input: [{ role: 'user', content: [{ type: 'input_file', file_id: 'file-1' }] }] }],
    [{ input: [{ role: 'user', content: [{ type: 'input_file', file_url: 'https://example.org/x.pdf' }] }] }],
    [{ tools: [{ type: 'file_search', vector_store_ids: ['vs'] }] }],
    [{ tools: [{ type: 'mcp', server_url: 'https://example.org' }] }],
    [{ tools: [{ type: 'code_interpreter' }] }],
  ])('knows that it cannot see all of %j', (members) => {
    expect(read(members).input.unseen).toBe(true)
  })

  it('sees all of a plain one', () => {
    expect(read({ previous_response_id: null, conversation: null }).input.unseen).toBe(false)
  })
})

describe('editing a response', () => {
  const edit = (members: object, maxOutputTokens: number) => {
    const body = bodyOf({ model: 'gpt-4o', input: 'Hi', ...members })
    const call = openAiResponses.read(body, { name: 'responses', read: false })
    return textOf(openAiResponses.edit(body, call, { maxOutputTokens, includeUsage: true }))
  }

  it('lowers or adds the limit', () => {
    expect(edit({}, 50)).toBe('{"model":"gpt-4o","input":"Hi","max_output_tokens":50}')
    expect(edit({ max_output_tokens: 90 }, 50)).toBe('{"model":"gpt-4o","input":"Hi","max_output_tokens":50}')
    expect(edit({ max_output_tokens: 20 }, 50)).toBe('{"model":"gpt-4o","input":"Hi","max_output_tokens":20}')
    expect(edit({ max_output_tokens: 20, thinking_budget: 90 }, 50)).toBe(
      '{"model":"gpt-4o","input":"Hi","max_output_tokens":20,"thinking_budget":50}',
    )
    expect(edit({ max_output_tokens: null }, 50)).toBe('{"model":"gpt-4o","input":"Hi","max_output_tokens":50}')
  })
})
