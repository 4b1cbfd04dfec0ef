/** `portcullis keys prune` */

import type { Command } from 'commander'
import { addBackendOptions, type BackendOptions } from '../../keys/open.ts'
import { findEnded } from '../../keys/pruning.ts'
import { nameData, versionData } from '../../keys/report.ts'
import { asJsonLine, counted } from '../../print.ts'
import { type JsonOption, type Place, withBackend } from './place.ts'

interface PruneOptions extends BackendOptions, JsonOption {
  readonly dryRun?: true
}

export function addPrune(keys: Command, place: Place): void {
  const command = keys
    .command('prune')
    .description(
      'Removes secrets that a rotation replaced and whose grace time is over. The registry in Redis does so itself.',
    )
    .option('--dry-run', 'only say what would be done')
    .option('--json', 'print JSON')
  addBackendOptions(command).action(async (options: PruneOptions) => {
    const { io } = place
    await withBackend(options, place, async (backend, { clock }) => {
      const now = clock.now()
      const ended = findEnded(await backend.list(), now)
      if (options.dryRun !== true) await backend.prune(ended)
      const removed = ended.flatMap(({ key, versions }) =>
        versions.map((version) => ({ ...nameData(key), ...versionData(version, now) })),
      )
      if (options.json) io.out(asJsonLine({ dry_run: options.dryRun === true, removed }))
      io.err(`${options.dryRun ? 'Would remove' : 'Removed'} ${counted(removed.length, 'secret')}.\n`)
      if (backend.afterwards !== undefined && removed.length > 0) io.err(`Now ${backend.afterwards}.\n`)
    })
  })
}
