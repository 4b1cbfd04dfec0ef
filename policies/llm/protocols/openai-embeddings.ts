/** OpenAI's embeddings, and Azure, Mistral and vLLM in the same shape. Nothing is generated. */

import { collect, emptyInput } from '../content.ts'
import { decisive, isObject, type JsonBody, refuseLookalikes } from '../json.ts'
import type { LlmCall, Operation, Protocol } from '../protocol.ts'
import { readOnce } from '../read-once.ts'
import type { Usage } from '../usage.ts'
import { readModels, readOpenAiUsage, recogniser } from './openai.ts'
import { collectPrompts } from './openai-completions.ts'
import { openAiErrorBody } from './openai-errors.ts'
import { collectSurroundings, OPENAI_PARTS } from './openai-input.ts'

const DECISIVE = decisive('model', 'models', 'input')

export const openAiEmbeddings: Protocol = {
  id: 'openai-embeddings',
  provider: 'openai',
  recognise: recogniser('/embeddings', 'embeddings', () => openAiEmbeddings),
  read: readOnce(read),
  edit: (body) => body.bytes,
  replyUsage,
  usageMember: 'usage',
  usageMark: '"usage"',
  usagePaths: ['usage'],
  eventUsage: () => undefined,
  isUsageEvent: () => false,
  eventText: () => '',
  textKeys: [],
  skipKeys: [],
  finalTypes: [],
  isFinalEvent: () => false,
  finalTemplate: () => '',
  errorBody: openAiErrorBody,
  rateLimitHeaders: 'openai',
}

function read({ value: body }: JsonBody, operation: Operation): LlmCall {
  refuseLookalikes(body, DECISIVE)
  const input = emptyInput()
  // vLLM embeds chat messages as well, multimodal servers lists of parts.
  if (isPartList(body.input)) collect(body.input, input, OPENAI_PARTS)
  else collectPrompts(body.input, 'input', input)
  collectSurroundings(body, input, ['input'])
  return {
    protocol: openAiEmbeddings,
    operation: operation.name,
    ...readModels(body, operation),
    stream: false,
    candidates: 1,
    generates: false,
    reasoning: false,
    input,
    unmetered: false,
    needsUsageSwitch: false,
  }
}

function isPartList(value: unknown): boolean {
  return Array.isArray(value) && value.length > 0 && value.every(isObject)
}

function replyUsage(reply: unknown): Usage | undefined {
  const usage = isObject(reply) ? readOpenAiUsage(reply.usage) : undefined
  // That no output is reported is no gap: there is none.
  return usage === undefined ? undefined : { outputTokens: 0, ...usage }
}
