/** What OpenAI's APIs share, and with them everything that calls itself compatible. */

import { assertModel, declaredOutput, readCount, readFlag, readLimit, readModel, readObject } from '../body-fields.ts'
import { invalid, isObject, type JsonBody, type JsonObject } from '../json.ts'
import { editMembers, type MemberEdit } from '../json-edit.ts'
import { refusesStreamOptions, wantsMaxCompletionTokens } from '../models.ts'
import { type PathEntry, pathTable } from '../paths.ts'
import type { CallEdits, LlmCall, Operation, OperationName, Protocol } from '../protocol.ts'
import { candidateShare } from '../share.ts'
import { inputOnly, makeUsage, readTokens, type Usage } from '../usage.ts'

/**
 * Where the operations hang: OpenAI and most others `/v1`, DeepSeek and Perplexity at the root, Groq and Azure's v1
 * `/openai/v1`, Azure's previews `/openai`, OpenRouter `/api/v1`, Gemini `/v1beta/openai`, Fireworks `/inference/v1`,
 * GitHub Models `/inference`, DeepInfra `/v1/openai`, Cohere `/compatibility/v1`, DashScope `/compatible-mode/v1`.
 */
export const OPENAI_BASES = [
  '/v1',
  '',
  '/openai/v1',
  '/openai',
  '/api/v1',
  '/v1beta/openai',
  '/inference/v1',
  '/inference',
  '/v1/openai',
  '/compatibility/v1',
  '/compatible-mode/v1',
]

const AZURE_DEPLOYMENT = '/openai/deployments/{model}'
const VERTEX_OPENAPI = ['/v1', '/v1beta1'].map(
  (version) => `${version}/projects/{project}/locations/{location}/endpoints/openapi`,
)

/**
 * Every output limit that some compatible server obeys; llama.cpp lets `n_predict` override `max_tokens`, LiteLLM hands
 * `num_predict` to Ollama.
 */
export const LIMIT_FIELDS = [
  'max_tokens',
  'max_completion_tokens',
  'max_output_tokens',
  'max_new_tokens',
  'n_predict',
  'num_predict',
]

/**
 * Limits of reasoning: DashScope and SiliconFlow, llama.cpp, vLLM, NVIDIA, what SGLang and vLLM hand to a model's template,
 * OpenRouter and LiteLLM. Some come on top of the output limit, and without one they leave the answer unlimited.
 */
const REASONING_BUDGETS: readonly (readonly [string] | readonly [string, string])[] = [
  ['thinking_budget'],
  ['thinking_budget_tokens'],
  ['thinking_token_budget'],
  ['reasoning_budget'],
  ['reasoning_budget_tokens'],
  ['nvext', 'max_thinking_tokens'],
  ['chat_template_kwargs', 'thinking_budget'],
  ['chat_template_kwargs', 'reasoning_budget'],
  ['reasoning', 'max_tokens'],
  ['thinking', 'budget_tokens'],
]

/** The members of a body that hold them. */
export const REASONING_FIELDS: readonly string[] = REASONING_BUDGETS.map(([outer]) => outer)

/** Recognises POST on `tail` under every base, Azure's deployments and Vertex. */
export function recogniser(tail: string, name: OperationName, protocol: () => Protocol, azure = true) {
  const paths = [...OPENAI_BASES, ...VERTEX_OPENAPI, ...(azure ? [AZURE_DEPLOYMENT] : [])].map((base) => base + tail)
  const table = pathTable(paths.map((path): PathEntry<true> => ({ method: 'POST', path, entry: true })))
  return (method: string, path: string): Operation | undefined => {
    const found = table.find(method, path)
    if (found === undefined) return undefined
    const { model } = found.parts
    return { name, read: false, protocol: protocol(), ...(model === undefined ? {} : { model }) }
  }
}

/** Azure's path decides over the body's model; OpenRouter may fall back to any of `models`. */
export function readModels(body: JsonObject, operation: Operation): { model: string; otherModels?: readonly string[] } {
  const inBody = readModel(body)
  const model = operation.model ?? inBody
  if (model === undefined) throw invalid('The field "model" is missing.')
  const others = new Set<string>(readFallbacks(body))
  if (inBody !== undefined) others.add(inBody)
  others.delete(model)
  return others.size === 0 ? { model } : { model, otherModels: [...others] }
}

function readFallbacks(body: JsonObject): string[] {
  const { models } = body
  if (models === undefined || models === null) return []
  if (!Array.isArray(models)) throw invalid('The field "models" must be a list of model names.')
  return models.map((model) => assertModel(model, 'models'))
}

/** Limit and candidates as {@link LIMIT_FIELDS}, `n` and `best_of` declare them, times the prompts. */
export function readBudget(body: JsonObject, prompts: number): { candidates: number; declaredOutput?: number } {
  const each = Math.max(readCount(body, 'n'), readCount(body, 'best_of'))
  const candidates = Math.min(each * prompts, Number.MAX_SAFE_INTEGER)
  const declared = declaredWith(
    body,
    LIMIT_FIELDS.map((field) => readLimit(body, field)),
    candidates,
  )
  return declared === undefined ? { candidates } : { candidates, declaredOutput: declared }
}

/** What limits of all output declare together with those of reasoning. */
export function declaredWith(
  body: JsonObject,
  limits: readonly (number | undefined)[],
  candidates: number,
): number | undefined {
  const budgets = REASONING_BUDGETS.map((path) => readReasoningBudget(body, path))
  return declaredOutput(limits, candidates) && declaredOutput([...limits, ...budgets], candidates)
}

/** The edits that lower every limit of reasoning to `share`. */
export function lowerReasoning(body: JsonObject, share: number): readonly MemberEdit[] {
  return REASONING_BUDGETS.filter((path) => (readReasoningBudget(body, path) ?? 0) > share).map((path) => ({
    path,
    json: String(share),
  }))
}

function readReasoningBudget(body: JsonObject, [outer, inner]: readonly [string, string?]): number | undefined {
  if (inner === undefined) return readLimit(body, outer)
  const object = body[outer]
  return isObject(object) ? readLimit(object, inner, `${outer}.${inner}`) : undefined
}

/** Whether a stream is asked for, and whether it must be told to report its usage. */
export function readStream(body: JsonObject, model: string): { stream: boolean; needsUsageSwitch: boolean } {
  const stream = readFlag(body, 'stream') ?? false
  const options = readObject(body, 'stream_options') ?? {}
  const included = readFlag(options, 'include_usage', 'stream_options.include_usage') ?? false
  return { stream, needsUsageSwitch: stream && !included && !refusesStreamOptions(model) }
}

/** Lowers every limit that is present; where none is, adds the one that the model takes. Zero counts as none. */
export function editOpenAi(body: JsonBody, call: LlmCall, edits: CallEdits): Uint8Array {
  const changes: MemberEdit[] = []
  if (edits.maxOutputTokens !== undefined) {
    const share = candidateShare(edits.maxOutputTokens, call.candidates)
    const present = LIMIT_FIELDS.filter((field) => typeof body.value[field] === 'number')
    if (present.length === 0)
      present.push(wantsMaxCompletionTokens(call.model) ? 'max_completion_tokens' : 'max_tokens')
    for (const field of present) {
      const value = body.value[field]
      if (typeof value !== 'number' || value === 0 || value > share)
        changes.push({ path: [field], json: String(share) })
    }
    changes.push(...lowerReasoning(body.value, share))
  }
  if (edits.includeUsage === true) changes.push({ path: ['stream_options', 'include_usage'], json: 'true' })
  return editMembers(body, changes)
}

/** What asks for reasoning, by the names in use. */
const REASONING = ['reasoning_effort', 'reasoning', 'thinking', 'enable_thinking']
/** What decides whether the caller gets to see it (OpenRouter, vLLM, Groq, SGLang): whatever it says, it may be hidden. */
const REASONING_SHOWN = ['include_reasoning', 'reasoning_format', 'stream_reasoning']

/**
 * Whether the body asks for output that its stream does not show as text: reasoning, audio, images, candidates that are
 * dropped.
 */
export function hidesOutput(body: JsonObject): boolean {
  return (
    REASONING.some((field) => body[field] !== false && body[field] !== 'none' && isThere(body[field])) ||
    REASONING_SHOWN.some((field) => isThere(body[field])) ||
    REASONING_BUDGETS.some((path) => (readReasoningBudget(body, path) ?? 0) > 0) ||
    isThere(body.audio) ||
    (Array.isArray(body.modalities) && body.modalities.some((modality) => modality !== 'text')) ||
    readCount(body, 'best_of') > readCount(body, 'n')
  )
}

function isThere(value: unknown): boolean {
  return value !== undefined && value !== null
}

/**
 * Usage of chat completions, completions and embeddings, with the details that DeepSeek, Moonshot and OpenRouter add.
 * Where the total has more than prompt and completion, the rest is reasoning that the completion leaves out (xAI,
 * Gemini's compatible API).
 */
export function readOpenAiUsage(usage: unknown): Usage | undefined {
  if (!isObject(usage)) return undefined
  const inputTokens = readTokens(usage, 'prompt_tokens')
  const completion = readTokens(usage, 'completion_tokens')
  const total = readTokens(usage, 'total_tokens')
  const outputTokens =
    completion !== undefined && inputTokens !== undefined && total !== undefined
      ? Math.max(completion, total - inputTokens)
      : completion
  return makeUsage({
    inputTokens,
    cachedInputTokens:
      readTokens(usage.prompt_tokens_details, 'cached_tokens') ??
      readTokens(usage, 'prompt_cache_hit_tokens') ??
      readTokens(usage, 'cached_tokens'),
    cacheCreationTokens: readTokens(usage.prompt_tokens_details, 'cache_write_tokens'),
    outputTokens,
    reasoningTokens: readTokens(usage.completion_tokens_details, 'reasoning_tokens'),
  })
}

/** Usage of a chunk; Groq repeats it in `x_groq`. A running figure beside unfinished text counts its input only. */
export function readChunkUsage(event: unknown, text: (choice: unknown) => string): Usage | undefined {
  if (!isObject(event)) return undefined
  const usage =
    readOpenAiUsage(event.usage) ?? (isObject(event.x_groq) ? readOpenAiUsage(event.x_groq.usage) : undefined)
  if (usage === undefined || !Array.isArray(event.choices)) return usage
  const running = event.choices.some((choice) => isObject(choice) && !choice.finish_reason && text(choice) !== '')
  return running ? inputOnly(usage) : usage
}

/** The extra chunk of `include_usage`: no choices, and the usage of the whole request. */
export function isUsageChunk(event: unknown): boolean {
  return isObject(event) && Array.isArray(event.choices) && event.choices.length === 0 && isObject(event.usage)
}
