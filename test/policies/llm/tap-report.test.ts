import { describe, expect, it } from 'vitest'
import { PortcullisError } from '../../../policies/errors.ts'
import { estimateDelivered } from '../../../policies/llm/estimate.ts'
import { PROTOCOL_IDS, PROTOCOLS, protocolById, requireProtocol } from '../../../policies/llm/protocols/index.ts'
import { parseSse } from '../../../policies/llm/sse.ts'
import { readReport, usageFromEvents } from '../../../policies/llm/tap-report.ts'
import { tapWire } from '../../../policies/llm/tap-wire.ts'
import { fixture } from './support.ts'

const candidates = (name: string, mark: string) =>
  parseSse(fixture(name))
    .map((event) => event.data)
    .filter((data) => data.includes(mark) && !data.includes(`${mark}:null`))

describe('usageFromEvents', () => {
  it.each([
    ['openai-chat.sse', 'openai-chat', { inputTokens: 19, cachedInputTokens: 4, outputTokens: 10, reasoningTokens: 3 }],
    ['vllm-chat-continuous.sse', 'openai-chat', { inputTokens: 31, outputTokens: 4 }],
    ['groq-chat-older.sse', 'openai-chat', { inputTokens: 45, outputTokens: 7 }],
    [
      'anthropic.sse',
      'anthropic-messages',
      { inputTokens: 117, cachedInputTokens: 100, cacheCreationTokens: 5, outputTokens: 30 },
    ],
    [
      'openai-responses.sse',
      'openai-responses',
      { inputTokens: 50, cachedInputTokens: 16, outputTokens: 84, reasoningTokens: 64 },
    ],
    [
      'gemini.sse',
      'gemini-generate',
      { inputTokens: 940, cachedInputTokens: 512, outputTokens: 191, reasoningTokens: 185 },
    ],
  ])('reads the first and the last three candidates of %s', (name, id, expected) => {
    const protocol = requireProtocol(id)
    const all = candidates(name, protocol.usageMark)
    const kept = all.length > 4 ? [all[0] as string, ...all.slice(-3)] : all
    expect(usageFromEvents(protocol, kept)).toEqual(expected)
  })

  it('reads an event that was reduced to what matters', () => {
    const reduced = '{"type":"response.completed","response":{"usage":{"input_tokens":5,"output_tokens":6}}}'
    expect(usageFromEvents(requireProtocol('openai-responses'), [reduced])).toEqual({ inputTokens: 5, outputTokens: 6 })
  })

  it('drops a running figure', () => {
    const events = candidates('vllm-chat-continuous.sse', '"usage"').slice(0, 3)
    expect(usageFromEvents(requireProtocol('openai-chat'), events)).toEqual({ inputTokens: 31 })
  })
})

describe('readReport', () => {
  it('reads what a tap saw', () => {
    const report = { events: candidates('openai-chat.sse', '"usage"'), characters: [5, 1, 2, 1], ended: 'final' }
    expect(readReport('openai-chat', report)).toEqual({
      usage: { inputTokens: 19, cachedInputTokens: 4, outputTokens: 10, reasoningTokens: 3 },
      delivered: { characters: [5, 1, 2, 1] },
      sawFinal: true,
      cut: false,
    })
    expect(readReport('openai-embeddings', { usage_json: ' {"prompt_tokens":12}', ended: 'final' })).toMatchObject({
      usage: { inputTokens: 12, outputTokens: 0 },
    })
    expect(readReport('openai-chat', { ended: 'cut' })).toEqual({ sawFinal: false, cut: true })
  })

  it.each([
    [undefined],
    [null],
    ['x'],
    [[]],
    [{}],
    [{ events: {}, characters: [], ended: 5 }],
    [{ events: [5, null, 'not json', '{', '[]', 'null'], usage_json: '{' }],
    [{ events: 'x', usage_json: 5, characters: [1, 2, 3] }],
    [{ characters: [1, -2, 3, 4] }],
    [{ characters: [1, 2, 3, '4'] }],
    [{ characters: [0, 0, 0, 0] }],
    [{ usage_json: '{"usage":{"prompt_tokens":5}}' }],
    [{ usage_json: '[]' }],
  ])('takes nothing on trust: %j', (report) => {
    for (const id of [...PROTOCOL_IDS, 'no-such-protocol'])
      expect(readReport(id, report)).toEqual({ sawFinal: false, cut: false })
  })
})

describe('tapWire', () => {
  it('is plain data without nulls', () => {
    for (const { id } of PROTOCOLS) {
      const wire = tapWire({ protocol: id, stream: true, withholdUsage: true, maxOutputTokens: 5, candidates: 2 })
      expect(JSON.parse(JSON.stringify(wire))).toEqual(wire)
      expect(Object.values(wire).flat()).not.toContain(null)
    }
  })

  it('says what a tap must know', () => {
    const wire = tapWire({ protocol: 'anthropic-messages', stream: true, withholdUsage: false })
    expect(wire).toMatchObject({
      protocol: 'anthropic-messages',
      stream: true,
      withhold_usage: false,
      usage_mark: '"usage"',
      usage_member: 'usage',
      usage_paths: ['usage', 'message.usage'],
      final_types: ['message_stop'],
    })
    expect(wire).not.toHaveProperty('max_output_tokens')
    expect(tapWire({ protocol: 'openai-chat', stream: true, withholdUsage: true })).not.toHaveProperty('final_types')
  })

  it('weighs characters as the estimate does', () => {
    const { token_weights } = tapWire({ protocol: 'openai-chat', stream: true, withholdUsage: true })
    const characters = [4000, 300, 2000, 100] as const
    const linear = characters.reduce((sum, count, index) => sum + count * (token_weights[index] ?? Number.NaN), 0)
    expect(Math.abs(linear - estimateDelivered({ characters }))).toBeLessThanOrEqual(1)
  })

  it('knows its protocols', () => {
    expect(protocolById('openai-chat')?.id).toBe('openai-chat')
    expect(protocolById('nope')).toBeUndefined()
    expect(() => tapWire({ protocol: 'nope', stream: true, withholdUsage: false })).toThrow(PortcullisError)
    expect(new Set(PROTOCOL_IDS).size).toBe(PROTOCOL_IDS.length)
  })
})
