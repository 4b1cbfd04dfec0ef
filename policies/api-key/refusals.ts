/** Refusals of keys. Every text is fixed; never a key or a part of one. */

import { CODES, type Code } from '../errors.ts'
import type { Reject } from '../policy.ts'
import type { AgeVerdict } from './lifecycle.ts'

export interface KeyRefusals {
  readonly missing: Reject
  readonly several: Reject
  readonly wrong: Reject
  readonly revoked: Reject
  readonly replaced: Reject
  readonly unreadable: Reject
  readonly address: Reject
  readonly unavailable: Reject
  expired(why: Extract<AgeVerdict, { readonly type: 'expired' }>['why']): Reject
  locked(forMs: number): Reject
}

export function createKeyRefusals(realm: string): KeyRefusals {
  const refusal = (code: Code, message: string, headers: Readonly<Record<string, string>> = {}): Reject => {
    const { status } = CODES[code]
    const challenge = status === 401 ? { 'www-authenticate': `Bearer realm="${realm}"` } : {}
    return { type: 'reject', status, code, message, headers: { ...challenge, ...headers } }
  }
  const expired = {
    expiry: refusal('key_expired', 'The API key is past its expiry: get a new one.'),
    age: refusal('key_expired', 'The API key is older than allowed: rotate it.'),
    unknown_age: refusal('key_expired', 'Nobody can tell how old the API key is: have it rotated.'),
  } as const
  return {
    missing: refusal('invalid_key', 'The request carries no API key that is known here.'),
    several: refusal('invalid_key', 'The request carries two different API keys.'),
    wrong: refusal('invalid_key', 'The API key is unknown.'),
    revoked: refusal('key_revoked', 'The API key was revoked.'),
    replaced: refusal('key_expired', 'The API key was replaced by a newer one.'),
    unreadable: refusal('key_expired', 'The dates or ranges of the API key cannot be read: have them corrected.'),
    address: refusal('address_not_allowed', 'The API key may not be used from this address.'),
    unavailable: refusal('policy_unavailable', 'The gateway cannot look the API key up now.'),
    expired: (why) => expired[why],
    locked: (forMs) =>
      refusal('invalid_key', 'Too many wrong API keys came from this address.', {
        'retry-after': String(Math.max(1, Math.ceil(forMs / 1_000))),
        'x-should-retry': 'false',
      }),
  }
}
