/** How many gateway nodes share the limits: each says every few seconds that it is there. */

import type { Clock, Random } from '../../policy.ts'
import type { RedisConnection } from './connection.ts'
import { scripts } from './scripts.ts'

const BEAT_MS = 5_000
/** Three missed beats. */
const GONE_AFTER_MS = 15_000

export interface Presence {
  /** Nodes alive when last heard of; 0 when never. */
  readonly nodes: number
  /** Says at once that this node is there, and goes on saying so. @throws {RedisFailure} */
  beat(): Promise<void>
  /** @throws {RedisFailure} */
  leave(): Promise<void>
}

export interface PresenceDeps {
  readonly clock: Pick<Clock, 'after'>
  readonly random: Random
  /** A beat failed. */
  missed(error: unknown): void
}

export function createPresence(connection: RedisConnection, prefix: string, deps: PresenceDeps): Presence {
  const key = `${prefix}nodes`
  const self = deps.random.id()
  let nodes = 0
  let cancel: (() => void) | undefined
  let left = false

  async function beat(): Promise<void> {
    schedule()
    const reply = await connection.run(scripts.nodes, [key], ['', self, GONE_AFTER_MS])
    if (typeof reply === 'number') nodes = reply
  }

  function schedule(): void {
    cancel?.()
    if (left) return
    cancel = deps.clock.after(BEAT_MS * (0.75 + deps.random.fraction() / 2), () => {
      beat().catch(deps.missed)
    })
  }

  return {
    get nodes() {
      return nodes
    },
    beat,
    async leave() {
      left = true
      cancel?.()
      await connection.removeMember(key, self)
    },
  }
}
