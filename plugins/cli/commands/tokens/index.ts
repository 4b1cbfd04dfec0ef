/** `portcullis tokens`: short-lived scoped tokens for teams without an identity provider, and the deny list. */

import type { World } from '../../keys/open.ts'
import type { AddCommands } from '../../program.ts'
import type { Place } from '../keys/place.ts'
import { addIssue } from './issue.ts'
import { addJwks } from './jwks.ts'
import { addKey } from './key.ts'
import { addLift, addRevoke } from './revoke.ts'
import { addRevoked } from './revoked.ts'

export const addTokens: AddCommands = (program, io, finish) => tokensIn(loadWorld)(program, io, finish)

async function loadWorld(): Promise<World> {
  const { systemClock, systemRandom } = await import('../../../deps.ts')
  return { clock: systemClock, random: systemRandom }
}

/** With a clock and chance of the caller's own. */
export function tokensIn(load: () => Promise<World>): AddCommands {
  return (program, io, finish) => {
    const tokens = program.command('tokens').description('Issues short-lived tokens, and revokes tokens of any issuer.')
    const place: Place = { io, finish, load }
    for (const add of [addKey, addIssue, addJwks, addRevoke, addLift, addRevoked]) add(tokens, place)
  }
}
