/** OpenAI's Responses API, and Azure, xAI and OpenRouter in the same shape. */

import { readFlag, readLimit } from '../body-fields.ts'
import { addText, collect, emptyInput, TOKENS_PER_MESSAGE } from '../content.ts'
import { eventText } from '../event-text.ts'
import { decisive, invalid, isObject, type JsonBody, type JsonObject, refuseLookalikes } from '../json.ts'
import { editMembers } from '../json-edit.ts'
import { mayHideReasoning } from '../models.ts'
import type { CallEdits, InputContent, LlmCall, Operation, Protocol } from '../protocol.ts'
import { readOnce } from '../read-once.ts'
import { candidateShare } from '../share.ts'
import { makeUsage, readTokens, type Usage } from '../usage.ts'
import { declaredWith, hidesOutput, lowerReasoning, REASONING_FIELDS, readModels, recogniser } from './openai.ts'
import { openAiErrorBody, responsesErrorEvent } from './openai-errors.ts'
import { collectSurroundings, OPENAI_PARTS } from './openai-input.ts'

const DECISIVE = decisive(
  'model',
  'models',
  'input',
  'instructions',
  'stream',
  'background',
  'max_output_tokens',
  'previous_response_id',
  'conversation',
  'prompt',
  'tools',
  'store',
  ...REASONING_FIELDS,
)

const FINAL_TYPES = ['response.completed', 'response.incomplete', 'response.failed']
const TEXT_KEYS = ['delta']
const SKIP_KEYS = ['response', 'item', 'part', 'logprobs']

export const openAiResponses: Protocol = {
  id: 'openai-responses',
  provider: 'openai',
  recognise: recogniser('/responses', 'responses', () => openAiResponses, false),
  read: readOnce(read),
  edit,
  replyUsage: (reply) => (isObject(reply) ? readUsage(reply.usage) : undefined),
  usageMember: 'usage',
  usageMark: '"usage"',
  usagePaths: ['response.usage'],
  eventUsage: (event) => (isObject(event) && isObject(event.response) ? readUsage(event.response.usage) : undefined),
  isUsageEvent: () => false,
  eventText: (event) => eventText(event, TEXT_KEYS, SKIP_KEYS),
  textKeys: TEXT_KEYS,
  skipKeys: SKIP_KEYS,
  finalTypes: FINAL_TYPES,
  isFinalEvent: (event) => isObject(event) && typeof event.type === 'string' && FINAL_TYPES.includes(event.type),
  finalTemplate,
  errorBody: openAiErrorBody,
  errorEvent: responsesErrorEvent,
  rateLimitHeaders: 'openai',
}

function read({ value: body }: JsonBody, operation: Operation): LlmCall {
  refuseLookalikes(body, DECISIVE)
  const stored = isObject(body.prompt)
  const models =
    stored && body.model === undefined && operation.model === undefined ? { model: '' } : readModels(body, operation)
  const declared = declaredWith(body, [readLimit(body, 'max_output_tokens')], 1)
  return {
    protocol: openAiResponses,
    operation: operation.name,
    ...models,
    stream: readFlag(body, 'stream') ?? false,
    ...(declared === undefined ? {} : { declaredOutput: declared }),
    candidates: 1,
    generates: true,
    reasoning: hidesOutput(body) || mayHideReasoning(models.model),
    input: readInput(body),
    unmetered: readFlag(body, 'background') ?? false,
    stored: readFlag(body, 'store') ?? true,
    needsUsageSwitch: false,
  }
}

function readInput(body: JsonObject): InputContent {
  const input = emptyInput()
  if (typeof body.input === 'string') {
    addText(input, body.input)
    input.tokenIds += TOKENS_PER_MESSAGE
  } else if (Array.isArray(body.input)) {
    input.tokenIds += TOKENS_PER_MESSAGE * body.input.length
    collect(body.input, input, OPENAI_PARTS)
  } else if (body.input !== undefined && body.input !== null)
    throw invalid('The field "input" must be a text or a list.')
  for (const field of ['previous_response_id', 'conversation', 'prompt'])
    if (body[field] !== undefined && body[field] !== null) input.unseen = true
  collectSurroundings(body, input, ['input', 'previous_response_id', 'conversation'])
  return input
}

function edit(body: JsonBody, _call: LlmCall, edits: CallEdits): Uint8Array {
  if (edits.maxOutputTokens === undefined) return body.bytes
  const share = candidateShare(edits.maxOutputTokens, 1)
  const present = body.value.max_output_tokens
  const changes = [...lowerReasoning(body.value, share)]
  if (typeof present !== 'number' || present === 0 || present > share)
    changes.push({ path: ['max_output_tokens'], json: String(share) })
  return changes.length === 0 ? body.bytes : editMembers(body, changes)
}

function readUsage(usage: unknown): Usage | undefined {
  if (!isObject(usage)) return undefined
  const inputTokens = readTokens(usage, 'input_tokens')
  const output = readTokens(usage, 'output_tokens')
  const total = readTokens(usage, 'total_tokens')
  return makeUsage({
    inputTokens,
    cachedInputTokens: readTokens(usage.input_tokens_details, 'cached_tokens'),
    cacheCreationTokens: readTokens(usage.input_tokens_details, 'cache_write_tokens'),
    outputTokens:
      output !== undefined && inputTokens !== undefined && total !== undefined
        ? Math.max(output, total - inputTokens)
        : output,
    reasoningTokens: readTokens(usage.output_tokens_details, 'reasoning_tokens'),
  })
}

function finalTemplate(): string {
  const response = [
    '"id":{{first.response.id}},"object":"response","created_at":{{first.response.created_at}}',
    '"model":{{first.response.model}},"status":"incomplete","error":null',
    // Null, so that an SDK keeps what it has collected of the output.
    '"incomplete_details":{"reason":"max_output_tokens"},"output":null,"usage":null,"metadata":{}',
  ].join(',')
  const event = `"type":"response.incomplete","sequence_number":{{last.sequence_number}},"response":{${response}}`
  return `event: response.incomplete\ndata: {${event}}\n\n`
}
