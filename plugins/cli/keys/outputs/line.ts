/** A new secret as a line of text. */

import type { StagedSecret } from '../ports.ts'

/** `key`: nothing but the key, for one that stands alone. `json`: an object a line, which says whose it is. */
export type LineFormat = 'key' | 'json'

export function lineOf(secret: StagedSecret, format: LineFormat): string {
  return format === 'key' ? `${secret.reveal()}\n` : `${JSON.stringify(fieldsOf(secret))}\n`
}

export function fieldsOf({ id, owner, issuedAt, expiresAt, reveal }: StagedSecret) {
  return {
    id,
    consumer: owner,
    issued_at: new Date(issuedAt).toISOString(),
    ...(expiresAt === undefined ? {} : { expires_at: new Date(expiresAt).toISOString() }),
    key: reveal(),
  }
}
