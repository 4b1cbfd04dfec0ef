/** What every plugin of this process shares: clock, randomness, logger, and the state that outlives an instance. */

import type { Deps, Logger, Reservation } from '../../policies/policy.ts'
import { createRuntime } from '../../policies/runtime.ts'
import { createRecentIds, type RecentIds } from '../../policies/stores/recent-ids.ts'
import { createDeps, systemClock } from '../deps.ts'
import { createPipelines, type Pipelines } from './pipelines.ts'
import { createUnderWay, type UnderWay } from './under-way.ts'

/** Half a second below the two seconds that `lua_socket_read_timeout` should be set to. */
export const DEFAULT_DEADLINE_MS = 1_500

export interface Host {
  readonly deps: Deps
  /** Milliseconds that Kong may wait for one plugin in one request. */
  readonly deadlineMs: number
  /** Of every plugin config that was started here. */
  readonly pipelines: Pipelines
  /** Whether the server of this process takes settlements in batches; the stock one does not. */
  readonly settlesBatches: boolean
  /** Requests that were let through here and are not over. */
  readonly underWay: UnderWay
  /** Requests that those who watch were told of: a batch may come twice. */
  readonly told: RecentIds
  /** Counts work as open until it is done, so that a shutdown waits for it. Returns the work itself. */
  track<T>(work: Promise<T>): Promise<T>
  readonly openWork: number
  /** Told of what a passed request holds. */
  readonly onReserved: (reservation: Reservation) => void
  /** True when all tracked work was done within `ms`. */
  drain(ms: number): Promise<boolean>
  /** Closes what the policies opened. */
  close(): Promise<void>
}

export interface HostOptions {
  readonly logger: Logger
  readonly deadlineMs?: number
  readonly onReserved?: (reservation: Reservation) => void
  readonly settlesBatches?: boolean
}

export function createHost(options: HostOptions): Host {
  const runtime = createRuntime()
  const open = new Set<Promise<void>>()
  return {
    deps: createDeps({ logger: options.logger, runtime }),
    deadlineMs: options.deadlineMs ?? DEFAULT_DEADLINE_MS,
    onReserved: options.onReserved ?? (() => undefined),
    pipelines: createPipelines(),
    underWay: createUnderWay(),
    told: createRecentIds(),
    settlesBatches: options.settlesBatches ?? false,
    track(work) {
      const done = () => void open.delete(settled)
      const settled = work.then(done, done)
      open.add(settled)
      return work
    },
    get openWork() {
      return open.size
    },
    async drain(ms) {
      const late = new Promise<'late'>((resolve) => systemClock.after(ms, () => resolve('late')))
      while (open.size > 0) if ((await Promise.race([Promise.all(open), late])) === 'late') return open.size === 0
      return true
    },
    close: () => runtime.close(),
  }
}

let current: Host | undefined

/** Sets the host of this process, before the first instance is made. */
export function useHost(host: Host): void {
  current = host
}

/** The host of this process. The stock plugin server sets none: then plugins log to stderr, one JSON object a line. */
export function processHost(): Host {
  current ??= createHost({ logger: stderrLogger })
  return current
}

const stderrLogger: Logger = {
  info: (message, fields) => writeLine('info', message, fields),
  warn: (message, fields) => writeLine('warn', message, fields),
  error: (message, fields) => writeLine('error', message, fields),
}

function writeLine(level: string, message: string, fields: Readonly<Record<string, unknown>> | undefined): void {
  process.stderr.write(`${JSON.stringify({ ...fields, level, time: new Date().toISOString(), msg: message })}\n`)
}
