/** Refusals in the shape of Google's APIs. */

import type { Reject } from '../../policy.ts'

const STATUSES: Readonly<Record<number, string>> = {
  401: 'UNAUTHENTICATED',
  403: 'PERMISSION_DENIED',
  429: 'RESOURCE_EXHAUSTED',
  503: 'UNAVAILABLE',
}

export function geminiErrorBody(reject: Reject, requestId: string): string {
  return JSON.stringify({ error: errorOf(reject, requestId) })
}

export function geminiErrorEvent(reject: Reject, requestId: string): string {
  return `data: ${geminiErrorBody(reject, requestId)}\r\n\r\n`
}

function errorOf(reject: Reject, requestId: string) {
  const seconds = Number(reject.headers?.['retry-after'])
  return {
    code: reject.status,
    message: reject.message,
    status: STATUSES[reject.status] ?? (reject.status < 500 ? 'INVALID_ARGUMENT' : 'INTERNAL'),
    details: [
      {
        '@type': 'type.googleapis.com/google.rpc.ErrorInfo',
        reason: reject.code.toUpperCase(),
        domain: 'portcullis',
        metadata: { code: reject.code },
      },
      { '@type': 'type.googleapis.com/google.rpc.RequestInfo', requestId },
      ...(Number.isFinite(seconds)
        ? [{ '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: `${seconds}s` }]
        : []),
    ],
  }
}
