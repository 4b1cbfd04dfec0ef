/** What the deny list says about a caller, as a decision. */

import { CODES, type Code } from '../errors.ts'
import type { Caller, Claims, Deps, MaybePromise, Reject } from '../policy.ts'
import type { DenyList, Subject } from './deny-list.ts'
import type { RevocationConfig } from './fields.ts'
import { openDenyList } from './open.ts'
import type { Revocation } from './ports.ts'

export interface RevocationCheck {
  /** The refusal, or undefined when nothing about the caller is revoked. */
  check(caller: Caller, claims: Claims | undefined): MaybePromise<Reject | undefined>
}

export function createRevocationCheck(config: RevocationConfig, deps: Deps): RevocationCheck {
  const list = openDenyList(config, deps)
  const decide = (state: Awaited<ReturnType<DenyList['state']>>, subject: Subject) =>
    judge(list.find(subject), state, config.on_store_error)
  return {
    check(caller, claims) {
      const subject = subjectOf(caller, claims)
      const state = list.state()
      return state instanceof Promise ? state.then((known) => decide(known, subject)) : decide(state, subject)
    },
  }
}

function judge(
  hit: Revocation | undefined,
  state: 'fresh' | 'stale' | 'empty',
  onError: RevocationConfig['on_store_error'],
): Reject | undefined {
  if (hit !== undefined) return refusalOf(hit)
  if (state === 'fresh' || onError === 'allow') return undefined
  return state === 'empty' || onError === 'deny' ? UNKNOWN : undefined
}

export function subjectOf(caller: Caller, claims: Claims | undefined): Subject {
  const { consumer, credential } = caller
  const [issuer, jti, sub] = [claims?.iss, claims?.jti, claims?.sub].map(written)
  return {
    ...(issuer === undefined ? {} : { issuer }),
    ...(jti === undefined ? {} : { jti }),
    ...(sub === undefined ? {} : { sub }),
    ...(credential === undefined ? {} : { credential: texts(credential.id, credential.fingerprint) }),
    ...(consumer === undefined ? {} : { consumer: texts(consumer.id, consumer.username, consumer.customId) }),
  }
}

/** A gateway that verifies tokens by itself may take a number for a subject. */
function written(claim: unknown): string | undefined {
  return typeof claim === 'string' || typeof claim === 'number' ? String(claim) : undefined
}

function texts(...values: readonly (string | undefined)[]): string[] {
  return values.filter((value) => value !== undefined)
}

/** The reason stays with the operator. */
function refusalOf({ kind }: Revocation): Reject {
  const isToken = kind === 'jti' || kind === 'sub'
  if (isToken)
    return {
      ...refusal('invalid_token', 'The token was revoked.'),
      headers: { 'www-authenticate': 'Bearer error="invalid_token", error_description="The token was revoked."' },
    }
  return refusal('key_revoked', kind === 'credential' ? 'The credential was revoked.' : 'The consumer was revoked.')
}

function refusal(code: Code, message: string): Reject {
  return { type: 'reject', status: CODES[code].status, code, message }
}

const UNKNOWN = refusal('policy_unavailable', 'The gateway cannot tell whether the credential was revoked.')
