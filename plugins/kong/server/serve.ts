/** One plugin server process: everything put together, and its end. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Module } from 'kong-pdk/lib/mod.js'
import { openHeldContent } from '../../../policies/audit/held-content.ts'
import { systemClock } from '../../deps.ts'
import type { Host } from '../host.ts'
import { adopt } from './adopt.ts'
import { handOver } from './hand-over.ts'
import { createListener, type ListenerObserver } from './listener.ts'
import { type PassOn, passOn } from './pass-on.ts'
import { isNginx, lookUpProcess } from './process-tree.ts'
import { createPluginServer, type EventObserver } from './server.ts'
import { settleBatch } from './settle-batch.ts'
import { claimSocket } from './socket-path.ts'

export interface ServeOptions {
  readonly socket: string
  readonly plugins: readonly Module[]
  readonly host: Host
  /** Bytes of one frame at most: request bodies come in one. */
  readonly maxFrameBytes?: number
  readonly observer?: EventObserver & ListenerObserver
  /** Called once nobody needs this process any more: another server took over, or Kong is gone. */
  readonly onUnneeded?: (reason: string) => void
}

export interface ServerState {
  readonly openEvents: number
  readonly connections: number
  readonly instances: number
  /** Requests and settlements that are not done, whether or not Kong waits for them. */
  readonly openWork: number
  readonly stopping: boolean
}

export interface RunningServer {
  readonly state: ServerState
  /** Takes no new connections, lets open events end within `drainMs`, settles, and closes everything. */
  stop(drainMs: number): Promise<void>
}

/** The largest body that a policy may be told to read, and more room than all that comes with it needs. */
export const DEFAULT_MAX_FRAME_BYTES = 68 * 1_048_576
/** Kong opens a connection for every parallel event; with the usual 511, 192 of 1,000 were turned away. */
const BACKLOG = 4_096
const SWEEP_MS = 100
const WATCH_MS = 100
/** What the adapter gets on top of its own deadline, sweeps included. */
const GRACE_MS = 150
/** Kong never leaves an event alone for so long, but for a client that sends its body slowly. */
const IDLE_EVENT_MS = 300_000
const MAX_OPEN_EVENTS = 10_000
const POLL_MS = 20
const GIVE_BACK_MS = 500
const FRAME_MS = 10_000
const ORPHAN_MS = 60_000
/** A predecessor has ended by then. */
const EXPECT_MS = 10_000

/** @throws {PortcullisError} `socket_in_use`, `socket_path_unusable`. */
export async function serve(options: ServeOptions): Promise<RunningServer> {
  const { host } = options
  const { logger } = host.deps
  const now = systemClock.monotonic
  const held = openHeldContent(host.deps)
  const observer = options.observer ?? {}
  const server = createPluginServer({
    plugins: options.plugins,
    logger,
    now,
    observer,
    answerMs: host.deadlineMs + GRACE_MS,
    idleMs: IDLE_EVENT_MS,
    maxOpen: MAX_OPEN_EVENTS,
    settle: (argument, start) => host.track(settleBatch(argument, host, start)),
    adopt: (argument) => adopt(argument, held),
  })
  const listener = createListener({
    server,
    logger,
    now,
    observer,
    maxFrameBytes: options.maxFrameBytes ?? DEFAULT_MAX_FRAME_BYTES,
    frameMs: FRAME_MS,
  })
  // A predecessor may not have been told yet that it has a successor, or have found none when it was told to end.
  held.expect(EXPECT_MS)
  const claim = await claimSocket(listener.net, options.socket, BACKLOG)
  listener.net.on('error', (error: NodeJS.ErrnoException) => logger.error('listener fault', { code: error.code }))
  const sweep = setInterval(() => {
    server.sweep()
    listener.sweep()
  }, SWEEP_MS)
  let cancelHandOver: (() => void) | undefined
  let passing: PassOn | undefined
  let replaced = false
  const worker = process.ppid
  const byKong = isNginx(worker)
  const master = byKong ? lookUpProcess(worker)?.parent : undefined
  const watch = watchNeed()

  function passOnContent(): PassOn {
    passing ??= passOn({ path: claim.path, held, logger, now, mayCome })
    return passing
  }

  /** A worker that ends takes this process with it: on a reload perhaps before the next one has started a successor. */
  function mayCome(): boolean {
    return replaced || (byKong && process.ppid !== worker && master !== undefined && isNginx(master))
  }

  function watchNeed(): NodeJS.Timeout {
    let aloneSince: number | undefined
    return setInterval(() => {
      if (!replaced && !claim.isOurs()) {
        replaced = true
        logger.info('another server has taken over the socket; this one ends with its connections')
        const content = passOnContent()
        cancelHandOver = handOver(listener, server, now, () => content.idle)
      }
      const unused = listener.connections === 0
      const orphaned = byKong && process.ppid !== worker
      aloneSince = unused && (replaced || orphaned) ? (aloneSince ?? now()) : undefined
      if (aloneSince === undefined) return
      if (replaced) options.onUnneeded?.('replaced')
      else if (now() - aloneSince > ORPHAN_MS) options.onUnneeded?.('orphaned')
    }, WATCH_MS)
  }

  let stopping: Promise<void> | undefined
  async function stop(drainMs: number): Promise<void> {
    clearInterval(watch)
    logger.info('stopping', { openEvents: server.openEvents, openWork: host.openWork })
    replaced ||= !claim.isOurs()
    claim.release()
    listener.stop()
    const content = passOnContent()
    const ended = systemClock.monotonic() + drainMs
    const drained = await host.drain(drainMs)
    // Another worker of Kong may still be at it, and a frame on its way is lost with its connection.
    while (listener.connections > 0 && systemClock.monotonic() < ended) await sleep(POLL_MS)
    if (!drained) logger.warn('open work abandoned', { openEvents: server.openEvents, openWork: host.openWork })
    clearInterval(sweep)
    cancelHandOver?.()
    server.close()
    listener.destroy()
    // What was cut off gives back what it holds.
    await host.drain(GIVE_BACK_MS)
    await content.end(Math.max(GIVE_BACK_MS, ended - systemClock.monotonic()))
    await host.close()
    logger.info('stopped')
  }

  logger.info(`server started at ${claim.path}`, { plugins: options.plugins.map((plugin) => plugin.getName()) })
  return {
    get state() {
      return {
        openEvents: server.openEvents,
        connections: listener.connections,
        instances: server.instances,
        openWork: host.openWork,
        stopping: stopping !== undefined,
      }
    },
    stop(drainMs) {
      stopping ??= stop(drainMs)
      return stopping
    },
  }
}
