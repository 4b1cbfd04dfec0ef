/** Anthropic's Messages API. */

import { assertModel, declaredOutput, readFlag, readLimit, readModel } from '../body-fields.ts'
import { eventText } from '../event-text.ts'
import { decisive, invalid, isObject, type JsonBody, type JsonObject, refuseLookalikes } from '../json.ts'
import { editMembers, type MemberEdit } from '../json-edit.ts'
import { mayHideReasoning } from '../models.ts'
import { pathTable } from '../paths.ts'
import type { CallEdits, LlmCall, Operation, Protocol } from '../protocol.ts'
import { readOnce } from '../read-once.ts'
import { candidateShare } from '../share.ts'
import { anthropicErrorBody, anthropicErrorEvent } from './anthropic-errors.ts'
import { readAnthropicInput } from './anthropic-input.ts'
import { readDeltaUsage, readMessageUsage, readStartUsage } from './anthropic-usage.ts'

const DECISIVE = decisive('model', 'messages', 'system', 'max_tokens', 'stream', 'thinking', 'tools', 'fallbacks')

/** More than this in one request are no fallback list. */
const MAX_FALLBACKS = 16

const TEXT_KEYS = ['text', 'thinking', 'partial_json']
/** A block's start repeats what a server tool found; its text comes in deltas. */
const SKIP_KEYS = ['content_block', 'message', 'citation']

/** Anthropic `/v1`; OpenRouter `/api/v1`; Azure, DeepSeek and Moonshot `/anthropic/v1`. */
export const ANTHROPIC_BASES = ['/v1', '/api/v1', '/anthropic/v1']

const PATHS = pathTable<{ readonly metered: boolean }>(
  ANTHROPIC_BASES.flatMap((base) => [
    { method: 'POST', path: `${base}/messages`, entry: { metered: true } },
    { method: 'POST', path: `${base}/messages/count_tokens`, entry: { metered: false } },
  ]),
)

export const anthropicMessages: Protocol = {
  id: 'anthropic-messages',
  provider: 'anthropic',
  recognise(method, path) {
    const found = PATHS.find(method, path)
    if (found === undefined) return undefined
    return found.entry.metered
      ? { name: 'chat', read: false, protocol: anthropicMessages }
      : { name: 'chat', read: true }
  },
  read: readOnce(read),
  edit,
  replyUsage: (reply) => (isObject(reply) ? readMessageUsage(reply.usage) : undefined),
  usageMember: 'usage',
  usageMark: '"usage"',
  usagePaths: ['usage', 'message.usage'],
  eventUsage(event, earlier) {
    if (!isObject(event)) return undefined
    if (event.type === 'message_start') return isObject(event.message) ? readStartUsage(event.message.usage) : undefined
    return event.type === 'message_delta' ? readDeltaUsage(event.usage, earlier) : undefined
  },
  isUsageEvent: () => false,
  eventText: (event) => eventText(event, TEXT_KEYS, SKIP_KEYS),
  textKeys: TEXT_KEYS,
  skipKeys: SKIP_KEYS,
  finalTypes: ['message_stop'],
  isFinalEvent: (event) => isObject(event) && event.type === 'message_stop',
  finalTemplate: () =>
    [
      'event: content_block_stop\ndata: {"type":"content_block_stop","index":{{last.index}}}\n\n',
      'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null},' +
        '"usage":{"output_tokens":{{tokens}}}}\n\n',
      'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    ].join(''),
  errorBody: anthropicErrorBody,
  errorEvent: anthropicErrorEvent,
  rateLimitHeaders: 'anthropic',
}

function read({ value: body }: JsonBody, operation: Operation): LlmCall {
  refuseLookalikes(body, DECISIVE)
  const model = readModel(body)
  if (model === undefined) throw invalid('The field "model" is missing.')
  const thinking = body.thinking
  const budget = isObject(thinking) ? readLimit(thinking, 'budget_tokens', 'thinking.budget_tokens') : undefined
  const fallbacks = readFallbacks(body)
  const limits = [readLimit(body, 'max_tokens'), budget, ...fallbacks.map((one) => one.maxTokens)]
  const declared = declaredOutput(limits, 1)
  const otherModels = [...new Set([...fallbacks.map((one) => one.model), ...readAdvisors(body)])].filter(
    (other) => other !== model,
  )
  return {
    protocol: anthropicMessages,
    operation: operation.name,
    model,
    ...(otherModels.length === 0 ? {} : { otherModels }),
    stream: readFlag(body, 'stream') ?? false,
    ...(declared === undefined ? {} : { declaredOutput: declared }),
    candidates: 1,
    generates: true,
    reasoning: mayReason(thinking, model),
    input: readAnthropicInput(body),
    unmetered: false,
    needsUsageSwitch: false,
  }
}

function mayReason(thinking: unknown, model: string): boolean {
  if (thinking === undefined || thinking === null) return mayHideReasoning(model)
  return !(isObject(thinking) && thinking.type === 'disabled')
}

/** Models that answer when the first one refuses; `"default"` leaves them to Anthropic. */
function readFallbacks(
  body: JsonObject,
): readonly { readonly model: string; readonly maxTokens: number | undefined }[] {
  const { fallbacks } = body
  if (fallbacks === undefined || fallbacks === null) return []
  if (fallbacks === 'default') return [{ model: 'default', maxTokens: undefined }]
  if (!Array.isArray(fallbacks)) throw invalid('The field "fallbacks" must be a list.')
  if (fallbacks.length > MAX_FALLBACKS) throw invalid(`The field "fallbacks" holds more than ${MAX_FALLBACKS} models.`)
  return fallbacks.map((fallback) => {
    if (!isObject(fallback)) throw invalid('The field "fallbacks" must hold objects.')
    refuseLookalikes(fallback, DECISIVE)
    return {
      model: assertModel(fallback.model, 'fallbacks.model'),
      maxTokens: readLimit(fallback, 'max_tokens', 'fallbacks.max_tokens'),
    }
  })
}

/** The advisor tool calls a model of its own. */
function readAdvisors(body: JsonObject): string[] {
  if (!Array.isArray(body.tools)) return []
  return body.tools.flatMap((tool: unknown) =>
    isObject(tool) && typeof tool.type === 'string' && tool.type.startsWith('advisor') && tool.model !== undefined
      ? [assertModel(tool.model, 'tools.model')]
      : [],
  )
}

/** Lowers `max_tokens` and what must stay below it. Zero generates nothing, and stays. */
function edit(body: JsonBody, _call: LlmCall, edits: CallEdits): Uint8Array {
  if (edits.maxOutputTokens === undefined) return body.bytes
  const share = candidateShare(edits.maxOutputTokens, 1)
  const changes: MemberEdit[] = []
  const { max_tokens: present, thinking, fallbacks } = body.value
  if (typeof present !== 'number' || present > share) changes.push({ path: ['max_tokens'], json: String(share) })
  if (isObject(thinking) && typeof thinking.budget_tokens === 'number' && thinking.budget_tokens >= share)
    changes.push({ path: ['thinking', 'budget_tokens'], json: String(Math.max(1, share - 1)) })
  if (Array.isArray(fallbacks) && fallbacks.some((one) => isObject(one) && Number(one.max_tokens) > share))
    changes.push({ path: ['fallbacks'], json: JSON.stringify(fallbacks.map((one) => lowered(one, share))) })
  return editMembers(body, changes)
}

function lowered(fallback: unknown, share: number): unknown {
  if (!isObject(fallback) || typeof fallback.max_tokens !== 'number' || fallback.max_tokens <= share) return fallback
  return { ...fallback, max_tokens: share }
}
