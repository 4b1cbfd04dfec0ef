/**
 * Leaves Kong's connections to a successor. New workers of Kong reach the old server until the new one listens, and would
 * keep that connection until the old one is killed with frames on their way.
 */

import type { Listener } from './listener.ts'
import type { PluginServer } from './server.ts'

/** So long without a frame, and Kong's workers most likely sleep: they will see the end before they write again. */
const QUIET_MS = 2
/** After so long without such a moment, connections end with the answers that end events. */
const PATIENCE_MS = 3_000
const POLL_MS = 1

/**
 * Stops listening at once, and ends the connections at the first good moment once the successor has what it needs. Returns
 * its cancel.
 */
export function handOver(
  listener: Listener,
  server: PluginServer,
  now: () => number,
  passedOn = (): boolean => true,
): () => void {
  const started = now()
  listener.stop()
  const poll = setInterval(() => {
    // Kong comes back with an open event, and whoever listens by then does not know it.
    if (passedOn() && server.openEvents === 0 && listener.quietMs >= QUIET_MS) listener.closeUnshared()
    else if (now() - started > PATIENCE_MS) listener.closeWithAnswers()
    else return
    clearInterval(poll)
  }, POLL_MS)
  return () => clearInterval(poll)
}
