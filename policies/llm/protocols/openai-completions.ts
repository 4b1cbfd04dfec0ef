/** OpenAI's older completions: one or several prompts, as text or token ids. */

import { addText, emptyInput, type Input } from '../content.ts'
import { eventText } from '../event-text.ts'
import { decisive, invalid, isObject, type JsonBody, refuseLookalikes } from '../json.ts'
import { mayHideReasoning } from '../models.ts'
import type { LlmCall, Operation, Protocol } from '../protocol.ts'
import { readOnce } from '../read-once.ts'
import {
  editOpenAi,
  hidesOutput,
  isUsageChunk,
  LIMIT_FIELDS,
  REASONING_FIELDS,
  readBudget,
  readChunkUsage,
  readModels,
  readOpenAiUsage,
  readStream,
  recogniser,
} from './openai.ts'
import { openAiErrorBody, openAiErrorEvent } from './openai-errors.ts'
import { collectSurroundings } from './openai-input.ts'

const DECISIVE = decisive(
  'model',
  'models',
  'prompt',
  'suffix',
  'stream',
  'stream_options',
  'n',
  'best_of',
  ...LIMIT_FIELDS,
  ...REASONING_FIELDS,
)
const STREAM_OPTIONS = decisive('include_usage')

const TEXT_KEYS = ['text', 'reasoning']
const SKIP_KEYS = ['logprobs']

export const openAiCompletions: Protocol = {
  id: 'openai-completions',
  provider: 'openai',
  recognise: recogniser('/completions', 'chat', () => openAiCompletions),
  read: readOnce(read),
  edit: editOpenAi,
  replyUsage: (reply) => (isObject(reply) ? readOpenAiUsage(reply.usage) : undefined),
  usageMember: 'usage',
  usageMark: '"usage"',
  usagePaths: ['usage', 'x_groq.usage'],
  eventUsage: (event) => readChunkUsage(event, textOf),
  isUsageEvent: isUsageChunk,
  eventText: textOf,
  textKeys: TEXT_KEYS,
  skipKeys: SKIP_KEYS,
  finalTypes: [],
  isFinalEvent: () => false,
  finalTemplate,
  errorBody: openAiErrorBody,
  errorEvent: openAiErrorEvent,
  rateLimitHeaders: 'openai',
}

function textOf(event: unknown): string {
  return eventText(event, TEXT_KEYS, SKIP_KEYS)
}

function read({ value: body }: JsonBody, operation: Operation): LlmCall {
  refuseLookalikes(body, DECISIVE)
  if (isObject(body.stream_options)) refuseLookalikes(body.stream_options, STREAM_OPTIONS)
  const models = readModels(body, operation)
  const input = emptyInput()
  const prompts = collectPrompts(body.prompt, 'prompt', input)
  if (body.prompt_embeds !== undefined && body.prompt_embeds !== null) input.unseen = true
  collectSurroundings(body, input, ['prompt', 'prompt_embeds'])
  return {
    protocol: openAiCompletions,
    operation: operation.name,
    ...models,
    ...readStream(body, models.model),
    ...readBudget(body, prompts),
    generates: true,
    reasoning: hidesOutput(body) || mayHideReasoning(models.model),
    input,
    unmetered: false,
  }
}

/**
 * Adds a text, a list of token ids, or a list of either; returns how many prompts that is, at least 1.
 * @throws {RefusedRead} `invalid_request` for a mixture.
 */
export function collectPrompts(value: unknown, name: string, input: Input): number {
  if (value === undefined || value === null) return 1
  if (typeof value === 'string') {
    addText(input, value)
    return 1
  }
  if (!Array.isArray(value)) throw invalid(`The field "${name}" must be a text or a list.`)
  if (isTokenIds(value)) {
    input.tokenIds += value.length
    return 1
  }
  for (const item of value) {
    if (typeof item === 'string') addText(input, item)
    else if (Array.isArray(item) && isTokenIds(item)) input.tokenIds += item.length
    else throw invalid(`The field "${name}" must hold texts or lists of token ids.`)
  }
  return value.length
}

function isTokenIds(list: readonly unknown[]): boolean {
  return list.every((id) => Number.isSafeInteger(id))
}

function finalTemplate(candidates: number): string {
  const choices = Array.from({ length: Math.min(candidates, 128) }, (_, index) => ({
    index,
    text: '',
    logprobs: null,
    finish_reason: 'length',
  }))
  const head = '"id":{{last.id}},"object":"text_completion","created":{{last.created}},"model":{{last.model}}'
  return `data: {${head},"choices":${JSON.stringify(choices)}}\n\ndata: [DONE]\n\n`
}
