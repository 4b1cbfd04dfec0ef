/** Which secrets a rotation left behind may go. */

import type { ManagedKey, Removal } from './ports.ts'

/** Only what was replaced: a key that merely expired still says whose it was. */
export function findEnded(keys: readonly ManagedKey[], now: number): readonly Removal[] {
  return keys.flatMap((key) => {
    const versions = key.versions.filter(({ state, expiresAt }) => state === 'retired' && (expiresAt ?? now + 1) <= now)
    return versions.length === 0 ? [] : [{ key, versions }]
  })
}
