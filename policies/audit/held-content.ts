/**
 * Content of requests that are not over yet: it waits in this process, so that no gateway carries it about, and is made
 * after the decision, so that no request waits for its redaction.
 */

import type { Clock, Deps } from '../policy.ts'
import type { Content } from './content.ts'

/** What a record says of content whose holder is gone. */
export const LOST: Content = { 'portcullis.content.request.dropped': 'lost' }

export interface HeldContent {
  /**
   * Makes content soon, and keeps it until it is taken.
   * @param bytes of the body that it is made of
   * @param make called once, never by this call; must not throw
   * @returns false when there is no room: then nothing is kept
   */
  hold(id: string, bytes: number, make: () => Content): boolean
  /**
   * Gives content to `use` and forgets it: now, or once it is made.
   * @returns false when it is not here, because it was held by another process or left for want of room
   */
  take(id: string, use: (content: Content) => void): boolean
  /** Forgets content that nobody wants, made or not. */
  drop(id: string): void
  /** Makes what somebody waits for, and keeps nothing from now on. */
  close(): void
}

export interface HoldingOptions {
  readonly clock: Clock
  /** Most bytes that are kept, about. */
  readonly mostBytes: number
  /** How long content that found no taker keeps its place when others need room, in milliseconds. */
  readonly patienceMs: number
}

interface Entry {
  readonly id: string
  readonly bytes: number
  readonly since: number
  /** What it takes in memory. */
  size: number
  /** Until it is made. */
  make: (() => Content) | undefined
  content: Content
  /** Who waits for it. */
  use: ((content: Content) => void) | undefined
}

const MOST_BYTES = 67_108_864
/** Longer than nearly every request; whose ending never comes, such as that of a killed worker, is over by then. */
const PATIENCE_MS = 3_600_000
/** Bytes that are redacted in one turn of the event loop: some four milliseconds. A larger body has a turn of its own. */
const TURN_BYTES = 131_072
/** A body that waits is here as bytes and as what was parsed of it. */
const WAITING_FACTOR = 3
/** What an entry costs beside its text. */
const OVERHEAD = 512

/** The one of this process: a config may change while requests are under way. */
export function openHeldContent({ runtime, clock }: Pick<Deps, 'runtime' | 'clock'>): HeldContent {
  return runtime.share('audit.held-content', null, () =>
    createHeldContent({ clock, mostBytes: MOST_BYTES, patienceMs: PATIENCE_MS }),
  )
}

export function createHeldContent({ clock, mostBytes, patienceMs }: HoldingOptions): HeldContent {
  /** Oldest first. */
  const entries = new Map<string, Entry>()
  let waiting: Entry[] = []
  let used = 0
  let scheduled = false
  let closed = false

  function forget(entry: Entry): void {
    if (entries.delete(entry.id)) used -= entry.size
    entry.make = undefined
  }

  function resize(entry: Entry, size: number): void {
    used += size - entry.size
    entry.size = size
  }

  function makeRoom(size: number): boolean {
    const patience = clock.monotonic() - patienceMs
    for (const entry of entries.values()) {
      if (used + size <= mostBytes || entry.since > patience) break
      if (entry.make === undefined) forget(entry)
    }
    return used + size <= mostBytes
  }

  function finish(entry: Entry): void {
    const { make, use } = entry
    if (make === undefined) return
    entry.make = undefined
    entry.content = make()
    if (use === undefined) {
      resize(entry, OVERHEAD + 2 * (entry.content['portcullis.content.request']?.length ?? 0))
    } else {
      forget(entry)
      use(entry.content)
    }
  }

  function schedule(): void {
    if (scheduled || waiting.length === 0) return
    scheduled = true
    clock.after(0, () => {
      scheduled = false
      let bytes = 0
      let next = 0
      for (; next < waiting.length && bytes < TURN_BYTES; next += 1) {
        const entry = waiting[next] as Entry
        if (entry.make === undefined) continue
        bytes += entry.bytes
        if (next > 0 && bytes > TURN_BYTES) break
        finish(entry)
      }
      waiting = waiting.slice(next)
      schedule()
    })
  }

  return {
    hold(id, bytes, make) {
      const size = OVERHEAD + WAITING_FACTOR * bytes
      if (closed || entries.has(id) || !makeRoom(size)) return false
      const entry: Entry = { id, bytes, since: clock.monotonic(), size, make, content: {}, use: undefined }
      entries.set(id, entry)
      used += size
      waiting.push(entry)
      schedule()
      return true
    },
    take(id, use) {
      const entry = entries.get(id)
      if (entry === undefined || entry.use !== undefined) return false
      if (entry.make === undefined) {
        forget(entry)
        use(entry.content)
      } else entry.use = use
      return true
    },
    drop(id) {
      const entry = entries.get(id)
      if (entry !== undefined && entry.use === undefined) forget(entry)
    },
    close() {
      closed = true
      for (const entry of [...entries.values()]) {
        if (entry.use === undefined) forget(entry)
        else finish(entry)
      }
      waiting = []
    },
  }
}
