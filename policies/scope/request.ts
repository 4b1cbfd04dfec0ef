/** What a request asks for: the operation by its path, and every model that may answer. What is unclear is refused. */

import { RefusedRead } from '../errors.ts'
import { assertModel, readModel } from '../llm/body-fields.ts'
import { decisive, invalid, isObject, type JsonBody, type JsonObject, refuseLookalikes } from '../llm/json.ts'
import type { ExtraOperation } from '../llm/operations.ts'
import type { Operation } from '../llm/protocol.ts'
import type { Exchange } from '../policy.ts'
import { UNKNOWN_MODEL } from './grants.ts'
import { readFormModel } from './multipart.ts'

/** What this policy needs to know of LLM APIs. */
export interface LlmReader {
  /** @throws {RefusedRead} `invalid_request` when the path can be understood in two ways. */
  recognise(method: string, path: string, extra: readonly ExtraOperation[]): Operation | undefined
  /** @throws {RefusedRead} `invalid_request`. */
  parseBody(bytes: Uint8Array): JsonBody
}

/** Some frameworks take another method or path from these than the one that was judged. */
const OVERRIDES = [
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
  'x-original-url',
  'x-rewrite-url',
] as const

/** More models than this in one request are no fallback list. */
const MAX_MODELS = 16
const MAX_BATCH_MODELS = 10_000

const MODEL_FIELDS = decisive('model', 'models')

/**
 * Fields by which a router or proxy takes another model, or another provider, than `model`: what answers is then
 * unknown. LiteLLM, OpenRouter, Azure's first API.
 */
const REDIRECTING: ReadonlySet<string> = new Set([
  'preset',
  'fallbacks',
  'fallback_models',
  'context_window_fallbacks',
  'context_window_fallback_dict',
  'content_policy_fallbacks',
  'engine',
  'deployment',
  'deployment_id',
  'model_id',
  'model_list',
  'user_config',
  'custom_llm_provider',
  'api_base',
  'base_url',
])

/** Where else than at the top a body names a model: Gemini's countTokens, graders of fine-tuning, fallbacks and tools. */
const INNER_PLACES = ['generateContentRequest', 'generate_content_request', 'method', 'fallbacks', 'tools'] as const

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
  for (const name of OVERRIDES) {
    if ((await exchange.header(name)) !== undefined)
      throw invalid('The request asks for another method or path in a header.')
  }
  if (await exchange.header('upgrade')) throw invalid('A connection that changes its protocol cannot be judged.')
  return operation
}

/**
 * Every model that may answer, {@link UNKNOWN_MODEL} for one that the request does not name; empty when the operation
 * has no model.
 * @throws {RefusedRead}
 */
export async function readModels(exchange: Exchange, operation: Operation, llm: LlmReader): Promise<readonly string[]> {
  const inPath = operation.model === undefined ? [] : [operation.model]
  if (exchange.method === 'GET' || exchange.method === 'HEAD' || exchange.method === 'DELETE')
    return qualified(inPath, operation, exchange.path)
  // Their models, if any, lie in what was uploaded.
  if (operation.name === 'files') return []
  await assertUncompressed(exchange)
  const type = ((await exchange.header('content-type')) ?? '').trim()
  const bytes = await exchange.body()
  if (bytes === undefined || bytes.length === 0) {
    if (operation.protocol !== undefined) throw invalid('The request has no body; a JSON object is needed.')
    return qualified(inPath, operation, exchange.path)
  }
  const found = isForm(type, operation)
    ? [...inPath, readFormModel(bytes, type) ?? UNKNOWN_MODEL]
    : readJson(llm.parseBody(asJson(bytes, type)), operation)
  const models = [...new Set(found)]
  if (models.length > (operation.name === 'batches' ? MAX_BATCH_MODELS : MAX_MODELS))
    throw invalid('The request names too many models.')
  return qualified(models, operation, exchange.path)
}

async function assertUncompressed(exchange: Exchange): Promise<void> {
  const encoding = (await exchange.header('content-encoding'))?.trim().toLowerCase()
  if (encoding !== undefined && encoding !== '' && encoding !== 'identity')
    throw new RefusedRead('unsupported_encoding', 'A compressed request body cannot be judged; send it uncompressed.')
}

/** Only where the API takes forms: elsewhere an upstream would read the same bytes as something else. */
function isForm(type: string, operation: Operation): boolean {
  if (!/^multipart\//i.test(type)) return false
  if (operation.name === 'images' || operation.name === 'audio') return true
  throw invalid('The content-type must be application/json.')
}

function asJson(bytes: Uint8Array, type: string): Uint8Array {
  const [essence = '', ...parameters] = type
    .toLowerCase()
    .split(';')
    .map((piece) => piece.trim())
  if (!/^application\/(?:[a-z0-9.+-]+\+)?json$/.test(essence))
    throw invalid('The content-type must be application/json.')
  for (const parameter of parameters) {
    if (parameter.startsWith('charset') && !/^charset="?(?:utf-?8|us-ascii)"?$/.test(parameter))
      throw new RefusedRead('unsupported_encoding', 'The charset of the request body must be UTF-8.')
  }
  return bytes
}

function readJson(body: JsonBody, operation: Operation): string[] {
  if (operation.protocol !== undefined && !operation.read) {
    const call = operation.protocol.read(body, operation)
    return [call.model, ...(call.otherModels ?? []), ...modelsBeside(body.value, operation.protocol.id)]
  }
  const { value } = body
  refuseLookalikes(value, MODEL_FIELDS)
  if (operation.name === 'batches') return batchModels(value)
  const named = new Set(operation.model === undefined ? [] : [operation.model])
  const own = readModel(value)
  if (own !== undefined) named.add(withoutPrefix(own, operation.model))
  if (value.models !== undefined && value.models !== null) throw invalid('The field "models" does not belong here.')
  for (const inner of INNER_PLACES.flatMap((place) => innerModels(value[place])))
    named.add(withoutPrefix(inner, operation.model))
  if (named.size === 0) named.add(UNKNOWN_MODEL)
  return [...named]
}

/** Models that a tool or plugin of the call uses on its own, and fields that leave open which model answers. */
function modelsBeside(body: JsonObject, protocol: string): string[] {
  const found: string[] = []
  for (const list of [body.tools, body.plugins]) {
    for (const tool of Array.isArray(list) ? list.filter(isObject) : []) {
      refuseLookalikes(tool, MODEL_FIELDS)
      const parameters = isObject(tool.parameters) ? tool.parameters : {}
      for (const model of [tool.model, parameters.model])
        if (typeof model === 'string') found.push(assertModel(model, 'tools.model'))
    }
  }
  if (protocol.startsWith('openai-')) {
    for (const [key, value] of Object.entries(body))
      if (value !== null && REDIRECTING.has(key.toLowerCase())) found.push(UNKNOWN_MODEL)
  }
  return found
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
    return [own, ...[params.fallbacks, params.tools].flatMap((inner) => innerModels(inner))]
  })
}

/** Text members named `model` at any depth: more than there may be, which only refuses more. */
function innerModels(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(innerModels)
  if (!isObject(value)) return []
  refuseLookalikes(value, MODEL_FIELDS)
  const own = typeof value.model === 'string' ? [assertModel(value.model, 'model')] : []
  return [...own, ...Object.values(value).flatMap(innerModels)]
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
