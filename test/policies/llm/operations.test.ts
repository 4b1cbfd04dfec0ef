import { describe, expect, it } from 'vitest'
import { PortcullisError } from '../../../policies/errors.ts'
import { type ExtraOperation, recognise } from '../../../policies/llm/operations.ts'
import { refusalOf } from './support.ts'

const brief = (method: string, path: string, extra?: readonly ExtraOperation[]) => {
  const operation = recognise(method, path, extra)
  if (operation === undefined) return undefined
  const { name, read, protocol, model, stream } = operation
  const flags = [read ? 'read' : '', stream === true ? 'stream' : ''].filter(Boolean)
  return [name, protocol?.id ?? '-', model ?? '-', ...flags].join(' ')
}

describe('metered operations', () => {
  it.each([
    ['/v1/chat/completions', 'chat openai-chat -'],
    ['/chat/completions', 'chat openai-chat -'],
    ['/openai/v1/chat/completions', 'chat openai-chat -'],
    ['/api/v1/chat/completions', 'chat openai-chat -'],
    ['/v1beta/openai/chat/completions', 'chat openai-chat -'],
    ['/openai/deployments/my-gpt4/chat/completions', 'chat openai-chat my-gpt4'],
    ['/v1/projects/p/locations/us-central1/endpoints/openapi/chat/completions', 'chat openai-chat -'],
    ['/v1/completions', 'chat openai-completions -'],
    ['/openai/deployments/davinci-002/completions', 'chat openai-completions davinci-002'],
    ['/v1/embeddings', 'embeddings openai-embeddings -'],
    ['/openai/deployments/ada/embeddings', 'embeddings openai-embeddings ada'],
    ['/v1/responses', 'responses openai-responses -'],
    ['/openai/v1/responses', 'responses openai-responses -'],
    ['/openai/responses', 'responses openai-responses -'],
    ['/v1/messages', 'chat anthropic-messages -'],
    ['/anthropic/v1/messages', 'chat anthropic-messages -'],
    ['/v1/messages/count_tokens', 'chat - - read'],
    ['/v1/responses/input_tokens', 'responses - - read'],
    ['/v1beta/models/gemini-2.5-flash:generateContent', 'chat gemini-generate gemini-2.5-flash'],
    ['/v1/models/gemini-2.5-pro:streamGenerateContent', 'chat gemini-generate gemini-2.5-pro stream'],
    ['/v1alpha/models/gemini-3-pro-preview:generateContent', 'chat gemini-generate gemini-3-pro-preview'],
    ['/v1beta/tunedModels/mine:generateContent', 'chat gemini-generate mine'],
    ['/v1beta/models/gemini-2.5-flash:countTokens', 'chat - gemini-2.5-flash read'],
    ['/v1beta/models/gemini-embedding-001:embedContent', 'embeddings gemini-embeddings gemini-embedding-001'],
    ['/v1beta/models/gemini-embedding-001:batchEmbedContents', 'embeddings gemini-embeddings gemini-embedding-001'],
    ['/v1beta/models/gemini-2.5-flash:batchGenerateContent', 'batches - gemini-2.5-flash'],
    [
      '/v1/projects/p-1/locations/europe-west4/publishers/google/models/gemini-2.5-pro:generateContent',
      'chat gemini-generate gemini-2.5-pro',
    ],
    [
      '/v1beta1/projects/p-1/locations/global/publishers/google/models/gemini-2.5-pro:streamGenerateContent',
      'chat gemini-generate gemini-2.5-pro stream',
    ],
  ])('POST %s is %s', (path, expected) => {
    expect(brief('POST', path)).toBe(expected)
  })
})

describe('operations that nobody meters', () => {
  it.each([
    ['POST', '/v1/images/generations', 'images - -'],
    ['POST', '/openai/deployments/dall-e-3/images/generations', 'images - dall-e-3'],
    ['POST', '/v1/audio/transcriptions', 'audio - -'],
    ['POST', '/v1/audio/speech', 'audio - -'],
    ['POST', '/v1/moderations', 'moderations - -'],
    ['GET', '/v1/files', 'files - - read'],
    ['HEAD', '/v1/files/file-abc', 'files - - read'],
    ['DELETE', '/v1/files/file-abc', 'files - -'],
    ['GET', '/v1/files/file-abc/content', 'files - - read'],
    ['POST', '/v1/batches', 'batches - -'],
    ['POST', '/v1/batches/batch_1/cancel', 'batches - -'],
    ['POST', '/v1/fine_tuning/jobs', 'fine_tuning - -'],
    ['GET', '/v1/fine_tuning/jobs/ftjob-1/events', 'fine_tuning - - read'],
    ['GET', '/v1/models', 'models - - read'],
    ['GET', '/models', 'models - - read'],
    ['GET', '/v1/models/ft:gpt-4o-mini:org::id', 'models - - read'],
    ['GET', '/v1/models/Qwen/Qwen2.5-7B-Instruct', 'models - - read'],
    ['DELETE', '/v1/models/ft:gpt-4o-mini:org::id', 'models - -'],
    ['GET', '/v1beta/models/gemini-2.5-flash', 'models - - read'],
    ['POST', '/v1/messages/batches', 'batches - -'],
    ['GET', '/v1/messages/batches/msgbatch_1/results', 'batches - - read'],
    ['POST', '/upload/v1beta/files', 'files - -'],
  ])('%s %s is %s', (method, path, expected) => {
    expect(brief(method, path)).toBe(expected)
  })
})

describe('what is not recognised', () => {
  it.each([
    ['GET', '/v1/chat/completions'],
    ['DELETE', '/v1/chat/completions'],
    ['PUT', '/v1/chat/completions'],
    ['post', '/v1/chat/completions'],
    ['OPTIONS', '/v1/chat/completions'],
    ['POST', '/v1/chat/completions/'],
    ['POST', '/v1/chat/completions/x'],
    ['POST', '/V1/chat/completions'],
    ['POST', '/v1/Chat/completions'],
    ['POST', '/evil/v1/chat/completions'],
    ['POST', '/v2/chat/completions'],
    ['POST', '/v1/chat%63ompletions'],
    ['POST', '/v1/ch%61t/completions'],
    ['POST', '/v1/responses/resp_1'],
    ['GET', '/v1/responses/resp_1'],
    ['DELETE', '/v1/responses/resp_1'],
    ['POST', '/v1/responses/resp_1/cancel'],
    ['GET', '/v1/responses/resp_1/input_items'],
    ['POST', '/v1/responses/compact'],
    ['GET', '/v1/chat/completions/chatcmpl-1'],
    ['POST', '/v1/threads'],
    ['POST', '/v1/threads/t/runs'],
    ['POST', '/v1/assistants'],
    ['GET', '/v1/realtime'],
    ['POST', '/v1/realtime/sessions'],
    ['POST', '/v1/containers'],
    ['POST', '/v1/vector_stores'],
    ['POST', '/v1/conversations'],
    ['POST', '/v1/complete'],
    ['POST', '/openai/deployments/a/b/chat/completions'],
    ['POST', '/v1beta/models/gemini-2.5-flash'],
    ['POST', '/v1beta/models/gemini-2.5-flash:predict'],
    ['POST', '/v1beta/models/gemini-2.5-flash:generateContent:x'],
    ['POST', '/v1beta/models/gemini-2.5-flash%3AgenerateContent'],
    ['GET', '/v1beta/models/gemini-2.5-flash:generateContent/x'],
    ['POST', '/v1/projects/p/locations/l/publishers/anthropic/models/claude:generateContent'],
    ['POST', '/'],
  ])('%s %s', (method, path) => {
    expect(brief(method, path)).toBeUndefined()
  })
})

describe('paths with two readings', () => {
  it.each([
    '/v1%2Fchat/completions',
    '/v1%2fchat/completions',
    '/v1/chat%25/completions',
    '/v1/files;x=1/completions',
    '/v1/files%3bx',
    '/v1\\chat/completions',
    '/v1%5cchat',
    '/v1/chat/completions%00',
    '/v1/chat/completions\u0000',
    '/v1/chat/completions\u007f',
    '/v1/chat\t/completions',
    '/v1/chat%0a/completions',
    '/v1/../chat/completions',
    '/v1/./chat/completions',
    '/v1/chat/..',
    '/v1/%2e%2e/chat',
    '/v1/%2E/chat',
    '//v1/chat/completions',
    '/v1//chat/completions',
    '/v1/chat/completions?x',
    '/v1/chat/completions#x',
    '/v1/chat%3fx',
    '/v1/chat/%',
    '/v1/chat/%zz',
    '/v1/chät',
    'v1/chat/completions',
    'http://evil/v1/chat/completions',
    '',
  ])('refuses %j', (path) => {
    expect(refusalOf(() => recognise('POST', path)).code).toBe('invalid_request')
  })

  it('never repeats the path', () => {
    expect(refusalOf(() => recognise('GET', '/v1/files%2fsk-secret')).message).not.toContain('secret')
  })
})

describe('operations that the operator adds', () => {
  const extra: readonly ExtraOperation[] = [
    { path: '/llm/chat', operation: 'chat', protocol: 'openai-chat' },
    { path: '/serving/{model}/invocations', operation: 'chat', protocol: 'openai-chat' },
    { method: 'GET', path: '/llm/list', operation: 'models' },
    { path: '/v1/moderations', operation: 'chat', protocol: 'openai-chat' },
  ]

  it('come first', () => {
    expect(brief('POST', '/llm/chat', extra)).toBe('chat openai-chat -')
    expect(brief('POST', '/serving/dbrx/invocations', extra)).toBe('chat openai-chat dbrx')
    expect(brief('GET', '/llm/list', extra)).toBe('models - - read')
    expect(brief('POST', '/v1/moderations', extra)).toBe('chat openai-chat -')
    expect(brief('POST', '/v1/chat/completions', extra)).toBe('chat openai-chat -')
    expect(brief('POST', '/llm/chatx', extra)).toBeUndefined()
    expect(brief('POST', '/serving/a/b/invocations', extra)).toBeUndefined()
  })

  it('need a protocol that exists', () => {
    expect(() => recognise('POST', '/x', [{ path: '/x', operation: 'chat', protocol: 'nope' }])).toThrow(
      PortcullisError,
    )
  })
})
