/** What a request asks for: the operation by its path, and every model that may answer. What is unclear is refused. */

import { readModel } from '../llm/body-fields.ts'
import { assertJsonType, assertUncompressed } from '../llm/content-type.ts'
import { decisive, invalid, isObject, type JsonBody, type JsonObject, refuseLookalikes } from '../llm/json.ts'
import type { ExtraOperation } from '../llm/operations.ts'
import { OVERRIDE_HEADERS, overridesByQuery } from '../llm/paths.ts'
import type { Operation } from '../llm/protocol.ts'
import type { Exchange } from '../policy.ts'
import { UNKNOWN_MODEL } from './grants.ts'
import { readFormModels } from './multipart.ts'
import { helperModels, innerModels, isRedirected, redirectedBy } from './redirects.ts'

/** What this policy needs to know of LLM APIs. */
export interface LlmReader {
  /** @throws {RefusedRead} `invalid_request` when the path can be understood in two ways. */
  recognise(method: string, path: string, extra: readonly ExtraOperation[]): Operation | undefined
  /** @throws {RefusedRead} `invalid_request`. */
  parseBody(bytes: Uint8Array): JsonBody
}

/** More models than this in one request are no fallback list. */
const MAX_MODELS = 16
const MAX_BATCH_MODELS = 10_000

const MODEL_FIELDS = decisive('model', 'models')

/** Where else than at the top a body names a model: Gemini's countTokens, graders of fine-tuning. */
const INNER_PLACES = ['generateContentRequest', 'generate_content_request', 'method'] as const

/**
 * Undefined when no API has such an operation.
 * @throws {RefusedRead} when two readers could understand the request differently.
 */
export async function readOperation(
  exchange: Exchange,
  extra: readonly ExtraOperation[],
  llm: LlmReader,
): Promise<Operation | undefined> {
  const operation = llm.recognise(exchange.method.toUpperCase(), exchange.path, extra)
  if (operation === undefined) return undefined
  if (exchange.method !== exchange.method.toUpperCase()) throw invalid('The method is not in upper case.')
  for (const name of OVERRIDE_HEADERS) {
    const header = exchange.header(name)
    if ((header instanceof Promise ? await header : header) !== undefined)
      throw invalid('The request asks for another method or path in a header.')
  }
  const names = exchange.queryNames()
  if (overridesByQuery(names instanceof Promise ? await names : names))
    throw invalid('The request asks for another method or other headers in the query.')
  if (await exchange.header('upgrade')) throw invalid('A connection that changes its protocol cannot be judged.')
  return operation
}

/**
 * Every model that may answer, {@link UNKNOWN_MODEL} for one that the request does not name; empty when the operation
 * has no model.
 * @throws {RefusedRead}
 */
export async function readModels(exchange: Exchange, operation: Operation, llm: LlmReader): Promise<readonly string[]> {
  if (await isRedirected(exchange)) return [UNKNOWN_MODEL]
  const inPath = operation.model === undefined ? [] : [operation.model]
  if (exchange.method === 'GET' || exchange.method === 'HEAD' || exchange.method === 'DELETE')
    return qualified(inPath, operation, exchange.path)
  // Their models, if any, lie in what was uploaded.
  if (operation.name === 'files') return []
  assertUncompressed(await exchange.header('content-encoding'))
  const type = ((await exchange.header('content-type')) ?? '').trim()
  const bytes = await exchange.body()
  if (bytes === undefined || bytes.length === 0) {
    if (operation.protocol !== undefined) throw invalid('The request has no body; a JSON object is needed.')
    return qualified(inPath, operation, exchange.path)
  }
  const found = isForm(type, operation)
    ? [...inPath, ...readFormModels(bytes, type)]
    : readJson(parseJson(bytes, type, llm), operation)
  const models = [...new Set(found)]
  if (models.length > (operation.name === 'batches' ? MAX_BATCH_MODELS : MAX_MODELS))
    throw invalid('The request names too many models.')
  return qualified(models, operation, exchange.path)
}

/** Only where the API takes forms: elsewhere an upstream would read the same bytes as something else. */
function isForm(type: string, operation: Operation): boolean {
  if (!/^multipart\//i.test(type)) return false
  if (operation.name === 'images' || operation.name === 'audio') return true
  throw invalid('The content-type must be application/json.')
}

function parseJson(bytes: Uint8Array, type: string, llm: LlmReader): JsonBody {
  assertJsonType(type)
  return llm.parseBody(bytes)
}

function readJson(body: JsonBody, operation: Operation): string[] {
  const { value } = body
  const exact = operation.protocol === undefined || operation.protocol.id === 'anthropic-messages'
  const beside = [
    ...redirectedBy(value, exact ? ['fallbacks'] : []),
    ...(exact ? fallbackModels(value.fallbacks) : []),
    ...helperModels(value).map((model) => withoutPrefix(model, operation.model)),
  ]
  if (operation.protocol !== undefined && !operation.read) {
    const call = operation.protocol.read(body, operation)
    return [call.model, ...(call.otherModels ?? []), ...beside]
  }
  refuseLookalikes(value, MODEL_FIELDS)
  if (operation.name === 'batches') return batchModels(value)
  const named = new Set(operation.model === undefined ? beside : [operation.model, ...beside])
  const own = readModel(value)
  if (own !== undefined) named.add(withoutPrefix(own, operation.model))
  if (value.models !== undefined && value.models !== null) throw invalid('The field "models" does not belong here.')
  for (const inner of INNER_PLACES.flatMap((place) => innerModels(value[place])))
    named.add(withoutPrefix(inner, operation.model))
  // What a tool uses does not say what answers.
  if (own === undefined && operation.model === undefined) named.add(UNKNOWN_MODEL)
  return [...named]
}

/** Fallbacks in Anthropic's shape: each names its model. Everywhere else a router's own ways leave the model unknown. */
function fallbackModels(fallbacks: unknown): string[] {
  if (fallbacks === undefined || fallbacks === null) return []
  if (!Array.isArray(fallbacks)) return [fallbacks === 'default' ? fallbacks : UNKNOWN_MODEL]
  return fallbacks.flatMap((fallback: unknown) => {
    if (!isObject(fallback)) return [UNKNOWN_MODEL]
    refuseLookalikes(fallback, MODEL_FIELDS)
    return [readModel(fallback) ?? UNKNOWN_MODEL, ...redirectedBy(fallback)]
  })
}

/** Only Anthropic's shape names every model; elsewhere they lie in a file. */
function batchModels(body: JsonObject): string[] {
  const { requests } = body
  if (!Array.isArray(requests) || requests.length === 0) return [UNKNOWN_MODEL]
  return requests.flatMap((request) => {
    const params = isObject(request) ? request.params : undefined
    if (!isObject(params)) return [UNKNOWN_MODEL]
    refuseLookalikes(params, MODEL_FIELDS)
    const own = readModel(params) ?? UNKNOWN_MODEL
    return [
      own,
      ...redirectedBy(params, ['fallbacks']),
      ...fallbackModels(params.fallbacks),
      ...innerModels(params.tools),
    ]
  })
}

/** Gemini's bodies write `models/x` for the `x` of the path. */
function withoutPrefix(model: string, inPath: string | undefined): string {
  return inPath !== undefined && model === `models/${inPath}` ? inPath : model
}

/** A tuned model or an endpoint has a namespace of its own: it must not pass for the public model of that name. */
function qualified(models: readonly string[], operation: Operation, path: string): readonly string[] {
  const space = /\/(tunedModels|endpoints)\/[^/]+$/.exec(path)?.[1]
  if (space === undefined || operation.model === undefined) return models
  return models.map((model) => (model === operation.model ? `${space}/${model}` : model))
}
