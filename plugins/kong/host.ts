/** What every plugin of this process shares: clock, randomness, logger, and the state that outlives an instance. */

import { randomBytes } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import type { Clock, Deps, Logger, Random, Reservation } from '../../policies/policy.ts'
import { createRuntime } from '../../policies/runtime.ts'
import { openLimitStore } from '../../policies/stores/open.ts'
import { fetchDocument } from '../fetch-document.ts'

/** Half a second below the two seconds that `lua_socket_read_timeout` should be set to. */
export const DEFAULT_DEADLINE_MS = 1_500

export interface Host {
  readonly deps: Deps
  /** Milliseconds that Kong may wait for one plugin in one request. */
  readonly deadlineMs: number
  /** Counts work as open until it is done, so that a shutdown waits for it. Returns the work itself. */
  track(work: Promise<void>): Promise<void>
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
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, task) {
    const timer = setTimeout(task, ms)
    timer.unref()
    return () => clearTimeout(timer)
  },
}

const ID_BYTES = 16
const POOL_BYTES = 256 * ID_BYTES
let pool = Buffer.alloc(0)
let taken = 0

/** Each random byte is given out once; a call to the system for every id costs more than the rest of a decision. */
function randomSlice(length: number): Buffer {
  if (taken + length > pool.length) {
    pool = randomBytes(POOL_BYTES)
    taken = 0
  }
  taken += length
  return pool.subarray(taken - length, taken)
}

const systemRandom: Random = {
  id: () => randomSlice(ID_BYTES).toString('base64url'),
  fraction: () => randomSlice(6).readUIntBE(0, 6) / 2 ** 48,
}

export function createHost(options: HostOptions): Host {
  const runtime = createRuntime()
  const open = new Set<Promise<void>>()
  const base = { clock: systemClock, random: systemRandom, runtime, logger: options.logger }
  return {
    deps: { ...base, openLimitStore: (config) => openLimitStore(config, base), fetchDocument },
    deadlineMs: options.deadlineMs ?? DEFAULT_DEADLINE_MS,
    onReserved: options.onReserved ?? (() => undefined),
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
