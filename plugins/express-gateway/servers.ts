/** The servers that Express Gateway listens with: HTTP, HTTPS, or both. */

import type { EventEmitter } from 'node:events'
import type { Server } from 'node:http'

type Ready = (event: { readonly httpServer: Server }) => void

const waiting = new WeakMap<EventEmitter, Ready>()

/**
 * Calls `attach` with each server, once it listens. Asked again it takes the place of the earlier asking: a reload runs the
 * plugin's `init` again, but keeps the servers.
 */
export function onServers(eventBus: EventEmitter, attach: (server: Server) => void): void {
  const earlier = waiting.get(eventBus)
  const ready: Ready = ({ httpServer }) => attach(httpServer)
  waiting.set(eventBus, ready)
  for (const event of ['http-ready', 'https-ready']) {
    if (earlier !== undefined) eventBus.off(event, earlier)
    eventBus.on(event, ready)
  }
}
