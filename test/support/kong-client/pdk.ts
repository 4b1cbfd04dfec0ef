/** The PDK as Kong 3.9.1 exposes it to external plugins (`plugin_servers/plugin.lua`), as far as it is used or recorded. */

import { multiMap, toLua } from './lua.ts'
import type { KongRequest } from './request.ts'
import { LuaError, UNPACKABLE } from './rpc.ts'

export type PdkPhase = 'access' | 'log'

/** `kong.response.exit`: the request is over, and nothing after it runs. */
export class RequestEnded extends Error {
  override name = 'RequestEnded'
}

type Method = (request: KongRequest, args: readonly unknown[]) => unknown

const text = (value: unknown): string => {
  if (typeof value !== 'string') throw new LuaError('string expected')
  return value
}

/** Methods of both phases; in the log phase they read what was saved. */
const EVERYWHERE: Readonly<Record<string, Method>> = {
  'kong.ctx.shared.get': (request, [key]) => request.shared.get(text(key)),
  'kong.ctx.shared.set': (request, [key, value]) => {
    request.shared.set(text(key), toLua(value))
  },
  'kong.request.get_headers': (request) => multiMap(request.headers),
  'kong.request.get_header': (request, [name]) => first(request.headers[text(name).toLowerCase()]),
  'kong.client.get_consumer': ({ spec }) => spec.consumer,
  'kong.client.get_credential': ({ spec }) => spec.credential,
  'kong.router.get_route': ({ spec }) => spec.route,
  'kong.router.get_service': ({ spec }) => spec.service,
  'kong.node.get_id': ({ spec }) => spec.nodeId,
  'kong.log.info': () => undefined,
  'kong.log.set_serialize_value': () => undefined,
}

const IN_ACCESS: Readonly<Record<string, Method>> = {
  'kong.request.get_method': ({ spec }) => spec.method ?? 'GET',
  'kong.request.get_path': ({ spec }) => pathOf(spec.uri),
  'kong.request.get_path_with_query': ({ spec }) => spec.uri ?? '/',
  'kong.request.get_raw_query': ({ spec }) => queryOf(spec.uri),
  'kong.request.get_query': ({ spec }) => multiMap(queryArgs(spec.uri)),
  'kong.request.get_query_arg': ({ spec }, [name]) => first(queryArgs(spec.uri)[text(name)]),
  'kong.request.get_scheme': ({ spec }) => spec.scheme ?? 'http',
  'kong.request.get_forwarded_scheme': ({ spec }) => spec.scheme ?? 'http',
  'kong.request.get_host': ({ spec }) => spec.host ?? '127.0.0.1',
  'kong.client.get_ip': ({ spec }) => spec.clientIp ?? '127.0.0.1',
  'kong.client.get_forwarded_ip': ({ spec }) => spec.clientIp ?? '127.0.0.1',
  'kong.client.get_protocol': ({ spec }) => spec.scheme ?? 'http',
  'kong.nginx.get_var': ({ spec }, [name]) => nginxVariable(spec, text(name)),
  'kong.request.get_raw_body': getRawBody,
  'kong.service.request.set_header': (request, [name, value]) => setHeader(request.upstreamHeaders, name, value),
  'kong.service.request.set_headers': (request, [headers]) => setHeaders(request.upstreamHeaders, headers),
  'kong.service.request.clear_header': (request, [name]) => {
    request.upstreamHeaders.delete(text(name).toLowerCase())
  },
  'kong.service.request.set_raw_body': (request, [body]) => {
    request.upstreamBody = body instanceof Uint8Array ? body : Buffer.from(text(body))
  },
  'kong.response.set_header': (request, [name, value]) => setHeader(request.replyHeaders, name, value),
  'kong.response.set_headers': (request, [headers]) => setHeaders(request.replyHeaders, headers),
  'kong.response.exit': (request, [status, body, headers]) => {
    if (typeof status !== 'number') throw new LuaError('code must be a number')
    request.source = 'exit'
    request.reply = {
      status,
      body: typeof body === 'string' ? body : JSON.stringify(body ?? ''),
      headers: (headers ?? {}) as Readonly<Record<string, string>>,
    }
    throw new RequestEnded()
  },
}

const IN_LOG: Readonly<Record<string, Method>> = {
  'kong.log.serialize': (request) => request.serialized,
  'kong.response.get_status': (request) => request.responseStatus,
  'kong.response.get_source': (request) => request.source,
  'kong.response.get_headers': (request) => multiMap(request.responseHeaders),
  'kong.response.get_header': (request, [name]) => first(request.responseHeaders[text(name).toLowerCase()]),
}

const STEP_METHODS: Readonly<Record<string, string>> = {
  'kong.client.get_credential': 'plugin.StepCredential',
  'kong.client.get_consumer': 'plugin.StepConsumer',
  'kong.router.get_route': 'plugin.StepRoute',
  'kong.router.get_service': 'plugin.StepService',
  'kong.request.get_query': 'plugin.StepMultiMap',
  'kong.request.get_headers': 'plugin.StepMultiMap',
  'kong.response.get_headers': 'plugin.StepMultiMap',
}

/**
 * `call_pdk_method`: nil for a method that does not exist.
 * @throws {RequestEnded} @throws {LuaError} in a phase where the method is disabled.
 */
export function callPdk(request: KongRequest, phase: PdkPhase, method: string, args: readonly unknown[]): unknown {
  const own = phase === 'access' ? IN_ACCESS : IN_LOG
  const other = phase === 'access' ? IN_LOG : IN_ACCESS
  const found = lookUp(EVERYWHERE, method) ?? lookUp(own, method)
  if (found === undefined && lookUp(other, method) !== undefined)
    throw new LuaError(`function cannot be called in ${phase} phase (API disabled in the current context)`)
  return found?.(request, args)
}

/** `get_step_method`: a table with a key `_method` names any method it likes. */
export function stepMethod(method: string, result: unknown): string {
  if (typeof result === 'object' && result !== null && '_method' in result && typeof result._method === 'string')
    return result._method
  return lookUp(STEP_METHODS, method) ?? 'plugin.Step'
}

function nginxVariable(spec: KongRequest['spec'], name: string): string | undefined {
  if (name === 'kong_request_id') return spec.requestId
  if (name === 'upstream_uri') return spec.uri ?? '/'
  return name === 'args' ? queryOf(spec.uri) : undefined
}

/** nginx keeps 8 KiB in memory; what is larger lies in a file, which is only read up to `max`. */
function getRawBody({ spec }: KongRequest, [max]: readonly unknown[]): unknown {
  const body = spec.body ?? new Uint8Array()
  if (body.length <= 8_192) return body
  const limit = typeof max === 'number' ? max : -1
  // `nil, err`, and packing nil as a binary raises.
  return limit < 0 || (limit > 0 && body.length > limit) ? UNPACKABLE : body
}

function setHeader(headers: Map<string, string>, name: unknown, value: unknown): void {
  // A table without elements sets nothing.
  if (typeof value === 'object') return
  headers.set(text(name).toLowerCase(), String(value))
}

function setHeaders(target: Map<string, string>, headers: unknown): void {
  if (typeof headers !== 'object' || headers === null) throw new LuaError('headers must be a table')
  for (const [name, value] of Object.entries(headers)) setHeader(target, name, value)
}

function pathOf(uri: string | undefined): string {
  return (uri ?? '/').split('?', 1)[0] ?? ''
}

function queryOf(uri: string | undefined): string {
  return (uri ?? '').split('?').slice(1).join('?')
}

/** As `ngx.req.get_uri_args()`: true for an argument without a value, a list where a name repeats. */
function queryArgs(uri: string | undefined): Record<string, string | true | ReadonlyArray<string | true>> {
  const args: Record<string, string | true | ReadonlyArray<string | true>> = {}
  for (const pair of queryOf(uri).split('&').filter(Boolean)) {
    const [name = '', ...rest] = pair.split('=')
    const value = rest.length === 0 ? true : rest.join('=')
    const before = args[name]
    args[name] = before === undefined ? value : [...(Array.isArray(before) ? before : [before as string]), value]
  }
  return args
}

function first(value: unknown): unknown {
  return Array.isArray(value) ? value[0] : value
}

function lookUp<T>(table: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined
}
