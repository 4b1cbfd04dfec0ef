/** Replies that do not come from the upstream: refusals, and Express Gateway's own errors put into the API's shape. */

import { type Code, RefusedRead } from '../../policies/errors.ts'
import { recognise } from '../../policies/llm/operations.ts'
import type { Protocol } from '../../policies/llm/protocol.ts'
import { protocolById } from '../../policies/llm/protocols/index.ts'
import type { Reject } from '../../policies/policy.ts'
import { type Reply, refusalReply } from '../../policies/reply.ts'
import type { EgRequest, EgResponse } from './eg.ts'

export interface AnswerContext {
  readonly requestId: string
  readonly protocol: Protocol | undefined
}

export function answer(response: EgResponse, reject: Reject, context: AnswerContext): void {
  if (response.headersSent || response.destroyed) return
  write(response, refusalReply(reject, context))
}

/**
 * Express Gateway answers errors as text, or as HTML with a stack trace. Every such reply, until the upstream's own
 * begins, leaves in the shape of the API instead.
 * @param isOwn whether the reply is the gateway's own
 */
export function convertErrors(response: EgResponse, isOwn: () => boolean, context: () => AnswerContext): void {
  const end = response.end.bind(response) as (...args: unknown[]) => EgResponse
  response.end = ((...args: unknown[]) => {
    const status = response.statusCode
    const json = String(response.getHeader('content-type') ?? '').includes('json')
    if (!isOwn() || response.headersSent || status < 400 || json) return end(...args)
    const reply = refusalReply(explain(status), context())
    for (const name of response.getHeaderNames()) if (!KEPT.test(name)) response.removeHeader(name)
    setHeaders(response, reply)
    return end(response.req.method === 'HEAD' ? undefined : reply.body)
  }) as EgResponse['end']
}

/** Headers that other policies may have set for a reason. */
const KEPT = /^(?:access-control-|www-authenticate$|retry-after$|x-ratelimit-|vary$)/

const EXPLANATIONS: Readonly<Record<number, readonly [Code, string]>> = {
  401: ['invalid_key', 'The API key or token is missing or unknown.'],
  403: ['insufficient_scope', 'The credential may not use this endpoint.'],
  413: ['request_too_large', 'The request body is too large.'],
  429: ['rate_limit_exceeded', 'Too many requests.'],
  502: ['policy_unavailable', 'The upstream could not be reached.'],
  504: ['policy_unavailable', 'The upstream did not answer in time.'],
}

/** The gateway's own words are dropped: they may hold a stack trace or a part of the request. */
function explain(status: number): Reject {
  const [code, message] = EXPLANATIONS[status] ?? (status >= 500 ? FAILED : REFUSED)
  return { type: 'reject', status, code, message }
}

const FAILED: readonly [Code, string] = ['policy_unavailable', 'The gateway failed on this request.']
const REFUSED: readonly [Code, string] = ['invalid_request', 'The gateway refused this request.']

function write(response: EgResponse, reply: Reply): void {
  response.statusCode = reply.status
  setHeaders(response, reply)
  response.end(response.req.method === 'HEAD' ? undefined : reply.body)
}

function setHeaders(response: EgResponse, reply: Reply): void {
  for (const [name, value] of Object.entries(reply.headers)) response.setHeader(name, value)
  response.setHeader('content-length', Buffer.byteLength(reply.body))
}

/** Whose shape a refusal has: that of the path's API, else of the API whose headers the client sent. */
export function protocolOf(request: EgRequest, path: string | undefined): Protocol | undefined {
  const method = request.method ?? ''
  const known = path === undefined ? undefined : (recognised(method, path) ?? recognised('POST', path))
  if (known !== undefined) return known
  if (request.headers['anthropic-version'] !== undefined) return protocolById('anthropic-messages')
  return request.headers['x-goog-api-client'] === undefined ? undefined : protocolById('gemini-generate')
}

/** The protocol of an operation, if any: a path that can be read in two ways belongs to no API. */
export function recognised(method: string, path: string): Protocol | undefined {
  try {
    return recognise(method, path)?.protocol
  } catch (error) {
    if (error instanceof RefusedRead) return undefined
    throw error
  }
}
