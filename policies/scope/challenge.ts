/** Refusals as RFC 6750 wants them. Every text is fixed but for the scope that is missing; never a token or a part of one. */

import { CODES } from '../errors.ts'
import type { Reject } from '../policy.ts'

/** Nobody said who they are: RFC 6750 3.1 wants no error code then. */
export function nobody(realm: string): Reject {
  return refusal('invalid_token', 'No credential that this gateway knows came with the request.', challenge(realm))
}

/** @param reason fixed text without quotes */
export function invalidToken(realm: string, reason: string): Reject {
  return refusal('invalid_token', reason, challenge(realm, ['error', 'invalid_token'], ['error_description', reason]))
}

/** @param scope of visible ASCII without quotes and backslashes */
export function insufficientScope(realm: string, scope: string): Reject {
  return refusal(
    'insufficient_scope',
    `The scope "${scope}" is missing.`,
    challenge(realm, ['error', 'insufficient_scope'], ['scope', scope]),
  )
}

/** No scope can be named: no operation is known at this method and path. */
export function unknownOperation(realm: string): Reject {
  return refusal(
    'insufficient_scope',
    'No operation is known at this method and path, so no scope covers it.',
    challenge(realm, ['error', 'insufficient_scope']),
  )
}

function refusal(code: 'invalid_token' | 'insufficient_scope', message: string, header: string): Reject {
  return { type: 'reject', status: CODES[code].status, code, message, headers: { 'www-authenticate': header } }
}

function challenge(realm: string, ...parameters: readonly (readonly [name: string, value: string])[]): string {
  return `Bearer ${[['realm', realm], ...parameters].map(([name, value]) => `${name}="${value}"`).join(', ')}`
}
