import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseJsonBody } from '../../../policies/llm/json.ts'
import type { Operation } from '../../../policies/llm/protocol.ts'
import { geminiGenerate } from '../../../policies/llm/protocols/gemini-generate.ts'
import { openAiChat } from '../../../policies/llm/protocols/openai-chat.ts'
import { readOnce } from '../../../policies/llm/read-once.ts'
import { bytesOf, refusalOf } from './support.ts'

const CHAT: Operation = { name: 'chat', read: false, protocol: openAiChat }
const BODY = JSON.stringify({ model: 'gpt-4o', messages: [{ role: 'user', content: 'Hi' }] })

describe('a body', () => {
  it('is parsed once for the same bytes, and again for equal ones', () => {
    const bytes = bytesOf(BODY)
    expect(parseJsonBody(bytes)).toBe(parseJsonBody(bytes))
    expect(parseJsonBody(bytesOf(BODY))).not.toBe(parseJsonBody(bytes))
  })

  it('is refused as often as it is read', () => {
    const bytes = bytesOf('{"a":1,"a":2}')
    const refusals = [1, 2].map(() => refusalOf(() => parseJsonBody(bytes)))
    expect(refusals[0]).toEqual(refusals[1])
  })
})

describe('a call', () => {
  it('is understood once for the same body and operation', () => {
    let reads = 0
    const read = readOnce((body, operation) => {
      reads += 1
      return openAiChat.read(body, operation)
    })
    const body = parseJsonBody(bytesOf(BODY))
    expect(read(body, CHAT)).toBe(read(body, { ...CHAT }))
    expect(reads).toBe(1)
  })

  it('is what a first reading says, whatever operations came before', () => {
    const operation = fc.record(
      {
        name: fc.constantFrom('chat' as const, 'responses' as const),
        read: fc.boolean(),
        model: fc.constantFrom('gpt-4o', 'gemini-2.5-pro'),
        stream: fc.boolean(),
      },
      { requiredKeys: ['name', 'read'] },
    )
    const text = JSON.stringify({ model: 'gpt-4o', messages: [], contents: [{ parts: [{ text: 'Hi' }] }] })
    fc.assert(
      fc.property(
        fc.constantFrom(openAiChat, geminiGenerate),
        fc.array(operation, { minLength: 2 }),
        (protocol, all) => {
          const shared = parseJsonBody(bytesOf(text))
          const outcome = (body: typeof shared, one: Operation) => {
            try {
              return protocol.read(body, one)
            } catch (error) {
              return String(error)
            }
          }
          for (const one of all) expect(outcome(shared, one)).toEqual(outcome(parseJsonBody(bytesOf(text)), one))
        },
      ),
    )
  })

  it('is refused as often as it is read', () => {
    const body = parseJsonBody(bytesOf('{"model":"gpt-4o"}'))
    for (let time = 0; time < 2; time += 1)
      expect(refusalOf(() => openAiChat.read(body, CHAT)).message).toContain('messages')
  })
})
