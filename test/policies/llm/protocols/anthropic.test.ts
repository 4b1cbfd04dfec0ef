import { describe, expect, it } from 'vitest'
import { anthropicMessages } from '../../../../policies/llm/protocols/anthropic-messages.ts'
import { bodyOf, readCall, refusalOf, textOf } from '../support.ts'

const MESSAGES = [{ role: 'user', content: 'Hi' }]
const BASE = { model: 'claude-sonnet-4-5', max_tokens: 1024, messages: MESSAGES }
const read = (members: object = {}) => readCall(anthropicMessages, { ...BASE, ...members })

describe('a message', () => {
  it('reads its decisive fields', () => {
    expect(read()).toMatchObject({
      model: 'claude-sonnet-4-5',
      stream: false,
      declaredOutput: 1024,
      candidates: 1,
      reasoning: false,
      needsUsageSwitch: false,
    })
    expect(read({ stream: true }).stream).toBe(true)
    expect(read({ max_tokens: 0 }).declaredOutput).toBeUndefined()
    expect(read({ thinking: { type: 'enabled', budget_tokens: 9000 } })).toMatchObject({
      declaredOutput: 9000,
      reasoning: true,
    })
  })

  it('counts what compaction is told', () => {
    const edits = [{ type: 'compact_20260112', instructions: 'keep the names' }]
    expect(read({ context_management: { edits } }).input.texts).toContain('keep the names')
  })

  it.each([
    ['claude-3-haiku-20240307', undefined, false],
    ['claude-opus-4-1', undefined, false],
    ['claude-opus-4-1', { type: 'adaptive' }, true],
    ['claude-opus-5', undefined, true],
    ['claude-opus-5', { type: 'disabled' }, false],
    ['claude-sonnet-5-5', { type: 'between_tools' }, true],
  ])('%s with thinking %j may reason: %s', (model, thinking, expected) => {
    expect(read({ model, ...(thinking === undefined ? {} : { thinking }) }).reasoning).toBe(expected)
  })

  it('knows the other models that may answer', () => {
    const call = read({
      fallbacks: [{ model: 'claude-opus-4-8', max_tokens: 5000 }, { model: 'claude-sonnet-4-5' }],
      tools: [{ type: 'advisor_20260301', name: 'advisor', model: 'claude-opus-4-7' }],
    })
    expect(call).toMatchObject({ otherModels: ['claude-opus-4-8', 'claude-opus-4-7'], declaredOutput: 5000 })
    expect(read({ fallbacks: 'default' }).otherModels).toEqual(['default'])
  })

  it.each([
    [{ max_tokens: '1024' }, 'max_tokens'],
    [{ max_tokens: -1 }, 'max_tokens'],
    [{ max_tokens: 10.5 }, 'max_tokens'],
    [{ stream: 'true' }, 'stream'],
    [{ model: undefined }, 'model'],
    [{ model: 7 }, 'model'],
    [{ messages: 'Hi' }, 'messages'],
    [{ messages: [1] }, 'messages[0]'],
    [{ thinking: { type: 'enabled', budget_tokens: '9' } }, 'thinking.budget_tokens'],
    [{ fallbacks: ['x'] }, 'fallbacks'],
    [{ fallbacks: [{ model: '' }] }, 'fallbacks.model'],
    [{ fallbacks: [{ model: 'x', max_tokens: -1 }] }, 'fallbacks.max_tokens'],
    [{ fallbacks: new Array(150_000).fill({ model: 'x' }) }, 'fallbacks'],
    [{ Max_Tokens: 5 }, 'max_tokens'],
  ])('refuses %j', (members, name) => {
    expect(refusalOf(() => read(members)).message).toContain(`"${name}"`)
  })

  it('counts blocks of every kind', () => {
    const base64 = { type: 'base64', media_type: 'image/png', data: 'A'.repeat(5000) }
    const { input } = read({
      system: [{ type: 'text', text: 'sys', cache_control: { type: 'ephemeral' } }],
      messages: [
        { role: 'user', content: 'plain' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'part' },
            { type: 'image', source: base64 },
            { type: 'document', source: { ...base64, media_type: 'application/pdf' }, title: 'title' },
            { type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'plain document' } },
            {
              type: 'document',
              source: {
                type: 'content',
                content: [
                  { type: 'text', text: 'inner' },
                  { type: 'image', source: base64 },
                ],
              },
            },
            {
              type: 'search_result',
              source: 'https://example.org',
              title: 'hit',
              content: [{ type: 'text', text: 'hit text' }],
            },
          ],
        },
        {
          role: 'assistant',
          content: [
            { type: 'thinking', thinking: 'thought', signature: 'S'.repeat(900) },
            { type: 'redacted_thinking', data: 'R'.repeat(600) },
            { type: 'tool_use', id: 't', name: 'look', input: { q: 'arg' } },
          ],
        },
        {
          role: 'user',
          content: [
            {
              type: 'tool_result',
              tool_use_id: 't',
              content: [
                { type: 'text', text: 'result' },
                { type: 'image', source: base64 },
              ],
            },
          ],
        },
      ],
      tools: [{ name: 'look', description: 'looks up', input_schema: { type: 'object' } }],
      output_config: { effort: 'low', format: { type: 'json_schema', schema: { answer: 1 } } },
    })
    const all = input.texts.join('\n')
    for (const text of [
      'sys',
      'plain',
      'part',
      'title',
      'plain document',
      'inner',
      'hit text',
      'thought',
      'look',
      'arg',
      'result',
      'looks up',
      'answer',
    ])
      expect(all).toContain(text)
    expect(all).not.toMatch(/AAAA|SSSS|RRRR/)
    expect(input).toMatchObject({ images: 3, audio: 0, files: 1, tokenIds: 4 * 4 + 100, unseen: false })
  })

  it.each([
    [{ container: 'c_1' }],
    [{ thread: { id: 't' } }],
    [{ mcp_servers: [{ type: 'url', url: 'https://example.org', name: 'x' }] }],
    [{ tools: [{ type: 'web_search_20250305', name: 'web_search' }] }],
    [{ tools: [{ type: 'code_execution_20250825', name: 'code_execution' }] }],
    [{ messages: [{ role: 'user', content: [{ type: 'document', source: { type: 'file', file_id: 'f' } }] }] }],
    [{ messages: [{ role: 'user', content: [{ type: 'document', source: { type: 'url', url: 'https://x' } }] }] }],
    [{ messages: [{ role: 'user', content: [{ type: 'container_upload', file_id: 'f' }] }] }],
  ])('knows that it cannot see all of %j', (members) => {
    expect(read(members).input.unseen).toBe(true)
  })

  it('sees what the caller runs itself', () => {
    const tools = [{ type: 'custom', name: 'a' }, { type: 'bash_20250124', name: 'bash' }, { name: 'b' }]
    expect(read({ tools, mcp_servers: [], container: null }).input.unseen).toBe(false)
  })
})

describe('editing a message', () => {
  const edit = (members: object, maxOutputTokens: number) => {
    const body = bodyOf({ ...BASE, ...members })
    const call = anthropicMessages.read(body, { name: 'chat', read: false })
    return JSON.parse(textOf(anthropicMessages.edit(body, call, { maxOutputTokens }))) as object
  }

  it('lowers every limit', () => {
    expect(edit({}, 500)).toEqual({ ...BASE, max_tokens: 500 })
    expect(edit({ max_tokens: 100 }, 500)).toEqual({ ...BASE, max_tokens: 100 })
    expect(edit({ max_tokens: 0 }, 500)).toEqual({ ...BASE, max_tokens: 0 })
    expect(edit({ max_tokens: null }, 500)).toEqual({ ...BASE, max_tokens: 500 })
    const thinking = { type: 'enabled', budget_tokens: 9000 }
    expect(edit({ thinking }, 500)).toEqual({ ...BASE, max_tokens: 500, thinking: { ...thinking, budget_tokens: 499 } })
    expect(
      edit(
        {
          fallbacks: [
            { model: 'x', max_tokens: 900 },
            { model: 'y', max_tokens: 9 },
          ],
        },
        500,
      ),
    ).toEqual({
      ...BASE,
      max_tokens: 500,
      fallbacks: [
        { model: 'x', max_tokens: 500 },
        { model: 'y', max_tokens: 9 },
      ],
    })
  })
})
