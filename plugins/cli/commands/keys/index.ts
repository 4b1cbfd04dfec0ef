/** `portcullis keys`: the life of API keys, in Redis, in a running Kong, or in Kong's declarative file. */

import type { World } from '../../keys/open.ts'
import type { AddCommands } from '../../program.ts'
import { addAudit } from './audit.ts'
import { addIssue } from './issue.ts'
import { addList } from './list.ts'
import type { Place } from './place.ts'
import { addPrune } from './prune.ts'
import { addRevoke } from './revoke.ts'
import { addRotate } from './rotate.ts'

export const addKeys: AddCommands = (program, io, finish) => keysIn(loadWorld)(program, io, finish)

async function loadWorld(): Promise<World> {
  const { systemClock, systemRandom } = await import('../../../deps.ts')
  return { clock: systemClock, random: systemRandom }
}

/** With a clock and chance of the caller's own. */
export function keysIn(load: () => Promise<World>): AddCommands {
  return (program, io, finish) => {
    const keys = program.command('keys').description('Issues, rotates, revokes and audits API keys.')
    const place: Place = { io, finish, load }
    for (const add of [addIssue, addRotate, addPrune, addRevoke, addList, addAudit]) add(keys, place)
  }
}
