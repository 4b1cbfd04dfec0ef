/** Refusals in OpenAI's shape, which is also the one for paths of no known API. */

import type { Reject } from '../../policy.ts'

const TYPES: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  403: 'permission_error',
  429: 'rate_limit_error',
}

interface OpenAiError {
  readonly message: string
  readonly type: string
  readonly param: null
  readonly code: string
}

function errorOf(reject: Reject): OpenAiError {
  return {
    message: reject.message,
    type: TYPES[reject.status] ?? (reject.status < 500 ? 'invalid_request_error' : 'server_error'),
    param: null,
    code: reject.code,
  }
}

export function openAiErrorBody(reject: Reject, requestId: string): string {
  return JSON.stringify({ error: errorOf(reject), request_id: requestId })
}

/** As a chunk of a stream: the official SDKs throw on any data with an `error` member. */
export function openAiErrorEvent(reject: Reject, requestId: string): string {
  return `data: ${openAiErrorBody(reject, requestId)}\n\n`
}

/** The Responses API names its events. */
export function responsesErrorEvent(reject: Reject): string {
  const { message, code } = errorOf(reject)
  return `event: error\ndata: ${JSON.stringify({ type: 'error', code, message, param: null, sequence_number: 0 })}\n\n`
}
