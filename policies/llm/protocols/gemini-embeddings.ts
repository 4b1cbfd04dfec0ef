/** Gemini's embedContent and batchEmbedContents. Nothing is generated. */

import { emptyInput } from '../content.ts'
import { decisive, invalid, isObject, type JsonBody, type JsonObject, refuseLookalikes } from '../json.ts'
import type { LlmCall, Operation, Protocol } from '../protocol.ts'
import { readOnce } from '../read-once.ts'
import type { Usage } from '../usage.ts'
import { assertSameModel, readGeminiUsage, verbRecogniser } from './gemini.ts'
import { geminiErrorBody } from './gemini-errors.ts'
import { collectContent } from './gemini-input.ts'

const DECISIVE = decisive('model', 'content', 'requests')

export const geminiEmbeddings: Protocol = {
  id: 'gemini-embeddings',
  provider: 'gcp.gemini',
  recognise: verbRecogniser([
    { verb: 'embedContent', name: 'embeddings', protocol: () => geminiEmbeddings },
    { verb: 'batchEmbedContents', name: 'embeddings', protocol: () => geminiEmbeddings },
    { verb: 'asyncBatchEmbedContent', name: 'batches' },
  ]),
  read: readOnce(read),
  edit: (body) => body.bytes,
  replyUsage,
  usageMember: 'usageMetadata',
  usageMark: '"usageMetadata"',
  usagePaths: ['usageMetadata'],
  eventUsage: () => undefined,
  isUsageEvent: () => false,
  eventText: () => '',
  textKeys: [],
  skipKeys: [],
  finalTypes: [],
  isFinalEvent: () => false,
  finalTemplate: () => '',
  errorBody: geminiErrorBody,
  rateLimitHeaders: 'none',
}

function read({ value: body }: JsonBody, operation: Operation): LlmCall {
  const { model } = operation
  if (model === undefined) throw invalid('The path names no model.')
  const input = emptyInput()
  for (const request of [body, ...readRequests(body)]) {
    refuseLookalikes(request, DECISIVE)
    assertSameModel(request, model)
    collectContent(request.content, input)
  }
  return {
    protocol: geminiEmbeddings,
    operation: operation.name,
    model,
    stream: false,
    candidates: 1,
    generates: false,
    reasoning: false,
    input,
    unmetered: false,
    needsUsageSwitch: false,
  }
}

function readRequests(body: JsonObject): readonly JsonObject[] {
  if (body.requests === undefined || body.requests === null) return []
  if (!Array.isArray(body.requests) || !body.requests.every(isObject))
    throw invalid('The field "requests" must be a list of objects.')
  return body.requests
}

function replyUsage(reply: unknown): Usage | undefined {
  const usage = isObject(reply) ? readGeminiUsage(reply.usageMetadata) : undefined
  // That no output is reported is no gap: there is none.
  return usage === undefined ? undefined : { outputTokens: 0, ...usage }
}
