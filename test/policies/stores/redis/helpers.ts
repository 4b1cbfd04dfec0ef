import type { Claim, ClaimResult, CounterSpec, ReserveResult, SettleEntry } from '../../../../policies/stores/ports.ts'
import type { RedisStore } from '../../../../policies/stores/redis/store.ts'
import { claimWith } from '../../../contract/limit-reference.ts'
import { sleep } from '../../../support/redis/server.ts'

export const HOUR = 3600

/** A claim on a counter of a caller. */
export function claimOf(caller: string, counter: CounterSpec, want: number, parts: Partial<Claim> = {}): Claim {
  return claimWith({ key: `${caller}/${counter.algorithm}`, caller, counter, want, ...parts })
}

let ids = 0

export function reserve(store: RedisStore, ...claims: Claim[]): Promise<ReserveResult> {
  return Promise.resolve(store.reserve({ id: `r${process.pid}-${ids++}`, claims }))
}

export function firstOf(result: ReserveResult): ClaimResult {
  const [claimed] = result.claims
  if (claimed === undefined) throw new Error('no claim')
  return claimed
}

export function entryOf(asked: Claim, result: ReserveResult, actual: number): SettleEntry {
  const { key, at, epoch, reserved } = firstOf(result)
  const { caller, counter } = asked
  return { key, ...(caller === undefined ? {} : { caller }), counter, at, epoch, reserved, actual }
}

export async function remainingOf(store: RedisStore, asked: Claim): Promise<number> {
  return firstOf(await reserve(store, { ...asked, input: 0, want: 0, clip: false })).remaining
}

/** Waits until it is so; a test that never gets there ends by its timeout. */
export async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await what())) await sleep(20)
}

export interface Load {
  readonly admitted: number
  readonly refused: number
  readonly faults: readonly unknown[]
  /** Lets the requests that are under way end. */
  stop(): Promise<void>
}

/** So many requests at once, one after the other, until stopped. */
export function startLoad(store: RedisStore, inFlight: number, claim: () => Claim, pauseMs = 1): Load {
  const load = { admitted: 0, refused: 0, faults: [] as unknown[] }
  let stopped = false
  const loops = Array.from({ length: inFlight }, async () => {
    while (!stopped) {
      try {
        const { admitted } = await reserve(store, claim())
        if (admitted) load.admitted++
        else load.refused++
      } catch (error) {
        load.faults.push(error)
      }
      await sleep(pauseMs)
    }
  })
  return Object.assign(load, {
    async stop() {
      stopped = true
      await Promise.all(loops)
    },
  })
}
