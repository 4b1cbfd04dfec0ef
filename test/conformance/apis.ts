/** How each API is called, and where its replies and errors say what. */

export interface Ask {
  readonly model: string
  readonly maxTokens: number
  readonly stream: boolean
}

export interface ApiCase {
  readonly name: string
  path(ask: Ask): string
  /** How the API's own SDK sends its key: as a header, or as the query parameter `key`. */
  readonly keyIn: 'authorization' | 'x-api-key' | 'api-key' | 'x-goog-api-key' | 'query'
  readonly headers?: Readonly<Record<string, string>>
  body(ask: Ask): Readonly<Record<string, unknown>>
  /** Text of a whole reply. */
  said(reply: unknown): unknown
  /** Text in one event of a stream; anything but a string is none. */
  saidIn(event: unknown): unknown
  /** The stable code in an error body. */
  code(body: unknown): unknown
  /** What every stream ends with. */
  readonly lastEvent: string | RegExp
}

const PROMPT = 'Write one plain sentence about the sea.'
const MESSAGES = [{ role: 'user', content: PROMPT }]

/** The value at a path of keys and indexes; undefined where there is none. */
export function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  let found = value
  for (const key of path) {
    if (typeof found !== 'object' || found === null) return undefined
    found = (found as Readonly<Record<string | number, unknown>>)[key]
  }
  return found
}

const openAiCode = (body: unknown): unknown => at(body, 'error', 'code')
const streaming = ({ stream }: Ask): object => (stream ? { stream: true } : {})

const chatBody = (ask: Ask): Readonly<Record<string, unknown>> => ({
  model: ask.model,
  messages: MESSAGES,
  max_tokens: ask.maxTokens,
  ...streaming(ask),
})

export const chat: ApiCase = {
  name: 'OpenAI chat completions',
  path: () => '/v1/chat/completions',
  keyIn: 'authorization',
  body: chatBody,
  said: (reply) => at(reply, 'choices', 0, 'message', 'content'),
  saidIn: (event) => at(event, 'choices', 0, 'delta', 'content'),
  code: openAiCode,
  lastEvent: '[DONE]',
}

export const messages: ApiCase = {
  name: 'Anthropic messages',
  path: () => '/v1/messages',
  keyIn: 'x-api-key',
  headers: { 'anthropic-version': '2023-06-01' },
  body: chatBody,
  said: (reply) => at(reply, 'content', 0, 'text'),
  saidIn: (event) => at(event, 'delta', 'text'),
  code: (body) => at(body, 'error', 'details', 'error_code'),
  lastEvent: '{"type":"message_stop"}',
}

export const gemini: ApiCase = {
  name: 'Gemini generateContent',
  path: ({ model, stream }) =>
    `/v1beta/models/${model}:${stream ? 'streamGenerateContent?alt=sse' : 'generateContent'}`,
  keyIn: 'x-goog-api-key',
  body: ({ maxTokens }) => ({
    contents: [{ role: 'user', parts: [{ text: PROMPT }] }],
    generationConfig: { maxOutputTokens: maxTokens },
  }),
  said: (reply) => at(reply, 'candidates', 0, 'content', 'parts', 0, 'text'),
  saidIn: (event) => at(event, 'candidates', 0, 'content', 'parts', 0, 'text'),
  code: (body) => at(body, 'error', 'details', 0, 'metadata', 'code'),
  lastEvent: /"finishReason":"(?:STOP|MAX_TOKENS)"/,
}

export const APIS: readonly ApiCase[] = [
  chat,
  {
    ...chat,
    name: 'Azure chat completions',
    path: ({ model }) => `/openai/deployments/${model}/chat/completions?api-version=2024-10-21`,
    keyIn: 'api-key',
  },
  {
    ...chat,
    name: 'OpenAI completions',
    path: () => '/v1/completions',
    body: (ask) => ({ model: ask.model, prompt: PROMPT, max_tokens: ask.maxTokens, ...streaming(ask) }),
    said: (reply) => at(reply, 'choices', 0, 'text'),
    saidIn: (event) => at(event, 'choices', 0, 'text'),
  },
  {
    ...chat,
    name: 'OpenAI responses',
    path: () => '/v1/responses',
    body: (ask) => ({ model: ask.model, input: PROMPT, max_output_tokens: ask.maxTokens, ...streaming(ask) }),
    said: (reply) => at(reply, 'output', 0, 'content', 0, 'text'),
    saidIn: (event) => (at(event, 'type') === 'response.output_text.delta' ? at(event, 'delta') : undefined),
    lastEvent: /^\{"type":"response\.(?:completed|incomplete)"/,
  },
  messages,
  gemini,
  {
    ...gemini,
    name: 'Gemini with its key in the query',
    path: ({ model, stream }) =>
      `/v1beta/models/${model}:${stream ? 'streamGenerateContent?alt=sse' : 'generateContent?x=1'}`,
    keyIn: 'query',
  },
]
