/** What a request gets that nobody could decide on. */

import { CODES } from '../../policies/errors.ts'
import type { Reject } from '../../policies/policy.ts'
import { type Reply, refusalReply } from '../../policies/reply.ts'

export const UNAVAILABLE: Reject = {
  type: 'reject',
  status: CODES.policy_unavailable.status,
  code: 'policy_unavailable',
  message: 'The gateway could not decide on this request.',
}

/** Until it is known which request this is; Kong sends its own `x-kong-request-id` as well. */
export const UNKNOWN_REQUEST = 'unknown'

/** When not even the called API is known. */
export const UNAVAILABLE_REPLY: Reply = refusalReply(UNAVAILABLE, { requestId: UNKNOWN_REQUEST })
