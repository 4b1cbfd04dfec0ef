/** `portcullis tokens revoked` */

import type { Command } from 'commander'
import { asJsonLine, columns } from '../../print.ts'
import { addRedisOptions, type RedisOptions } from '../../redis-options.ts'
import type { JsonOption, Place } from '../keys/place.ts'

export function addRevoked(tokens: Command, { io, load }: Place): void {
  const command = tokens.command('revoked').description('Shows the deny list.').option('--json', 'print JSON')
  addRedisOptions(command).action(async (options: RedisOptions & JsonOption) => {
    const { openDenyListStore } = await import('../../keys/deny-list.ts')
    const store = await openDenyListStore(options, await load())
    try {
      const all = (await store.list()).toSorted((a, b) => a.revokedAt - b.revokedAt)
      const revoked = all.map(({ kind, value, issuer = null, reason, revokedAt, expiresAt }) => ({
        kind,
        value,
        issuer,
        reason,
        revoked_at: new Date(revokedAt).toISOString(),
        expires_at: expiresAt === undefined ? null : new Date(expiresAt).toISOString(),
      }))
      if (options.json) io.out(asJsonLine({ revoked }))
      else if (revoked.length === 0) io.err('Nothing is revoked.\n')
      else
        io.out(
          columns([
            ['KIND', 'VALUE', 'ISSUER', 'REVOKED', 'ENDS', 'REASON'],
            ...revoked.map((each) => [
              each.kind,
              each.value,
              each.issuer ?? '-',
              each.revoked_at,
              each.expires_at ?? '-',
              each.reason,
            ]),
          ]),
        )
    } finally {
      await store.close()
    }
  })
}
