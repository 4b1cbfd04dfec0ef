/** What a request asks for, as far as limits care. Whatever cannot be understood is a {@link RefusedRead}. */

import { RefusedRead } from '../errors.ts'
import { assertJsonType, assertUncompressed } from '../llm/content-type.ts'
import type { JsonBody } from '../llm/json.ts'
import type { ExtraOperation } from '../llm/operations.ts'
import { assertPlainPath, OVERRIDE_HEADERS, overridesByQuery } from '../llm/paths.ts'
import type { LlmCall } from '../llm/protocol.ts'
import type { Exchange } from '../policy.ts'
import { isDivisible } from '../scope/grants.ts'
import { helperModels, isRedirected, redirectedBy } from '../scope/redirects.ts'
import type { Facts } from './keys.ts'
import { globMatches, UNKNOWN_MODEL } from './match.ts'
import { type Overrides, readOverrides } from './overrides.ts'
import { assertWholeReply } from './partial-reply.ts'
import type { LlmToolkit } from './toolkit.ts'

/** `models`: all that may answer, {@link UNKNOWN_MODEL} among them when nobody can tell; none when there is no model. */
export type Asked =
  /** Only `requests` rules apply. */
  | { readonly kind: 'counted'; readonly models: readonly string[] }
  | { readonly kind: 'metered'; readonly models: readonly string[]; readonly call: LlmCall; readonly body: JsonBody }

export interface ReadOptions {
  readonly unmetered: readonly string[]
  readonly operations: readonly ExtraOperation[]
  /** Rules need to know tokens or the model; otherwise nothing has to be understood. */
  readonly needsCall: boolean
  /** Rules differ by model. */
  readonly needsModels: boolean
}

/** More models than this in one request are no fallback list. */
const MAX_MODELS = 16

const COUNTED_METHODS = new Set(['GET', 'HEAD', 'OPTIONS', 'DELETE'])

/** @throws {RefusedRead} when the request cannot be metered. */
export async function readRequest(exchange: Exchange, options: ReadOptions, llm: LlmToolkit): Promise<Asked> {
  const method = exchange.method.toUpperCase()
  if (!options.needsCall) return { kind: 'counted', models: [] }
  // Before any glob: an upstream could read `/free/../v1/chat/completions` as another path.
  assertPlainPath(exchange.path)
  for (const name of OVERRIDE_HEADERS) {
    const header = exchange.header(name)
    if ((header instanceof Promise ? await header : header) !== undefined)
      throw new RefusedRead('invalid_request', 'The request asks for another method or path in a header.')
  }
  if (options.unmetered.some((glob) => globMatches(glob, exchange.path))) return { kind: 'counted', models: [] }
  if (method === 'CONNECT' || (await exchange.header('upgrade')))
    throw unmetered('A connection that changes its protocol cannot be metered.')
  const operation = llm.recognise(method, exchange.path, options.operations)
  // A read, such as counting tokens, uses none; unless it makes itself something else.
  if (COUNTED_METHODS.has(method) || operation?.read === true) {
    if (overridesByQuery(await exchange.queryNames()))
      throw new RefusedRead('invalid_request', 'The request asks for another method or other headers in the query.')
    return { kind: 'counted', models: operation?.model === undefined ? [] : [operation.model] }
  }
  if (operation?.protocol === undefined) throw unmetered('Nobody can meter this method and path.')
  await assertWholeReply(exchange, operation.protocol)
  assertUncompressed(await exchange.header('content-encoding'))
  assertJsonType(await exchange.header('content-type'))
  const bytes = await exchange.body()
  if (bytes === undefined || bytes.length === 0)
    throw new RefusedRead('invalid_request', 'The request has no body; a JSON object is needed.')
  const body = llm.parseBody(bytes)
  const call = operation.protocol.read(body, operation)
  if (call.unmetered) throw unmetered('A run outside this request cannot be metered.')
  // Anthropic's own fallbacks are read by their protocol.
  const overrides = readOverrides(body.value, call.protocol.id === 'anthropic-messages' ? ['fallbacks'] : [])
  const named = [call.model, ...(call.otherModels ?? [])]
  const models = [...new Set(options.needsModels ? await withUnnamed(named, exchange, body, call) : named)]
  if (models.length > MAX_MODELS) throw new RefusedRead('invalid_request', `More than ${MAX_MODELS} models are named.`)
  return { kind: 'metered', models, call: overrides === undefined ? call : overridden(call, overrides), body }
}

/** Overrides may ask for reasoning. Its budget alone is no limit of all output, as in the body. */
function overridden(call: LlmCall, { thinkingBudget, unseen }: Overrides): LlmCall {
  const { declaredOutput, candidates, input } = call
  const asked = { ...call, reasoning: true, input: unseen ? { ...input, unseen } : input }
  if (declaredOutput === undefined) return asked
  const thinking = Math.min(thinkingBudget * candidates, Number.MAX_SAFE_INTEGER)
  return { ...asked, declaredOutput: Math.max(declaredOutput, thinking) }
}

/** Also the models that tools use, and {@link UNKNOWN_MODEL} when something leaves open which model answers. */
async function withUnnamed(
  named: readonly string[],
  exchange: Exchange,
  { value }: JsonBody,
  { protocol }: LlmCall,
): Promise<readonly string[]> {
  // The protocol has read Anthropic's own fallbacks, but for those that Anthropic picks.
  const exact = protocol.id === 'anthropic-messages'
  const models = [...named, ...helperModels(value)]
  const open =
    (exact && value.fallbacks === 'default') ||
    models.some(isDivisible) ||
    redirectedBy(value, exact ? ['fallbacks'] : []).length > 0 ||
    (await isRedirected(exchange))
  return open ? [...models, UNKNOWN_MODEL] : models
}

export async function readFacts(exchange: Exchange, headerNames: readonly string[]): Promise<Facts> {
  const caller = await exchange.caller()
  const headers = new Map<string, string | undefined>()
  for (const name of headerNames) headers.set(name, await exchange.header(name))
  return { caller, route: exchange.route, headers }
}

function unmetered(message: string): RefusedRead {
  return new RefusedRead('unmetered_operation', message)
}
