/** Revocations in this process: for one gateway node, and for tests. */

import { PortcullisError } from '../errors.ts'
import type { Clock } from '../policy.ts'
import { keyText, type Revocation, type RevocationKey, type RevocationStore } from './ports.ts'

export const MAX_REVOCATIONS = 1_000_000

interface Entry {
  readonly serial: number
  readonly key: RevocationKey
  /** Absent once it was lifted. */
  readonly revocation?: Revocation
}

export function createMemoryRevocations({ clock }: { readonly clock: Clock }): RevocationStore {
  /** In the order of their serials. */
  const entries = new Map<string, Entry>()
  let serial = 0

  function put(key: RevocationKey, revocation?: Revocation): void {
    const text = keyText(key)
    entries.delete(text)
    serial += 1
    entries.set(text, { serial, key, ...(revocation === undefined ? {} : { revocation }) })
  }

  function dropExpired(): void {
    for (const [text, { revocation }] of entries)
      if (revocation?.expiresAt !== undefined && revocation.expiresAt <= clock.now()) entries.delete(text)
  }

  return {
    async revoke(revocation) {
      if (entries.size >= MAX_REVOCATIONS) dropExpired()
      if (entries.size >= MAX_REVOCATIONS)
        throw new PortcullisError('revocations_full', `There are ${MAX_REVOCATIONS} revocations already.`)
      put(revocation, revocation)
    },
    async lift(key) {
      if (entries.get(keyText(key))?.revocation === undefined) return false
      put(key)
      return true
    },
    async list() {
      dropExpired()
      return [...entries.values()].flatMap(({ revocation }) => revocation ?? [])
    },
    async changes(cursor) {
      const since = Number(cursor ?? 0)
      if (since === serial) return { cursor: String(serial), revoked: [], lifted: [], unreadable: 0, more: false }
      const changed = [...entries.values()].filter((entry) => entry.serial > since)
      return {
        cursor: String(serial),
        revoked: changed.flatMap(({ revocation }) => revocation ?? []),
        lifted: changed.flatMap(({ key, revocation }) => (revocation === undefined ? [key] : [])),
        unreadable: 0,
        more: false,
      }
    },
    async close() {
      entries.clear()
    },
  }
}
