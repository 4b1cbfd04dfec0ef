/** `portcullis keys revoke` */

import type { Command } from 'commander'
import { PortcullisError } from '../../../../policies/errors.ts'
import type { Io } from '../../io.ts'
import { addBackendOptions, type BackendOptions, type World } from '../../keys/open.ts'
import type { ManagedKey } from '../../keys/ports.ts'
import { nameData } from '../../keys/report.ts'
import { asJsonLine, counted } from '../../print.ts'
import { type JsonOption, type Place, withBackend } from './place.ts'

interface RevokeOptions extends BackendOptions, JsonOption {
  readonly key?: true
  readonly reason: string
  readonly denyList?: true
}

const MAX_KEY = 1_024

export function addRevoke(keys: Command, place: Place): void {
  const command = keys
    .command('revoke [ids...]')
    .description('Ends keys at once, with all their secrets.')
    .option('--key', 'name the key by itself, read from standard input, so that no process list shows it')
    .option('--reason <text>', 'for the operator; callers never see it', 'revoked by an operator')
    .option(
      '--deny-list',
      'also put its fingerprints on the deny list in Redis, which every policy with `revocation` honours within a second; a file counts only once it is loaded',
    )
    .option('--json', 'print JSON')
  addBackendOptions(command).action(async (ids: readonly string[], options: RevokeOptions) => {
    const { io } = place
    if (ids.length > 0 === (options.key === true))
      throw new PortcullisError('invalid_argument', 'name ids, or give --key')
    const { fingerprintOf, parseKey } = await import('../../../../policies/api-key/index.ts')
    const text = options.key ? await readKey(io) : undefined
    const fingerprint = text === undefined ? undefined : fingerprintOf(text)
    const named = text === undefined ? undefined : parseKey(text)?.id
    await withBackend(options, place, async (backend, world) => {
      const all = await backend.list()
      const isMeant = (key: ManagedKey) =>
        fingerprint === undefined
          ? key.id !== undefined && ids.includes(key.id)
          : key.versions.some((version) => version.fingerprint === fingerprint) ||
            // A key says its id, but anybody can write one that says somebody else's.
            (text !== undefined && key.id === named && key.recognises?.(text) === true)
      const meant = all.filter(isMeant)
      const missing = ids.filter((id) => !meant.some((key) => key.id === id))
      if (missing.length > 0) throw new PortcullisError('unknown_key', `no key has the id ${missing.join(', ')}`)
      const fingerprints = new Set(
        meant.flatMap(({ versions }) => versions.flatMap((version) => version.fingerprint ?? [])),
      )
      if (fingerprint !== undefined) fingerprints.add(fingerprint)
      if (options.denyList) await deny([...fingerprints], options, world)
      for (const key of meant) await backend.revoke(key, options.reason)
      if (meant.length === 0 && !options.denyList)
        throw new PortcullisError('unknown_key', 'there is no such key; --deny-list refuses it all the same')
      const denied = options.denyList ? fingerprints.size : 0
      if (options.json) io.out(asJsonLine({ revoked: meant.map(nameData), denied }))
      io.err(
        `Revoked ${counted(meant.length, 'key')}${denied > 0 ? `, and put ${counted(denied, 'fingerprint')} on the deny list` : ''}.\n`,
      )
      if (backend.afterwards !== undefined && meant.length > 0) io.err(`Now ${backend.afterwards}.\n`)
    })
  })
}

async function readKey(io: Io): Promise<string> {
  const text = (await io.readInput?.(MAX_KEY))?.trim() ?? ''
  if (text === '' || /\s/.test(text))
    throw new PortcullisError('invalid_argument', 'give one key on standard input, and nothing else')
  return text
}

/** First of all: from then on it does not matter when the rest is done. */
async function deny(fingerprints: readonly string[], options: RevokeOptions, world: World): Promise<void> {
  const { openDenyListStore } = await import('../../keys/deny-list.ts')
  const store = await openDenyListStore(options, world)
  try {
    for (const value of fingerprints)
      await store.revoke({ kind: 'credential', value, reason: options.reason, revokedAt: world.clock.now() })
  } finally {
    await store.close()
  }
}
