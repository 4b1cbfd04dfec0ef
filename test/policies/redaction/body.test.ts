import { describe, expect, test } from 'vitest'
import { redactBody } from '../../../policies/redaction/index.ts'

const MAIL = 'jane@example.com'
const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='

/** Bodies in the shapes that the APIs document, each with the address in every place that holds text. */
const BODIES: Readonly<Record<string, unknown>> = {
  'OpenAI chat': {
    model: 'gpt-4o-mini',
    messages: [
      { role: 'system', content: `Answer ${MAIL} politely` },
      { role: 'user', name: 'jane', content: [{ type: 'text', text: `I am ${MAIL}` }] },
      {
        role: 'assistant',
        content: null,
        tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'mail', arguments: `{"to":"${MAIL}"}` } }],
      },
      { role: 'tool', tool_call_id: 'call_1', content: `sent to ${MAIL}` },
    ],
    tools: [
      { type: 'function', function: { name: 'mail', description: `Mails ${MAIL}`, parameters: { type: 'object' } } },
    ],
    metadata: { owner: MAIL },
    user: MAIL,
  },
  'OpenAI responses': {
    model: 'gpt-4o',
    instructions: `Be kind to ${MAIL}`,
    input: [
      { type: 'message', role: 'user', content: [{ type: 'input_text', text: MAIL }] },
      { type: 'function_call', call_id: 'c', name: 'f', arguments: `{"a":"${MAIL}"}` },
      { type: 'function_call_output', call_id: 'c', output: MAIL },
    ],
  },
  'OpenAI prompt list': { model: 'x', prompt: [MAIL, `and ${MAIL}`] },
  Anthropic: {
    model: 'claude-sonnet-4-5',
    system: [{ type: 'text', text: MAIL, cache_control: { type: 'ephemeral' } }],
    messages: [
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 't', content: [{ type: 'text', text: MAIL }] }] },
      {
        role: 'assistant',
        content: [
          { type: 'tool_use', id: 't', name: 'f', input: { to: MAIL, deep: { list: [MAIL] } } },
          { type: 'thinking', thinking: MAIL, signature: 's' },
        ],
      },
    ],
  },
  Gemini: {
    systemInstruction: { parts: [{ text: MAIL }] },
    contents: [
      {
        role: 'user',
        parts: [
          { text: MAIL },
          { functionCall: { name: 'f', args: { to: MAIL } } },
          { functionResponse: { name: 'f', response: { result: MAIL } } },
        ],
      },
    ],
  },
}

describe.each(Object.entries(BODIES))('%s', (_, body) => {
  test('nothing readable is left, and the structure stays', () => {
    const before = JSON.stringify(body)
    const { body: after, findings } = redactBody(body)
    const text = JSON.stringify(after)
    expect(text).not.toContain(MAIL)
    expect(text).toBe(before.replaceAll(MAIL, '[EMAIL]'))
    expect(findings).toHaveLength(before.split(MAIL).length - 1)
    expect(JSON.stringify(body)).toBe(before)
  })
})

test('images, audio and files become placeholders with type and size', () => {
  const { body } = redactBody({
    messages: [
      {
        role: 'user',
        content: [
          { type: 'image_url', image_url: { url: `data:image/png;base64,${PIXEL}` } },
          { type: 'input_audio', input_audio: { data: PIXEL, format: 'wav' } },
        ],
      },
      {
        role: 'user',
        content: [
          { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PIXEL } },
          { type: 'file', file: { filename: 'a.pdf', file_data: `data:application/pdf;base64,${PIXEL}` } },
        ],
      },
    ],
    contents: [{ parts: [{ inlineData: { mimeType: 'video/mp4', data: PIXEL } }] }],
    blob: 'A'.repeat(2_000),
  })
  const text = JSON.stringify(body)
  expect(text).not.toContain('iVBOR')
  for (const placeholder of [
    '[IMAGE image/png 72 bytes]',
    '[AUDIO audio/wav 72 bytes]',
    '[FILE application/pdf 72 bytes]',
    '[VIDEO video/mp4 72 bytes]',
    '[FILE application/octet-stream 1500 bytes]',
  ]) {
    expect(text).toContain(placeholder)
  }
})

test('a long text of plain words is no file, however many there are; base64 in lines is one', () => {
  const words = 'tell me of the sea and of the ships that went out on it '.repeat(40).trim()
  const body = {
    messages: [{ role: 'user', content: words }],
    data: words,
    file_data: 'a few words about nothing at all '.repeat(9),
  }
  expect(redactBody(body)).toEqual({ body, findings: [] })
  const encoded = Buffer.from(Array.from({ length: 900 }, (_, at) => (at * 37) % 251)).toString('base64')
  for (const columns of [64, 76])
    for (const end of ['\n', '\r\n', ' '])
      expect(redactBody({ content: encoded.replace(new RegExp(`.{${columns}}`, 'g'), `$&${end}`) }).body).toEqual({
        content: '[FILE application/octet-stream 900 bytes]',
      })
})

test("a member's name is context for its value", () => {
  const { body } = redactBody({
    input: {
      password: 'correcthorse9',
      ssn: 512345678,
      api_key: '9f8e7d6c5b4a39281706',
      note: 'fine',
      count: 12345678,
    },
  })
  expect(body).toEqual({
    input: { password: '[PASSWORD]', ssn: '[US_SSN]', api_key: '[SECRET]', note: 'fine', count: expect.anything() },
  })
})

test('a number is masked whatever its sign, and stays a number where nothing is found', () => {
  expect(redactBody({ ssn: -512345678, tax: { id: [-4_111_111_111_111_111] }, rate: -12345678.5, small: -15 })).toEqual(
    {
      body: { ssn: '[US_SSN]', tax: { id: ['[CARD]'] }, rate: -12345678.5, small: -15 },
      findings: [
        { type: 'US_SSN', start: 0, end: 9, path: '/ssn' },
        { type: 'CARD', start: 0, end: 16, path: '/tax/id/0' },
      ],
    },
  )
})

test('the name above is context for members that only wrap content', () => {
  const { body } = redactBody({
    password: { value: 'correcthorse9' },
    ssn: { type: 'number', value: 512345678 },
    api_key: { data: { text: ['9f8e7d6c5b4a39281706'] } },
    // The nearest name that says something.
    secret: { note: { value: 'correcthorse9' } },
    messages: [{ role: 'user', content: [{ type: 'text', text: 'correcthorse9' }] }],
    // A form's value would be masked here; a message is none.
    choices: [{ message: { content: '# 0.5.3 - 2015-06-02' } }],
  })
  expect(body).toEqual({
    password: { value: '[PASSWORD]' },
    ssn: { type: 'number', value: '[US_SSN]' },
    api_key: { data: { text: ['[SECRET]'] } },
    secret: { note: { value: 'correcthorse9' } },
    messages: [{ role: 'user', content: [{ type: 'text', text: 'correcthorse9' }] }],
    choices: [{ message: { content: '# 0.5.3 - 2015-06-02' } }],
  })
})

test('keys are redacted too, without losing members', () => {
  const { body } = redactBody({ [MAIL]: 1, 'bob@example.com': 2 })
  expect(body).toEqual({ '[EMAIL]': 1, '[EMAIL]#2': 2 })
})

test('bytes are parsed as JSON, and redacted as text when they are none', () => {
  expect(redactBody(Buffer.from(`{"prompt":"${MAIL}"}`)).body).toEqual({ prompt: '[EMAIL]' })
  expect(redactBody(Buffer.from(`prompt=${MAIL}`)).body).toBe('prompt=[EMAIL]')
})

test('paths are JSON pointers, and a hostile depth is cut', () => {
  expect(redactBody({ 'a/b': ['x', `to ${MAIL}`] }).findings).toEqual([
    { type: 'EMAIL', start: 3, end: 19, path: '/a~1b/1' },
  ])
  let deep: unknown = MAIL
  for (let i = 0; i < 5_000; i++) deep = [deep]
  expect(JSON.stringify(redactBody(deep).body)).not.toContain(MAIL)
})

test('a secret in the place of a protocol’s word is masked, a dated model’s name is not', () => {
  for (const [key, value] of [
    ['model', 'AKIAQ3EGRZT5XWPLMABC'],
    ['role', 'ghp_aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgHiJ'],
  ] as const)
    expect(JSON.stringify(redactBody({ [key]: value }).body)).not.toContain(value)
  for (const model of ['gpt-4o-2024-08-06', 'gpt-4.1-2025-04-14', 'us.anthropic.claude-3-5-sonnet-v2:0', 'o3'])
    expect(redactBody({ model }).body).toEqual({ model })
})

test('an API’s own times are no national numbers, and a number elsewhere may be one', () => {
  // A number of ten digits that passes for an account's, as many a second does.
  const body = { created: 1_795_437_904, choices: [{ created_at: 1_795_437_904 }] }
  expect(redactBody(body)).toEqual({ body, findings: [] })
  const { findings } = redactBody({ choices: 1_795_437_904, created: 4_111_111_111_111_111 })
  expect(findings.map(({ path }) => path)).toEqual(['/choices', '/created'])
})

test('a media type that is none is not repeated where the media was', () => {
  const secret = 'ghp_aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgHiJ'
  const data = 'QUJD'.repeat(40)
  for (const value of [
    { url: `data:${secret}/png;base64,AAAA` },
    { content: `data:image/${secret},hello` },
    { type: 'image', source: { media_type: `image/${secret}`, data } },
    { inlineData: { mimeType: `${secret}/x`, data } },
  ])
    expect(JSON.stringify(redactBody(value).body)).not.toContain(secret)
  expect(redactBody({ url: 'data:image/4111111111111111,x' }).body).toEqual({
    url: '[FILE application/octet-stream 0 bytes]',
  })
  for (const type of ['image/svg+xml', 'audio/L16', 'application/vnd.ms-excel', 'video/mp4'])
    expect(JSON.stringify(redactBody({ inlineData: { mimeType: type, data } }).body)).toContain(` ${type} 120 bytes]`)
})

test('a short name is held to a pattern of the operator’s own', () => {
  const custom = [{ type: 'PIN', pattern: '\\b\\d{4}\\b' }]
  expect(redactBody({ '4711': 'x' }, { custom }).body).toEqual({ '[PIN]': 'x' })
})
