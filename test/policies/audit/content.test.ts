import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { contentOf } from '../../../policies/audit/content.ts'
import { createRedactor } from '../../../policies/redaction/index.ts'

const EMAIL = 'marie.curie@sorbonne.example'

function keep(body: string | Uint8Array) {
  return contentOf({ bytes: Buffer.from(body) }, '', {
    content: 'redacted',
    maxBytes: 16_384,
    hashKey: undefined,
    redactor: createRedactor(),
    now: () => 0,
    onFault: () => undefined,
  })
}

describe('what is kept of a body', () => {
  it('is made from one decoding of its bytes', () => {
    const decode = vi.spyOn(TextDecoder.prototype, 'decode')
    onTestFinished(() => decode.mockRestore())
    const content = keep(JSON.stringify({ messages: [{ role: 'user', content: `Ask ${EMAIL}` }] }))
    expect(content['portcullis.content.request']).toBe('{"messages":[{"role":"user","content":"Ask [EMAIL]"}]}')
    expect(decode).toHaveBeenCalledTimes(1)
  })

  it.each([
    ['plain text', `Ask ${EMAIL}`, 'Ask [EMAIL]'],
    ['broken JSON', `{"content":"${EMAIL}"`, '{"content":"[EMAIL]"'],
    ['a JSON string', JSON.stringify(EMAIL), '[EMAIL]'],
    ['JSON behind a byte order mark', `\ufeff{"content":"${EMAIL}"}`, '{"content":"[EMAIL]"}'],
    ['nothing', '', ''],
  ])('is redacted, be it %s', (_name, body, expected) => {
    expect(keep(body)['portcullis.content.request']).toBe(expected)
  })

  it('is nothing where the bytes are no text', () => {
    expect(keep(Uint8Array.of(0x7b, 0xff))).toEqual({ 'portcullis.content.request.dropped': 'unreadable' })
  })
})
