import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type CompletionOptions,
  createCompletionReader,
  type ReplyContent,
} from '../../../policies/audit/completion.ts'
import { protocolById } from '../../../policies/llm/protocols/index.ts'
import { createRedactor } from '../../../policies/redaction/index.ts'

const EMAIL = 'marie.curie@sorbonne.example'
const KEY = 'AKIAQ3EGRZT5XW7PLM2N'

function read(chunks: readonly (string | Uint8Array)[], more: Partial<CompletionOptions> = {}): ReplyContent {
  const reader = createCompletionReader({
    content: 'redacted',
    maxBytes: 16_384,
    hashKey: undefined,
    redactor: createRedactor(),
    now: () => 0,
    onFault: () => undefined,
    protocol: protocolById('openai-chat'),
    tenant: '',
    maxBodyBytes: 1_048_576,
    ...more,
  })
  for (const chunk of chunks) reader?.push(Buffer.from(chunk))
  return reader?.content() ?? {}
}

const event = (data: object) => `data: ${JSON.stringify(data)}\n\n`
const delta = (content: string, index = 0) => event({ choices: [{ index, delta: { content } }] })
const cut = (bytes: Uint8Array, sizes: readonly number[]) => {
  const pieces: Uint8Array[] = []
  let from = 0
  for (let turn = 0; from < bytes.length; turn += 1) {
    const size = sizes[turn % sizes.length] ?? 1
    pieces.push(bytes.subarray(from, from + size))
    from += size
  }
  return pieces
}

describe('a stream', () => {
  it('is put together and redacted, wherever it was cut', () => {
    const text = `Schreib an ${EMAIL}, grüße ihn, und nimm ${KEY}.`
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
        fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1 }),
        (tokens, chunks) => {
          const characters = [...text]
          const events: string[] = []
          for (let at = 0, turn = 0; at < characters.length; turn += 1) {
            const size = tokens[turn % tokens.length] ?? 1
            events.push(delta(characters.slice(at, at + size).join('')))
            at += size
          }
          const bytes = Buffer.from(`${events.join('')}data: [DONE]\n\n`)
          const content = read(cut(bytes, chunks))
          expect(content['portcullis.content.response']).toMatch(
            /^Schreib an \[EMAIL\], grüße ihn, und nimm \[AWS\w*\]\.$/,
          )
        },
      ),
      { numRuns: 100 },
    )
  })

  it('with candidates that alternate hides what is spread over them', () => {
    const [one, other] = [`I am ${EMAIL}`, `Key ${KEY} here`]
    const events: string[] = []
    for (let at = 0; at < 40; at += 1) {
      if (at < one.length) events.push(delta(one[at] ?? '', 0))
      if (at < other.length) events.push(delta(other[at] ?? '', 1))
    }
    const content = read([events.join('')])
    expect(content['portcullis.content.response']).toMatch(/^I am \[EMAIL\]\nKey \[AWS\w*\] here$/)
    expect(Object.values(content['portcullis.content.response.findings'] ?? {})).toEqual([1, 1])
  })

  it('holds no half of a secret whose rest came when there was no room any more', () => {
    const [half, rest] = [KEY.slice(0, 10), KEY.slice(10)]
    const flood = (index: number) => delta('word '.repeat(4_096), index)
    for (const events of [
      [delta(`Key ${half}`, 0), flood(1), delta(`${rest} here`, 0)],
      [flood(1), delta(`Key ${half}`, 0), delta(`${rest} here`, 0)],
    ]) {
      const content = read(events)
      expect(content['portcullis.content.response']).toContain('word word')
      expect(content['portcullis.content.response']).not.toContain(half)
      expect(content['portcullis.content.response.truncated']).toBe(true)
    }
    // What came as a whole is kept.
    expect(read([delta(`Key ${KEY}`, 0), flood(1)])['portcullis.content.response']).toMatch(/^Key \[AWS\w*\]\nword /)
  })

  it('holds no half of a secret whose other half was in an event too large to read', () => {
    const [half, rest] = [KEY.slice(0, 10), KEY.slice(10)]
    const huge = delta(`${'x'.repeat(1_100_000)}`, 2)
    const content = read([
      delta('Hello.', 3),
      delta(`Key ${half}`, 0),
      huge,
      delta(`${rest} here`, 0),
      delta(`${rest} there`, 1),
    ])
    expect(JSON.stringify(content)).not.toContain(half)
    expect(JSON.stringify(content)).not.toContain(rest)
    expect(content['portcullis.content.response.truncated']).toBe(true)
  })

  it('may call tools with arguments that hold a secret', () => {
    const part = (text: string) =>
      event({ choices: [{ index: 0, delta: { tool_calls: [{ index: 0, function: { arguments: text } }] } }] })
    const content = read([part('{"to":"marie.cur'), part('ie@sorbonne.ex'), part('ample"}')])
    expect(content['portcullis.content.response']).toBe('{"to":"[EMAIL]"}')
  })

  it.each([
    ['openai-chat', 'openai-chat.sse'],
    ['openai-responses', 'openai-responses.sse'],
    ['anthropic-messages', 'anthropic.sse'],
    ['gemini-generate', 'gemini.sse'],
    ['openai-completions', 'openai-completion.sse'],
  ])('of %s, as recorded, has its text, whatever the chunks', (protocol, file) => {
    const bytes = readFileSync(new URL(`../../fixtures/llm/${file}`, import.meta.url))
    const options = { protocol: protocolById(protocol) }
    const whole = read([bytes], options)
    expect(whole['portcullis.content.response']?.length).toBeGreaterThan(1)
    expect(read(cut(bytes, [1]), options)).toEqual(whole)
    expect(read(cut(bytes, [7, 13]), options)).toEqual(whole)
  })

  it('says that it is cut where text lies deeper than is read', () => {
    const deep = `${'{"a":'.repeat(40)}{"content":"hidden"}${'}'.repeat(40)}`
    const content = read([delta('Hello'), `data: {"choices":[{"index":0,"delta":${deep}}]}\n\n`])
    expect(content).toEqual({
      'portcullis.content.response': 'Hello',
      'portcullis.content.response.truncated': true,
    })
  })

  it('without an end keeps what came', () => {
    expect(read([delta('Hello '), delta('wor')])['portcullis.content.response']).toBe('Hello wor')
  })

  it('that runs for ever takes a bounded memory', () => {
    const reader = createCompletionReader({
      content: 'redacted',
      maxBytes: 1_000,
      hashKey: undefined,
      redactor: createRedactor(),
      now: () => 0,
      onFault: () => undefined,
      protocol: protocolById('openai-chat'),
      tenant: '',
      maxBodyBytes: 10_000,
    })
    const piece = Buffer.from(delta(`${'word '.repeat(500)}`))
    for (let turn = 0; turn < 2_000; turn += 1) reader?.push(piece)
    for (let index = 0; index < 5_000; index += 1) reader?.push(Buffer.from(delta('x', index)))
    const content = reader?.content() ?? {}
    expect(content['portcullis.content.response']?.length).toBeLessThanOrEqual(1_000)
    expect(content['portcullis.content.response.truncated']).toBe(true)
  })
})

describe('a whole reply', () => {
  it('is redacted as a body', () => {
    const json = JSON.stringify({ choices: [{ message: { content: `Ask ${EMAIL}` } }] })
    expect(read(cut(Buffer.from(json), [3]))['portcullis.content.response']).toBe(
      '{"choices":[{"message":{"content":"Ask [EMAIL]"}}]}',
    )
  })

  it('over the size that is read is left out', () => {
    expect(read(['{"a":"', 'x'.repeat(2_000), '"}'], { maxBodyBytes: 1_000 })).toEqual({
      'portcullis.content.response.dropped': 'too_large',
    })
  })

  it.each([['<html>503'], [Uint8Array.of(0x1f, 0x8b, 8, 0, 1, 2, 3)], ['plain text']])(
    'that nobody can read is left out: %s',
    (reply) => {
      expect(read([reply])).toEqual({ 'portcullis.content.response.dropped': 'unreadable' })
    },
  )

  it('is dropped when redaction fails, never logged', () => {
    const faults: unknown[] = []
    const broken = {
      ...createRedactor(),
      find() {
        throw new Error(EMAIL)
      },
    }
    for (const chunk of [delta(EMAIL), `{"a":"${EMAIL}"}`])
      expect(read([chunk], { redactor: broken, onFault: (error) => faults.push(error) })).toEqual({
        'portcullis.content.response.dropped': 'redaction_failed',
      })
    expect(faults).toHaveLength(2)
  })

  it('that is empty leaves nothing', () => {
    expect(read([])).toEqual({})
    expect(read(['  \n'])).toEqual({})
    expect(createCompletionReader({ content: 'none' } as CompletionOptions)).toBeUndefined()
  })
})
