/** Faults of the adapter itself: the door stays shut, the log says where, and nobody's request is quoted. */

import { CODES, PortcullisError } from '../../policies/errors.ts'
import type { Logger, Reject } from '../../policies/policy.ts'
import { publish } from '../../policies/telemetry.ts'

export const UNAVAILABLE: Reject = {
  type: 'reject',
  status: CODES.policy_unavailable.status,
  code: 'policy_unavailable',
  message: 'The gateway could not decide on this request.',
}

/** Only the code: a message of somebody else's error may quote the request. */
export function reportFault(logger: Logger, where: string, error: unknown): void {
  const code = error instanceof PortcullisError ? error.code : 'internal_error'
  const kind = error instanceof Error ? error.name : typeof error
  logger.error('adapter fault', { where, code, kind })
  publish('fault', () => ({ where, code }))
}
