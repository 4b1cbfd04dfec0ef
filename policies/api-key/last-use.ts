/** Writes down when a credential was last used: at most once a minute each, and never while a request waits. */

import { PortcullisError } from '../errors.ts'
import type { Clock } from '../policy.ts'
import { RedisFailure } from '../stores/redis/failure.ts'
import { publish } from '../telemetry.ts'
import { createBoundedMap } from './bounded-map.ts'
import type { KeyRegistry } from './registry.ts'

const EVERY_MS = 60_000
/** So many credentials are told apart, at most twice that; others may be written more often. */
const REMEMBERED = 20_000
/** Writes on their way at most: a registry that hangs must not fill the memory. */
const MAX_WRITES = 256

export interface LastUseNotes {
  note(name: string): void
}

export function createLastUseNotes(
  registry: Pick<KeyRegistry, 'noteUse'>,
  clock: Pick<Clock, 'now' | 'monotonic'>,
): LastUseNotes {
  const written = createBoundedMap<number>(REMEMBERED)
  let writing = 0

  async function write(name: string): Promise<void> {
    writing++
    try {
      await registry.noteUse(name, clock.now())
    } catch (error) {
      // The next minute tries again: nobody is let in or refused by it.
      const code =
        error instanceof RedisFailure ? error.reason : error instanceof PortcullisError ? error.code : 'internal_error'
      publish('fault', () => ({ where: 'llm-api-key.last_use', code }))
    } finally {
      writing--
    }
  }

  return {
    note(name) {
      const now = clock.monotonic()
      const last = written.get(name)
      if ((last !== undefined && now - last < EVERY_MS) || writing >= MAX_WRITES) return
      written.set(name, now)
      void write(name)
    },
  }
}
