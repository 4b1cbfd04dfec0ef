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
   * Whether the copy is fresh; waits for the first answer of the store. `stale`: the store has not answered lately, or
   * holds what cannot be read. `empty`: it never has answered.
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

/** Where an entry that cannot be read lies, all behind it is read again this often: it may have been mended or removed. */
const REREAD_MS = 30_000

/** A change that cannot be read, such as one by a newer version. */
interface Gap {
  /** The cursor before it. */
  readonly cursor: string | undefined
  /** When it is read again. */
  readonly due: number
}

type Fault = 'silent' | 'unreadable'
const FAULTS: Readonly<Record<Fault, string>> = {
  silent: 'the revocation store does not answer',
  unreadable: 'the revocation store holds what is no revocation',
}

export function createDenyList(options: DenyListOptions): DenyList {
  const { store, clock, logger } = options
  const table = createTable(clock)
  let cursor: string | undefined
  let answeredAt: number | undefined
  let closed = false
  let failing: Fault | undefined
  let gap: Gap | undefined
  let cancel: (() => void) | undefined

  async function poll(): Promise<void> {
    try {
      await (gap !== undefined && clock.monotonic() >= gap.due ? readFrom(gap.cursor) : readFrom(cursor, gap))
      table.sweep()
      answeredAt = clock.monotonic()
      report(gap === undefined ? undefined : 'unreadable')
    } catch (error) {
      report('silent', error instanceof PortcullisError ? error.code : error instanceof Error ? error.name : 'unknown')
    }
    if (!closed) cancel = clock.after(options.pollMs, () => void poll())
  }

  /** One entry that cannot be read must not hide those after it. */
  async function readFrom(start: string | undefined, known?: Gap): Promise<void> {
    cursor = start
    let found = known
    let more = true
    while (more && !closed) {
      const changes = await store.changes(cursor)
      table.apply(changes)
      if (changes.unreadable > 0) found ??= { cursor, due: clock.monotonic() + REREAD_MS }
      // Page by page: a store that fails in between need not give all of it again.
      gap = found ?? gap
      cursor = changes.cursor
      more = changes.more
    }
    gap = found
  }

  /** Once for every change. */
  function report(fault: Fault | undefined, reason: string | undefined = fault): void {
    if (fault === failing) return
    failing = fault
    if (fault !== undefined) logger.error(FAULTS[fault], { reason })
    else logger.info('the revocation store answers again')
    publish('store', () => ({
      store: 'revocation',
      state: fault === undefined ? 'up' : 'down',
      ...(reason === undefined ? {} : { reason }),
    }))
  }

  function stateNow(): 'fresh' | 'stale' | 'empty' {
    if (answeredAt === undefined) return 'empty'
    return gap === undefined && clock.monotonic() - answeredAt <= options.staleMs ? 'fresh' : 'stale'
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
