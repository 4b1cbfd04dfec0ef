/**
 * Google's Gemini. Shapes: vercel/ai `packages/google/src/__fixtures__/google-text.{json,chunks.txt}` and
 * `google-429-retry-info.json`; without `alt=sse` a stream is one JSON array (google-gemini/generative-ai-js, and
 * discuss.google.dev/t/146282).
 */

import { type Api, type ModelCall, type Operation, wholeNumber } from './api.ts'
import { countInput, type Generation, report } from './generation.ts'

const ERRORS: Readonly<Record<number, readonly [string, string]>> = {
  400: ['INVALID_ARGUMENT', 'Invalid JSON payload received.'],
  401: ['UNAUTHENTICATED', 'Request had invalid authentication credentials.'],
  404: ['NOT_FOUND', 'Requested entity was not found.'],
  429: ['RESOURCE_EXHAUSTED', 'You exceeded your current quota, please check your plan.'],
  503: ['UNAVAILABLE', 'The model is overloaded. Please try again later.'],
}

const PATH =
  /^\/(?:v1|v1beta)\/(?:projects\/[^/]+\/locations\/[^/]+\/publishers\/google\/)?models\/([^/:]+):([A-Za-z]+)$/

export const gemini: Api = {
  name: 'gemini',
  find: (method, path) => (method === 'POST' ? POSTS[PATH.exec(path)?.[2] ?? ''] : undefined),
  failure(status, message) {
    const [name, text] = ERRORS[status] ?? ['INTERNAL', 'An internal error has occurred.']
    return { error: { code: status, message: message ?? text, status: name } }
  },
}

function read(call: ModelCall, input: unknown): ReturnType<Operation['read']> {
  if (input === undefined) return { status: 400, body: gemini.failure(400, 'contents is not specified') }
  const config = call.body.generationConfig
  const settings: Readonly<Record<string, unknown>> = typeof config === 'object' && config !== null ? { ...config } : {}
  const maxOutput = wholeNumber(settings.maxOutputTokens)
  return {
    model: decodeURIComponent(PATH.exec(call.path)?.[1] ?? ''),
    inputTokens: countInput([input, call.body.systemInstruction, call.body.tools]) + 3,
    ...(maxOutput === undefined ? {} : { maxOutput }),
    candidates: wholeNumber(settings.candidateCount) ?? 1,
  }
}

function chunk(generation: Generation, text: string, said: number, last: boolean): object {
  const candidates = said * generation.candidates
  const thoughts = generation.reasoningTokens * generation.candidates
  return {
    candidates: Array.from({ length: generation.candidates }, (_, index) => ({
      content: { parts: [{ text }], role: 'model' },
      ...(last ? { finishReason: generation.finish === 'stop' ? 'STOP' : 'MAX_TOKENS' } : {}),
      index,
    })),
    usageMetadata: report(generation.usage, {
      promptTokenCount: generation.inputTokens,
      candidatesTokenCount: candidates,
      totalTokenCount: generation.inputTokens + candidates + thoughts,
      promptTokensDetails: [{ modality: 'TEXT', tokenCount: generation.inputTokens }],
      ...(generation.cachedTokens > 0 ? { cachedContentTokenCount: generation.cachedTokens } : {}),
      ...(thoughts > 0 ? { thoughtsTokenCount: thoughts } : {}),
    }),
    modelVersion: generation.model,
    responseId: generation.id,
  }
}

const generateContent: Operation = {
  read: (call) => read(call, call.body.contents),
  stream: () => false,
  reply: (generation) => chunk(generation, generation.pieces.join(''), generation.pieces.length, true),
}

const streamGenerateContent: Operation = {
  ...generateContent,
  stream: () => true,
  framing: (call) => (call.query.get('alt') === 'sse' ? 'sse' : 'array'),
  *frames(generation) {
    for (const [at, piece] of generation.pieces.entries())
      yield { data: JSON.stringify(chunk(generation, piece, at + 1, false)) }
    yield { data: JSON.stringify(chunk(generation, '', generation.pieces.length, true)) }
  },
  *failureFrames() {
    yield { data: JSON.stringify(gemini.failure(503)) }
  },
}

const countTokens: Operation = {
  read: (call) => read(call, call.body.contents),
  stream: () => false,
  reply: (generation) => ({
    totalTokens: generation.inputTokens,
    promptTokensDetails: [{ modality: 'TEXT', tokenCount: generation.inputTokens }],
  }),
}

const embedContent: Operation = {
  read: (call) => read(call, call.body.content),
  stream: () => false,
  reply: () => ({ embedding: { values: [0.013168517, -0.00871193, -0.046782672] } }),
}

const POSTS: Readonly<Record<string, Operation>> = { generateContent, streamGenerateContent, countTokens, embedContent }
