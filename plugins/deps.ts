/** The outside world as policies see it: real clock, real randomness, one runtime a process. */

import { randomBytes } from 'node:crypto'
import type { Clock, Deps, Logger, Random } from '../policies/policy.ts'
import { createRuntime, type Runtime } from '../policies/runtime.ts'
import { openLimitStore } from '../policies/stores/open.ts'
import { fetchDocument } from './fetch-document.ts'
import { systemOutputs } from './outputs.ts'

export interface DepsOptions {
  /** Default: JSON lines on standard error, because standard output may belong to the gateway. */
  readonly logger?: Logger
  /** Default: the one of this process. */
  readonly runtime?: Runtime
}

const processRuntime = createRuntime()

export function createDeps(options: DepsOptions = {}): Deps {
  const base = {
    clock: systemClock,
    random: systemRandom,
    runtime: options.runtime ?? processRuntime,
    logger: options.logger ?? createJsonLogger((line) => process.stderr.write(line)),
  }
  return { ...base, openLimitStore: (config) => openLimitStore(config, base), fetchDocument, outputs: systemOutputs }
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

export const systemRandom: Random = {
  id: () => randomSlice(ID_BYTES).toString('base64url'),
  fraction: () => randomSlice(6).readUIntBE(0, 6) / 2 ** 48,
}

/** One JSON object a line. */
export function createJsonLogger(write: (line: string) => void): Logger {
  const at = (level: string) => (message: string, fields?: Readonly<Record<string, unknown>>) =>
    write(`${JSON.stringify({ ...fields, time: new Date().toISOString(), level, message })}\n`)
  return { info: at('info'), warn: at('warn'), error: at('error') }
}
