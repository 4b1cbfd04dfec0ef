/** Rotates keys so that a run may be repeated, or killed and repeated, and ends the same. */

import { PortcullisError } from '../../../policies/errors.ts'
import type { KeyBackend, KeyVersion, ManagedKey, SecretOutput, StagedSecret } from './ports.ts'

export interface RotationOrder {
  /** Epoch milliseconds: only keys issued before. */
  readonly issuedBefore: number
  /** Only these stable ids; absent: all. */
  readonly ids?: readonly string[]
  /** Also keys of unknown age. */
  readonly unknownAge: boolean
  /** Epoch milliseconds. */
  readonly now: number
}

export type Step =
  | { readonly type: 'rotate' | 'resume'; readonly key: ManagedKey }
  | { readonly type: 'skip'; readonly key: ManagedKey; readonly why: string }

/** What is to be done; keys that are young enough are left out. @throws {PortcullisError} `unknown_key` */
export function planRotation(keys: readonly ManagedKey[], order: RotationOrder): readonly Step[] {
  const { ids } = order
  const missing = ids?.filter((id) => !keys.some((key) => key.id === id)) ?? []
  if (missing.length > 0) throw new PortcullisError('unknown_key', `no key has the id ${missing.join(', ')}`)
  const chosen = ids === undefined ? keys : keys.filter(({ id }) => id !== undefined && ids.includes(id))
  const owners = new Map<string, Set<string>>()
  for (const { id, owner } of keys) if (id !== undefined) owners.set(id, (owners.get(id) ?? new Set()).add(owner))
  return chosen.flatMap((key): Step[] => {
    const step = stepFor(key, order)
    if (step === undefined || step.type === 'skip') return step === undefined ? [] : [step]
    const shared = key.id !== undefined && (owners.get(key.id)?.size ?? 0) > 1
    return [shared ? { type: 'skip', key, why: 'its id is also that of another consumer’s key' } : step]
  })
}

function stepFor(key: ManagedKey, { issuedBefore, unknownAge, now }: RotationOrder): Step | undefined {
  if (key.revoked === true) return undefined
  if (key.versions.some(({ state }) => state === 'staged')) return { type: 'resume', key }
  const current = currentOf(key)
  if (current === undefined || (current.expiresAt ?? Number.POSITIVE_INFINITY) <= now) return undefined
  if (current.issuedAt === undefined && !unknownAge)
    return { type: 'skip', key, why: 'nobody knows its age; --unknown-age rotates it' }
  if (current.issuedAt !== undefined && current.issuedAt >= issuedBefore) return undefined
  return key.fixed === undefined ? { type: 'rotate', key } : { type: 'skip', key, why: key.fixed }
}

/** The newest. */
export function currentOf({ versions }: ManagedKey): KeyVersion | undefined {
  return versions
    .filter(({ state }) => state === 'current')
    .toSorted((a, b) => (b.issuedAt ?? Number.NEGATIVE_INFINITY) - (a.issuedAt ?? Number.NEGATIVE_INFINITY))[0]
}

export interface RotationRun {
  readonly backend: KeyBackend
  readonly output: SecretOutput
  readonly steps: readonly Step[]
  /** Epoch milliseconds at which the old secrets end. */
  readonly retireAt: number
  progress(done: number, all: number): void
}

/** @returns what was delivered and counts. @throws {PortcullisError} after which the run may be repeated */
export async function runRotation(run: RotationRun): Promise<readonly StagedSecret[]> {
  const { backend, output } = run
  const keys = run.steps.flatMap((step) => (step.type === 'skip' ? [] : [step.key]))
  const done: StagedSecret[] = []
  for (let from = 0; from < keys.length; from += backend.batch) {
    const staged = await backend.stage(keys.slice(from, from + backend.batch), output.held)
    const delivered: StagedSecret[] = []
    try {
      for (const secret of staged) {
        await output.deliver(secret)
        delivered.push(secret)
        run.progress(done.length + delivered.length, keys.length)
      }
    } finally {
      // Also when the output fails in the middle: what it took is in somebody's hands.
      if (delivered.length > 0) {
        await output.flush()
        await backend.confirm(delivered, run.retireAt)
      }
    }
    done.push(...delivered)
  }
  return done
}
