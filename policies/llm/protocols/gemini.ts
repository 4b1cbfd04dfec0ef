/** What Gemini's operations share: paths, spellings, usage and error shapes. */

import { fieldName, invalid, isObject, type JsonObject } from '../json.ts'
import { pathTable } from '../paths.ts'
import type { Operation, OperationName, Protocol } from '../protocol.ts'
import { inputOnly, makeUsage, readTokens, type Usage } from '../usage.ts'

/** A verb behind the model's name, such as `:generateContent`. */
export interface Verb {
  readonly verb: string
  readonly name: OperationName
  readonly read?: boolean
  readonly stream?: boolean
  /** Absent when nobody can meter it. */
  readonly protocol?: () => Protocol
}

const GEMINI_VERSIONS = ['/v1beta', '/v1', '/v1alpha']
const VERTEX_VERSIONS = ['/v1', '/v1beta1']
const PROJECT = '/projects/{project}/locations/{location}'

/** The model is in the path: Gemini, its tuned models, Vertex, Vertex's endpoints and its express mode. */
const MODEL_PATHS = [
  ...GEMINI_VERSIONS.flatMap((version) => [`${version}/models/{model}`, `${version}/tunedModels/{model}`]),
  ...VERTEX_VERSIONS.flatMap((version) => [
    `${version}${PROJECT}/publishers/google/models/{model}`,
    `${version}${PROJECT}/endpoints/{model}`,
    `${version}/publishers/google/models/{model}`,
  ]),
]

export function verbRecogniser(verbs: readonly Verb[]): (method: string, path: string) => Operation | undefined {
  const table = pathTable(
    verbs.flatMap((entry) => MODEL_PATHS.map((path) => ({ method: 'POST', path: `${path}:${entry.verb}`, entry }))),
  )
  return (method, path) => {
    const found = table.find(method, path)
    if (found === undefined) return undefined
    const { name, read = false, stream, protocol } = found.entry
    const { model } = found.parts
    return {
      name,
      read,
      ...(protocol === undefined ? {} : { protocol: protocol() }),
      ...(model === undefined ? {} : { model }),
      ...(stream === undefined ? {} : { stream }),
    }
  }
}

/**
 * A member in either spelling that Google's JSON takes: camelCase or snake_case.
 * @throws {RefusedRead} `invalid_request` when both are there: which one counts is the server's secret.
 */
export function spelled(object: JsonObject, camel: string): { readonly key: string; readonly value: unknown } {
  const snake = snakeCase(camel)
  if (camel === snake || object[snake] === undefined) return { key: camel, value: object[camel] }
  if (object[camel] !== undefined) throw invalid(`The field ${fieldName(camel)} is there in both spellings.`)
  return { key: snake, value: object[snake] }
}

/** A list, or what stands for a list of one: Google takes a single item without the list. Undefined when absent or null. */
export function listOf(value: unknown): readonly unknown[] | undefined {
  if (value === undefined || value === null) return undefined
  return Array.isArray(value) ? value : [value]
}

export function bothSpellings(names: readonly string[]): string[] {
  return names.flatMap((name) => [...new Set([name, snakeCase(name)])])
}

function snakeCase(camel: string): string {
  return camel.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}

/**
 * A body's own `model`, which must be the path's.
 * @throws {RefusedRead} `invalid_request` when it is another.
 */
export function assertSameModel(body: JsonObject, model: string): void {
  const named = body.model
  if (named === undefined || named === null) return
  if (typeof named !== 'string' || named.split('/').at(-1) !== model)
    throw invalid('The field "model" differs from the model in the path.')
}

/** Thoughts and tool results count on top of candidates and prompt; cached content is part of the prompt. */
export function readGeminiUsage(metadata: unknown): Usage | undefined {
  if (!isObject(metadata)) return undefined
  const prompt = readTokens(metadata, 'promptTokenCount')
  const candidates = readTokens(metadata, 'candidatesTokenCount')
  const thoughts = readTokens(metadata, 'thoughtsTokenCount')
  return makeUsage({
    inputTokens: prompt === undefined ? undefined : prompt + (readTokens(metadata, 'toolUsePromptTokenCount') ?? 0),
    cachedInputTokens: readTokens(metadata, 'cachedContentTokenCount'),
    outputTokens: candidates === undefined && thoughts === undefined ? undefined : (candidates ?? 0) + (thoughts ?? 0),
    reasoningTokens: thoughts,
  })
}

/** Of one chunk: every chunk repeats the running figures, and only the finished one's output is final. */
export function readGeminiChunkUsage(event: unknown): Usage | undefined {
  if (!isObject(event)) return undefined
  const usage = readGeminiUsage(event.usageMetadata)
  return isFinished(event) ? usage : inputOnly(usage)
}

/** A candidate has finished, or the prompt was blocked. */
export function isFinished(event: unknown): boolean {
  if (!isObject(event)) return false
  if (isObject(event.promptFeedback) && typeof event.promptFeedback.blockReason === 'string') return true
  return (
    Array.isArray(event.candidates) &&
    event.candidates.length > 0 &&
    event.candidates.every((candidate) => isObject(candidate) && typeof candidate.finishReason === 'string')
  )
}
