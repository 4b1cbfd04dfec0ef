/** Settlements that Redis has not answered: a refund is sent at most once, a charge until it is answered. */

import type { Lives } from '../fallback.ts'
import type { SettleEntry } from '../ports.ts'
import { RedisFailure } from './failure.ts'

const MAX_PENDING = 10_000

/** What one script settles. */
export interface Settling {
  readonly id: string
  /** The hash of the first entry. */
  readonly hash: string
  readonly entries: readonly SettleEntry[]
  /** Set when it charges what the local share with these lives admitted. */
  readonly lives?: Lives
}

export interface PendingSettlements {
  readonly size: number
  /** The hash of each that is kept. */
  hashes(): readonly string[]
  /** Keeps what did not reach Redis. After a failure that may hide a success, refunds are not among it. */
  add(settling: Settling, failure?: RedisFailure): void
  /** Sends what is kept, but for hashes that `skip` names. False when something is left. */
  flush(skip: (hash: string) => boolean): Promise<boolean>
}

export interface PendingDeps {
  /** @throws {RedisFailure} */
  send(settling: Settling): Promise<void>
  /** Something could not be kept, or was refused for good: `charges_dropped`, `refunds_dropped` or the fault's code. */
  dropped(code: string): void
}

export function createPending({ send, dropped }: PendingDeps): PendingSettlements {
  // In the order in which they came.
  const waiting = new Set<Settling>()
  let flushing: Promise<boolean> | undefined

  function add(settling: Settling, failure?: RedisFailure): void {
    const entries = failure?.mayHaveRun === true ? settling.entries.filter(isCharge) : settling.entries
    if (entries.length === 0) return
    if (waiting.size >= MAX_PENDING && !makeRoom()) {
      dropped(entries.some(isCharge) ? 'charges_dropped' : 'refunds_dropped')
      return
    }
    waiting.add({ ...settling, entries })
  }

  /** A refund that is lost keeps a limit, a charge that is lost breaks it. */
  function makeRoom(): boolean {
    for (const settling of waiting) {
      if (settling.entries.some(isCharge)) continue
      waiting.delete(settling)
      dropped('refunds_dropped')
      return true
    }
    return false
  }

  async function sendAll(skip: (hash: string) => boolean): Promise<boolean> {
    for (const settling of [...waiting]) {
      if (skip(settling.hash)) continue
      waiting.delete(settling)
      try {
        await send(settling)
      } catch (error) {
        if (!(error instanceof RedisFailure)) {
          dropped('settlement_refused')
          continue
        }
        add(settling, error)
        // The next one would most likely wait in vain as well.
        return false
      }
    }
    return waiting.size === 0
  }

  return {
    get size() {
      return waiting.size
    },
    hashes: () => [...waiting].map(({ hash }) => hash),
    add,
    flush(skip) {
      flushing ??= sendAll(skip).finally(() => {
        flushing = undefined
      })
      return flushing
    },
  }
}

function isCharge({ actual, reserved }: SettleEntry): boolean {
  return actual > reserved
}
