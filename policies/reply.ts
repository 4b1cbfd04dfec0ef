/** A refusal as an HTTP reply, in the shape of the API that was called. */

import type { Protocol } from './llm/protocol.ts'
import { openAiErrorBody } from './llm/protocols/openai-errors.ts'
import type { HeaderMap, Reject } from './policy.ts'

export interface Reply {
  readonly status: number
  /** Names in lower case. */
  readonly headers: HeaderMap
  /** JSON text. */
  readonly body: string
}

export interface ReplyContext {
  /** The protocol whose shape the body has; OpenAI's when nothing is known. */
  readonly protocol?: Protocol | undefined
  readonly requestId: string
}

export function refusalReply(reject: Reject, { protocol, requestId }: ReplyContext): Reply {
  const body = protocol?.errorBody(reject, requestId) ?? openAiErrorBody(reject, requestId)
  return {
    status: reject.status,
    headers: {
      ...reject.headers,
      'content-type': 'application/json',
      'cache-control': 'no-store',
      'x-request-id': requestId,
      // Where Anthropic's SDKs look for it.
      ...(protocol?.rateLimitHeaders === 'anthropic' ? { 'request-id': requestId } : {}),
    },
    body,
  }
}
