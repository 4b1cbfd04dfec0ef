/** What a store of revocations must do. */

/**
 * What is revoked by name: one token, all tokens of a subject, one credential (by id or fingerprint), or a consumer (by
 * id, user name or custom id).
 */
export const REVOCATION_KINDS = ['jti', 'sub', 'credential', 'consumer'] as const
export type RevocationKind = (typeof REVOCATION_KINDS)[number]

/** Names one revocation. */
export interface RevocationKey {
  readonly kind: RevocationKind
  readonly value: string
  /** For `jti` and `sub`: only tokens of this issuer. Absent: of any. */
  readonly issuer?: string
}

export interface Revocation extends RevocationKey {
  /** For the operator; callers never see it. */
  readonly reason: string
  /** Epoch milliseconds. */
  readonly revokedAt: number
  /** Epoch milliseconds from which it no longer counts. Absent: for good. */
  readonly expiresAt?: number
}

export interface RevocationChanges {
  /** What to ask with next time. */
  readonly cursor: string
  readonly revoked: readonly Revocation[]
  /** Taken back before they expired. */
  readonly lifted: readonly RevocationKey[]
  /** How many changes are no revocation that this version knows. */
  readonly unreadable: number
  /** There is more: ask again at once. */
  readonly more: boolean
}

export interface RevocationStore {
  /** Replaces an earlier one of the same key. @throws {PortcullisError} `revocations_full` */
  revoke(revocation: Revocation): Promise<void>
  /** Whether there was such a revocation. */
  lift(key: RevocationKey): Promise<boolean>
  /** In no particular order. @throws {PortcullisError} `store_fault` when there is one that cannot be read. */
  list(): Promise<readonly Revocation[]>
  /** What changed since `cursor`; everything when it is undefined. */
  changes(cursor: string | undefined): Promise<RevocationChanges>
  close(): Promise<void>
}

/** Injective. */
export function keyText({ kind, value, issuer }: RevocationKey): string {
  return JSON.stringify(issuer === undefined ? [kind, value] : [kind, value, issuer])
}
