/** Tells whom an own key belongs to. */

import type { Clock, Identity } from '../policy.ts'
import { fingerprintOf, hashKey, parseKey, sameHash } from './key-format.ts'
import type { Lockout } from './lockout.ts'
import type { KeyLookup, Lookup } from './lookup.ts'
import type { KeyRecord, StoredSecret } from './record.ts'

export type Authenticated =
  | {
      /** `replaced`: its overlap with a newer one is over. */
      readonly type: 'known' | 'revoked' | 'replaced'
      readonly identity: Identity
      readonly record: KeyRecord
      /** The secret that the key has. */
      readonly secret: StoredSecret
    }
  | { readonly type: 'wrong' }
  | { readonly type: 'locked'; readonly forMs: number }
  /** The registry does not answer, and nothing that is known decides. */
  | { readonly type: 'unknown' }

export interface AuthenticatorOptions {
  readonly lookup: KeyLookup
  readonly lockout: Lockout
  readonly clock: Pick<Clock, 'now'>
  /** The current one first. */
  readonly peppers: readonly string[]
  /** Empty: any. */
  readonly environments: readonly string[]
  /** Milliseconds for which a key as last seen counts while the registry does not answer. */
  readonly staleMs: number
}

export interface Authenticator {
  authenticate(key: string, address: string): Promise<Authenticated>
}

export function createAuthenticator(options: AuthenticatorOptions): Authenticator {
  const { lookup, lockout, clock, peppers, environments, staleMs } = options

  /** All are compared, in the same time each. */
  function secretOf(key: string, record: KeyRecord): StoredSecret | undefined {
    const hashes = peppers.map((pepper) => hashKey(pepper, key))
    const matching = record.secrets.filter(({ hash }) => hashes.map((own) => sameHash(own, hash)).includes(true))
    return matching[0]
  }

  function wrong(address: string): Authenticated {
    lockout.failed(address)
    return { type: 'wrong' }
  }

  function judge(key: string, record: KeyRecord, address: string): Authenticated {
    const secret = secretOf(key, record)
    if (secret === undefined) return wrong(address)
    const replaced = secret.validUntil !== undefined && secret.validUntil <= clock.now()
    const type = record.revoked !== undefined ? 'revoked' : replaced ? 'replaced' : 'known'
    return { type, identity: identityOf(key, record, secret), record, secret }
  }

  function judgeFound(key: string, found: Lookup, address: string): Authenticated {
    if (found.type === 'absent') return wrong(address)
    if (found.type === 'found') return judge(key, found.record, address)
    const { record, ageMs = Number.POSITIVE_INFINITY } = found
    return record === undefined || ageMs > staleMs ? { type: 'unknown' } : judge(key, record, address)
  }

  return {
    async authenticate(key, address) {
      const parsed = parseKey(key)
      const forMs = lockout.lockedFor(address)
      if (forMs > 0) {
        // Whoever shares the address with an attacker goes on with a key that is known to be good.
        const last = parsed === undefined ? undefined : lookup.peek(parsed.id)
        if (last === undefined || secretOf(key, last) === undefined) return { type: 'locked', forMs }
      }
      if (parsed === undefined) return wrong(address)
      if (environments.length > 0 && !environments.includes(parsed.env)) return wrong(address)
      const finding = lookup.find(parsed.id)
      return judgeFound(key, finding instanceof Promise ? await finding : finding, address)
    },
  }
}

function identityOf(key: string, record: KeyRecord, secret: StoredSecret): Identity {
  const { id, username, customId, tags = [] } = record.consumer
  return {
    consumer: {
      id,
      ...(username === undefined ? {} : { username }),
      ...(customId === undefined ? {} : { customId }),
      tags,
      groups: [],
    },
    credential: {
      id: record.id,
      createdAt: Math.floor(secret.issuedAt / 1_000),
      tags: record.tags,
      fingerprint: fingerprintOf(key),
      ...(record.scopes === undefined ? {} : { scopes: record.scopes }),
    },
  }
}
