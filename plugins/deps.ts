/** The outside world as policies see it: real clock, real randomness, one runtime a process. */

import { randomBytes, randomInt } from 'node:crypto'
import type { Clock, Deps, Logger, Random } from '../policies/policy.ts'
import { createRuntime, type Runtime } from '../policies/runtime.ts'
import { openLimitStore } from '../policies/stores/open.ts'
import { fetchDocument } from './fetch-document.ts'

export interface DepsOptions {
  /** Default: JSON lines on standard error, because standard output may belong to the gateway. */
  readonly logger?: Logger
  /** Default: the one of this process. */
  readonly runtime?: Runtime
}

/** Uniform steps of a fraction; `randomInt` allows no more. */
const STEPS = 2 ** 47

const processRuntime = createRuntime()

export function createDeps(options: DepsOptions = {}): Deps {
  const base = {
    clock: systemClock,
    random: systemRandom,
    runtime: options.runtime ?? processRuntime,
    logger: options.logger ?? createJsonLogger((line) => process.stderr.write(line)),
  }
  return { ...base, openLimitStore: (config) => openLimitStore(config, base), fetchDocument }
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

export const systemRandom: Random = {
  id: () => randomBytes(16).toString('base64url'),
  fraction: () => randomInt(STEPS) / STEPS,
}

/** One JSON object a line. */
export function createJsonLogger(write: (line: string) => void): Logger {
  const at = (level: string) => (message: string, fields?: Readonly<Record<string, unknown>>) =>
    write(`${JSON.stringify({ ...fields, time: new Date().toISOString(), level, message })}\n`)
  return { info: at('info'), warn: at('warn'), error: at('error') }
}
