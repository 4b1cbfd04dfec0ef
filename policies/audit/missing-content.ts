/** Who waits for content that another process may still send: a record, and never a request. */

import type { Clock } from '../policy.ts'
import type { Content } from './content.ts'

/** What a record says of content whose holder is gone. */
export const LOST: Content = { 'portcullis.content.request.dropped': 'lost' }

export interface MissingContent {
  /** For the next `ms`, what is missing may come. */
  expect(ms: number): void
  /**
   * Waits for content, and for {@link LOST} in its stead after some seconds.
   * @returns false when it cannot come
   */
  waitFor(id: string, use: (content: Content) => void): boolean
  /** Gives content to whoever waits for it; false when nobody does. */
  bring(id: string, content: Content): boolean
  /** What is waited for. */
  ids(): readonly string[]
  /** Tells all that it is lost. */
  close(): void
}

/** The other process may not run for a moment. */
const WAIT_MS = 3_000
const MOST = 10_000

export function createMissingContent(clock: Clock): MissingContent {
  const missing = new Map<string, { readonly use: (content: Content) => void; readonly cancel: () => void }>()
  let expectedUntil = Number.NEGATIVE_INFINITY

  function bring(id: string, content: Content): boolean {
    const one = missing.get(id)
    if (one === undefined) return false
    missing.delete(id)
    one.cancel()
    one.use(content)
    return true
  }

  return {
    expect(ms) {
      expectedUntil = clock.monotonic() + ms
    },
    waitFor(id, use) {
      if (clock.monotonic() >= expectedUntil || missing.has(id) || missing.size >= MOST) return false
      missing.set(id, { use, cancel: clock.after(WAIT_MS, () => bring(id, LOST)) })
      return true
    },
    bring,
    ids: () => [...missing.keys()],
    close() {
      expectedUntil = Number.NEGATIVE_INFINITY
      for (const id of [...missing.keys()]) bring(id, LOST)
    },
  }
}
