/** What a registry of keys must do. Every implementation passes `test/policies/api-key/registry-contract.ts`. */

import type { KeyRecord, Rotated, Rotation } from './record.ts'

export interface KeyRegistry {
  /** @throws {PortcullisError} `key_exists` when another key has the id */
  issue(record: KeyRecord): Promise<void>
  /**
   * One atomic step. The old secret stays valid for the overlap, and the id stays. Repeating it with the same hash, or a
   * whole run with the same `issuedBefore`, changes nothing.
   * @throws {PortcullisError} `too_many_rotations`
   */
  rotate(id: string, rotation: Rotation): Promise<Rotated>
  /** The key as it is now, revoked; undefined when there is none of that id. The first revocation stays. */
  revoke(id: string, revocation: { readonly at: number; readonly reason: string }): Promise<KeyRecord | undefined>
  /** Undefined when there is none. */
  find(id: string): Promise<KeyRecord | undefined>
  /** Every key, revoked ones too, in no particular order; page by page, so that many fit. */
  list(): AsyncIterable<KeyRecord>
  /** Notes when a credential was last used, in epoch milliseconds. An earlier time than the noted one changes nothing. */
  noteUse(name: string, at: number): Promise<void>
  /** When each was last used, in epoch milliseconds; undefined for what was never, or not for 400 days. */
  lastUses(names: readonly string[]): Promise<readonly (number | undefined)[]>
  close(): Promise<void>
}

/** The name under which the use of a secret is noted: so that it can be seen whether an old one is still in use. */
export function useName(id: string, hash: string): string {
  return `own:${id}.${hash.slice(0, 16)}`
}

/** The name under which the use of a gateway's own credential is noted. */
export function gatewayUseName(credential: string): string {
  return `gateway:${credential}`
}
