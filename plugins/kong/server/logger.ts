/** Structured log lines on stderr, which Kong copies into its own log. */

import pino from 'pino'
import type { Logger } from '../../../policies/policy.ts'

/** Lines are dropped, not waited for, once Kong has left so many bytes unread: a full pipe must not stop requests. */
const MAX_BUFFERED_BYTES = 1_048_576

export interface ProcessLogger extends Logger {
  /** Writes what is buffered. */
  flush(): void
}

export function createLogger(level: string): ProcessLogger {
  const stderr = pino.destination({ dest: 2, sync: false, maxLength: MAX_BUFFERED_BYTES })
  // Kong is gone, and with it whoever would read about that.
  stderr.on('error', () => undefined)
  const log = pino({ level, base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime }, stderr)
  return {
    info: (message, fields) => log.info(fields ?? {}, message),
    warn: (message, fields) => log.warn(fields ?? {}, message),
    error: (message, fields) => log.error(fields ?? {}, message),
    flush() {
      try {
        stderr.flushSync()
      } catch {
        // Nobody reads any more.
      }
    },
  }
}
