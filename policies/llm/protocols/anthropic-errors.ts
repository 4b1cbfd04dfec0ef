/** Refusals in Anthropic's shape. */

import type { Reject } from '../../policy.ts'

const TYPES: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  403: 'permission_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
}

/** The official SDKs read the stable code at `error.details.error_code`. */
export function anthropicErrorBody(reject: Reject, requestId: string): string {
  return JSON.stringify({
    type: 'error',
    error: {
      type: TYPES[reject.status] ?? (reject.status < 500 ? 'invalid_request_error' : 'api_error'),
      message: reject.message,
      details: { error_code: reject.code },
    },
    request_id: requestId,
  })
}

export function anthropicErrorEvent(reject: Reject, requestId: string): string {
  return `event: error\ndata: ${anthropicErrorBody(reject, requestId)}\n\n`
}
