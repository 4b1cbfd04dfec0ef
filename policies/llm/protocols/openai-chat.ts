/** OpenAI chat completions, and Azure, Mistral, vLLM, OpenRouter, DeepSeek, Groq and xAI in the same shape. */

import { emptyInput, TOKENS_PER_MESSAGE } from '../content.ts'
import { eventText } from '../event-text.ts'
import { decisive, invalid, isObject, type JsonBody, type JsonObject, refuseLookalikes } from '../json.ts'
import { mayHideReasoning } from '../models.ts'
import type { InputContent, LlmCall, Operation, Protocol } from '../protocol.ts'
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
import { collectMessage, collectSurroundings } from './openai-input.ts'

const DECISIVE = decisive(
  'model',
  'models',
  'messages',
  'stream',
  'stream_options',
  'n',
  'best_of',
  'tools',
  ...LIMIT_FIELDS,
  ...REASONING_FIELDS,
)
const STREAM_OPTIONS = decisive('include_usage')

const TEXT_KEYS = ['content', 'refusal', 'reasoning_content', 'reasoning', 'thinking', 'text', 'arguments', 'input']
/** OpenRouter repeats reasoning in `reasoning_details`; the others describe text. */
const SKIP_KEYS = ['reasoning_details', 'logprobs', 'annotations', 'audio', 'citations', 'search_results']

export const openAiChat: Protocol = {
  id: 'openai-chat',
  provider: 'openai',
  recognise: recogniser('/chat/completions', 'chat', () => openAiChat),
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
  return {
    protocol: openAiChat,
    operation: operation.name,
    ...models,
    ...readStream(body, models.model),
    ...readBudget(body, 1),
    generates: true,
    reasoning: hidesOutput(body) || mayHideReasoning(models.model),
    input: readInput(body, models.model),
    unmetered: false,
    stored: body.store === true,
  }
}

function readInput(body: JsonObject, model: string): InputContent {
  const { messages } = body
  if (!Array.isArray(messages)) throw invalid('The field "messages" must be a list.')
  const input = emptyInput()
  input.tokenIds += TOKENS_PER_MESSAGE * messages.length
  messages.forEach((message, index) => {
    if (!isObject(message)) throw invalid(`The field "messages[${index}]" must be an object.`)
    collectMessage(message, input)
  })
  collectSurroundings(body, input, ['messages'])
  // OpenRouter's suffix for its web search.
  if (model.endsWith(':online')) input.unseen = true
  return input
}

function finalTemplate(candidates: number): string {
  const choices = Array.from({ length: Math.min(candidates, 128) }, (_, index) => ({
    index,
    delta: {},
    finish_reason: 'length',
  }))
  const head = '"id":{{last.id}},"object":"chat.completion.chunk","created":{{last.created}},"model":{{last.model}}'
  return `data: {${head},"choices":${JSON.stringify(choices)}}\n\ndata: [DONE]\n\n`
}
