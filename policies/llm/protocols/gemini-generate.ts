/** Gemini's and Vertex's generateContent and streamGenerateContent. */

import { declaredOutput, readCount, readLimit } from '../body-fields.ts'
import { eventText } from '../event-text.ts'
import { decisive, invalid, isObject, type JsonBody, type JsonObject, refuseLookalikes } from '../json.ts'
import { editMembers } from '../json-edit.ts'
import { mayHideReasoning } from '../models.ts'
import type { CallEdits, LlmCall, Operation, Protocol } from '../protocol.ts'
import { readOnce } from '../read-once.ts'
import { candidateShare } from '../share.ts'
import {
  assertSameModel,
  bothSpellings,
  isFinished,
  listOf,
  readGeminiChunkUsage,
  readGeminiUsage,
  spelled,
  verbRecogniser,
} from './gemini.ts'
import { geminiErrorBody, geminiErrorEvent } from './gemini-errors.ts'
import { readGeminiInput } from './gemini-input.ts'

const DECISIVE = decisive(
  ...bothSpellings(['model', 'contents', 'systemInstruction', 'generationConfig', 'cachedContent', 'tools']),
)
const CONFIG = decisive(
  ...bothSpellings(['maxOutputTokens', 'candidateCount', 'thinkingConfig', 'responseModalities', 'speechConfig']),
)

const TEXT_KEYS = ['text', 'code']
const SKIP_KEYS = ['groundingMetadata', 'citationMetadata', 'functionCall']

export const geminiGenerate: Protocol = {
  id: 'gemini-generate',
  provider: 'gcp.gemini',
  recognise: verbRecogniser([
    { verb: 'generateContent', name: 'chat', protocol: () => geminiGenerate },
    { verb: 'streamGenerateContent', name: 'chat', stream: true, protocol: () => geminiGenerate },
    { verb: 'countTokens', name: 'chat', read: true },
    { verb: 'batchGenerateContent', name: 'batches' },
  ]),
  read: readOnce(read),
  edit,
  replyUsage: (reply) => (isObject(reply) ? readGeminiUsage(reply.usageMetadata) : undefined),
  usageMember: 'usageMetadata',
  usageMark: '"usageMetadata"',
  usagePaths: ['usageMetadata', 'candidates', 'promptFeedback'],
  eventUsage: readGeminiChunkUsage,
  isUsageEvent: () => false,
  eventText: (event) => eventText(event, TEXT_KEYS, SKIP_KEYS),
  textKeys: TEXT_KEYS,
  skipKeys: SKIP_KEYS,
  finalTypes: [],
  isFinalEvent: isFinished,
  finalTemplate,
  errorBody: geminiErrorBody,
  errorEvent: geminiErrorEvent,
  rateLimitHeaders: 'none',
}

function read({ value: body }: JsonBody, operation: Operation): LlmCall {
  refuseLookalikes(body, DECISIVE)
  const { model } = operation
  if (model === undefined) throw invalid('The path names no model.')
  assertSameModel(body, model)
  const config = readConfig(body)
  const count = spelled(config, 'candidateCount').key
  const candidates = readCount(config, count, `generationConfig.${count}`)
  const limit = spelled(config, 'maxOutputTokens').key
  const declared = declaredOutput([readLimit(config, limit, `generationConfig.${limit}`)], candidates)
  return {
    protocol: geminiGenerate,
    operation: operation.name,
    model,
    stream: operation.stream ?? false,
    ...(declared === undefined ? {} : { declaredOutput: declared }),
    candidates,
    generates: true,
    reasoning: hidesOutput(config) || mayHideReasoning(model),
    input: readGeminiInput(body),
    unmetered: false,
    needsUsageSwitch: false,
  }
}

/** Thoughts, images and speech are no text of the stream. */
function hidesOutput(config: JsonObject): boolean {
  const modalities = spelled(config, 'responseModalities').value
  return (
    ['thinkingConfig', 'speechConfig'].some((field) => spelled(config, field).value !== undefined) ||
    (listOf(modalities) ?? []).some((modality) => modality !== 'TEXT')
  )
}

function readConfig(body: JsonObject): JsonObject {
  const { key, value } = spelled(body, 'generationConfig')
  if (value === undefined || value === null) return {}
  if (!isObject(value)) throw invalid(`The field "${key}" must be an object.`)
  refuseLookalikes(value, CONFIG)
  return value
}

function edit(body: JsonBody, call: LlmCall, edits: CallEdits): Uint8Array {
  if (edits.maxOutputTokens === undefined) return body.bytes
  const share = candidateShare(edits.maxOutputTokens, call.candidates)
  const config = spelled(body.value, 'generationConfig')
  const limit = spelled(isObject(config.value) ? config.value : {}, 'maxOutputTokens')
  if (typeof limit.value === 'number' && limit.value !== 0 && limit.value <= share) return body.bytes
  return editMembers(body, [{ path: [config.key, limit.key], json: String(share) }])
}

function finalTemplate(candidates: number): string {
  const list = Array.from({ length: Math.min(candidates, 128) }, (_, index) => ({
    content: { parts: [{ text: '' }], role: 'model' },
    finishReason: 'MAX_TOKENS',
    index,
  }))
  const tail = '"modelVersion":{{last.modelVersion}},"responseId":{{last.responseId}}'
  return `data: {"candidates":${JSON.stringify(list)},${tail}}\r\n\r\n`
}
