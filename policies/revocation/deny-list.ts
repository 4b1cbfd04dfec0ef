/**
 * A copy of the deny list in memory, kept fresh by polling: a decision costs no round trip, and a revocation takes effect on
 * every node within a poll.
 */

import { PortcullisError } from '../errors.ts'
import type { Clock, Logger, MaybePromise } from '../policy.ts'
import { publish } from '../telemetry.ts'
import type { Revocation, RevocationChanges, RevocationKey, RevocationKind, RevocationStore } from './ports.ts'

/** Everything about a caller that can be revoked. */
export interface Subject {
  readonly issuer?: string
  readonly jti?: string
  readonly sub?: string
  /** Id and fingerprint. */
  readonly credential?: readonly string[]
  /** Id, user name and custom id. */
  readonly consumer?: readonly string[]
}

export interface DenyListView {
  /** The revocation that hits; undefined when none does. */
  find(subject: Subject): Revocation | undefined
}

export interface DenyList extends DenyListView {
  /** Values that are remembered, some of them of revocations that have expired. */
  readonly size: number
  /**
   * Whether the copy is fresh; waits for the first answer of the store. `stale`: the store has not answered lately.
   * `empty`: it never has.
   */
  state(): MaybePromise<'fresh' | 'stale' | 'empty'>
  close(): Promise<void>
}

export interface DenyListOptions {
  readonly store: RevocationStore
  readonly clock: Clock
  readonly logger: Logger
  readonly pollMs: number
  /** Milliseconds without an answer after which the copy is stale. */
  readonly staleMs: number
}

export function createDenyList(options: DenyListOptions): DenyList {
  const { store, clock, logger } = options
  const table = createTable(clock)
  let cursor: string | undefined
  let answeredAt: number | undefined
  let closed = false
  let failing = false
  let cancel: (() => void) | undefined

  async function poll(): Promise<void> {
    try {
      let more = true
      while (more && !closed) {
        const changes = await store.changes(cursor)
        table.apply(changes)
        cursor = changes.cursor
        more = changes.more
      }
      table.sweep()
      answeredAt = clock.monotonic()
      report(true)
    } catch (error) {
      report(false, error instanceof PortcullisError ? error.code : error instanceof Error ? error.name : 'unknown')
    }
    if (!closed) cancel = clock.after(options.pollMs, () => void poll())
  }

  /** Once for every change. */
  function report(up: boolean, reason?: string): void {
    if (up !== failing) return
    failing = !up
    if (!up) logger.error('the revocation store does not answer', { reason })
    else logger.info('the revocation store answers again')
    publish('store', () => ({
      store: 'revocation',
      state: up ? 'up' : 'down',
      ...(reason === undefined ? {} : { reason }),
    }))
  }

  function stateNow(): 'fresh' | 'stale' | 'empty' {
    if (answeredAt === undefined) return 'empty'
    return clock.monotonic() - answeredAt <= options.staleMs ? 'fresh' : 'stale'
  }

  const first = poll()
  return {
    find: table.find,
    get size() {
      return table.size
    },
    state: () => (answeredAt === undefined ? first.then(stateNow) : stateNow()),
    async close() {
      closed = true
      cancel?.()
      await first
      await store.close()
    },
  }
}

/** A clock that was ahead and comes back must find what it took for expired. */
const KEEP_EXPIRED_MS = 3_600_000
/** Looked at in one sweep, so that a long list never holds up requests. */
const SWEPT_AT_ONCE = 1_000

interface Table extends DenyListView {
  readonly size: number
  /** Forgets some of what has expired. */
  sweep(): void
  apply(changes: Pick<RevocationChanges, 'revoked' | 'lifted'>): void
}

type ByValue = Map<string, readonly Revocation[]>

function createTable(clock: Pick<Clock, 'now'>): Table {
  const kinds: Readonly<Record<RevocationKind, ByValue>> = {
    jti: new Map(),
    sub: new Map(),
    credential: new Map(),
    consumer: new Map(),
  }

  function replace({ kind, value, issuer }: RevocationKey, revocation?: Revocation): void {
    const others = (kinds[kind].get(value) ?? []).filter((one) => one.issuer !== issuer)
    const all = revocation === undefined ? others : [...others, revocation]
    if (all.length === 0) kinds[kind].delete(value)
    else kinds[kind].set(value, all)
  }

  function* all(): Generator<readonly Revocation[]> {
    for (const revocations of Object.values(kinds)) yield* revocations.values()
  }
  let unswept = all()

  function sweep(): void {
    const gone = clock.now() - KEEP_EXPIRED_MS
    for (let count = 0; count < SWEPT_AT_ONCE; count++) {
      const next = unswept.next()
      if (next.done === true) {
        unswept = all()
        return
      }
      for (const revocation of next.value)
        if (revocation.expiresAt !== undefined && revocation.expiresAt <= gone) replace(revocation)
    }
  }

  function hit(kind: RevocationKind, value: string | undefined, issuer?: string): Revocation | undefined {
    if (value === undefined || kinds[kind].size === 0) return undefined
    for (const revocation of kinds[kind].get(value) ?? []) {
      if (revocation.expiresAt !== undefined && revocation.expiresAt <= clock.now()) continue
      if (revocation.issuer === undefined || revocation.issuer === issuer) return revocation
    }
    return undefined
  }

  function hitAny(kind: RevocationKind, values: readonly string[] | undefined): Revocation | undefined {
    for (const value of values ?? []) {
      const found = hit(kind, value)
      if (found !== undefined) return found
    }
    return undefined
  }

  return {
    get size() {
      return Object.values(kinds).reduce((sum, revocations) => sum + revocations.size, 0)
    },
    sweep,
    apply({ revoked, lifted }) {
      for (const revocation of revoked) replace(revocation, revocation)
      for (const key of lifted) replace(key)
    },
    find(subject) {
      return (
        hit('jti', subject.jti, subject.issuer) ??
        hit('sub', subject.sub, subject.issuer) ??
        hitAny('credential', subject.credential) ??
        hitAny('consumer', subject.consumer)
      )
    },
  }
}
