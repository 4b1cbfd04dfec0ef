/**
 * Content of requests that are not over yet: it waits in this process, so that no gateway carries it about, and is made
 * after the decision, so that no request waits for its redaction. A process that is replaced moves it to its successor;
 * it is always in one of them alone, and where a record is written that needs it, it is waited for.
 */

import type { Clock, Deps } from '../policy.ts'
import type { Content } from './content.ts'
import { createMissingContent } from './missing-content.ts'
import type { MovedContent } from './moved-content.ts'

export interface HeldContent {
  /**
   * Makes content soon, and keeps it until it is taken.
   * @param bytes of the body that it is made of
   * @param make called once, never by this call; must not throw
   * @returns false when there is no room: then nothing is kept
   */
  hold(id: string, bytes: number, make: () => Content): boolean
  /**
   * Gives content to `use` and forgets it: now, once it is made, or once it came from where it is {@link expect}ed, and
   * `lost` when it does not come.
   * @returns false when it is not here, because it was held by another process or left for want of room
   */
  take(id: string, use: (content: Content) => void): boolean
  /** Forgets content that nobody wants, made or not. */
  drop(id: string): void
  /** The request of this content went nowhere: forgets it unless it is taken soon. */
  expire(id: string): void
  /** How much there is, made or not. */
  readonly size: number
  /** For the next `ms`, content that is not here may still come from another process, and is waited for. */
  expect(ms: number): void
  /** Ids of content that is waited for and not here. */
  wanted(): readonly string[]
  /** Gives up what is made, oldest first: about `bytes` of it, and one at least. */
  release(bytes: number): readonly MovedContent[]
  /** Gives this up, if it is here and made. */
  find(id: string): MovedContent | undefined
  /**
   * Takes what another process gave up, for whoever waits for it or as if it had been held here.
   * @returns false when there is no room, or it has waited too long: then nothing is kept
   */
  adopt(moved: MovedContent): boolean
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
  use: Use | undefined
  /** When it is forgotten because perhaps nobody will ever ask for it; undefined while somebody will. */
  until: number | undefined
}

type Use = (content: Content) => void

const MOST_BYTES = 67_108_864
/** Longer than nearly every request; whose ending never comes, such as that of a killed worker, is over by then. */
const PATIENCE_MS = 3_600_000
/** Until the record of a request that went nowhere is written, were its client as slow as gateways allow. */
const EXPIRY_MS = 60_000
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
  /** Oldest first, but for what was adopted. */
  const entries = new Map<string, Entry>()
  const missing = createMissingContent(clock)
  let sweeping = false
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
      resize(entry, sizeOf(entry.content))
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

  /** False when there is no room. */
  function keep(entry: Entry): boolean {
    if (closed || entries.has(entry.id) || !makeRoom(entry.size)) return false
    entries.set(entry.id, entry)
    used += entry.size
    return true
  }

  function giveUp(entry: Entry): MovedContent {
    forget(entry)
    return { id: entry.id, waitedMs: clock.monotonic() - entry.since, content: entry.content }
  }

  function forgetLater(entry: Entry, afterMs: number): void {
    entry.until = Math.min(entry.until ?? Number.POSITIVE_INFINITY, clock.monotonic() + afterMs)
    sweepLater()
  }

  function sweepLater(): void {
    if (sweeping || closed) return
    sweeping = true
    clock.after(Math.min(EXPIRY_MS, patienceMs), () => {
      sweeping = false
      let left = false
      for (const entry of entries.values()) {
        if (entry.until === undefined) continue
        if (entry.until <= clock.monotonic() && entry.use === undefined) forget(entry)
        else left = true
      }
      if (left) sweepLater()
    })
  }

  return {
    hold(id, bytes, make) {
      const size = OVERHEAD + WAITING_FACTOR * bytes
      const since = clock.monotonic()
      const entry: Entry = { id, bytes, since, size, make, content: {}, use: undefined, until: undefined }
      if (!keep(entry)) return false
      waiting.push(entry)
      schedule()
      return true
    },
    take(id, use) {
      const entry = entries.get(id)
      if (entry === undefined) return missing.waitFor(id, use)
      if (entry.use !== undefined) return false
      if (entry.make === undefined) {
        forget(entry)
        use(entry.content)
      } else entry.use = use
      return true
    },
    drop(id) {
      const entry = entries.get(id)
      if (entry === undefined) missing.waitFor(id, () => undefined)
      else if (entry.use === undefined) forget(entry)
    },
    expire(id) {
      const entry = entries.get(id)
      if (entry !== undefined) forgetLater(entry, EXPIRY_MS)
    },
    get size() {
      return entries.size
    },
    expect: missing.expect,
    wanted: missing.ids,
    release(bytes) {
      const released: MovedContent[] = []
      let taken = 0
      for (const entry of entries.values()) {
        if (entry.make !== undefined) continue
        taken += entry.size
        if (released.length > 0 && taken > bytes) break
        released.push(giveUp(entry))
      }
      return released
    },
    find(id) {
      const entry = entries.get(id)
      return entry === undefined || entry.make !== undefined ? undefined : giveUp(entry)
    },
    adopt({ id, waitedMs, content }) {
      if (missing.bring(id, content)) return true
      if (entries.has(id)) return true
      if (waitedMs > patienceMs) return false
      const since = clock.monotonic() - waitedMs
      const size = sizeOf(content)
      const entry: Entry = { id, bytes: 0, since, size, make: undefined, content, use: undefined, until: undefined }
      if (!keep(entry)) return false
      // Nobody knows whether anybody will ask for it: its request may have ended meanwhile.
      forgetLater(entry, patienceMs - waitedMs)
      return true
    },
    close() {
      closed = true
      missing.close()
      for (const entry of [...entries.values()]) {
        if (entry.use === undefined) forget(entry)
        else finish(entry)
      }
      waiting = []
    },
  }
}

function sizeOf(content: Content): number {
  return OVERHEAD + 2 * (content['portcullis.content.request']?.length ?? 0)
}
