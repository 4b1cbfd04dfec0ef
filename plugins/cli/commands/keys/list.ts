/** `portcullis keys list` */

import type { Command } from 'commander'
import { addBackendOptions, type BackendOptions } from '../../keys/open.ts'
import { asKeyTable, keyData } from '../../keys/report.ts'
import { asJsonLine } from '../../print.ts'
import { type JsonOption, type Place, withBackend } from './place.ts'

interface ListOptions extends BackendOptions, JsonOption {
  readonly consumer?: string
}

export function addList(keys: Command, place: Place): void {
  const command = keys
    .command('list')
    .description('Shows every key with its age and state, never its secret.')
    .option('--consumer <name>', 'only keys of this consumer')
    .option('--json', 'print JSON')
  addBackendOptions(command).action(async (options: ListOptions) => {
    await withBackend(options, place, async (backend, { clock }) => {
      const now = clock.now()
      const all = await backend.list()
      const found = all.filter(({ owner }) => options.consumer === undefined || owner === options.consumer)
      const text = options.json ? asJsonLine({ keys: found.map((key) => keyData(key, now)) }) : asKeyTable(found, now)
      place.io.out(text)
    })
  })
}
