/** Structured log lines on stderr, which Kong copies into its own log. */

import pino from 'pino'
import type { Logger } from '../../../policies/policy.ts'

/** Lines are dropped, not waited for, once Kong has left so many bytes unread: a full pipe must not stop requests. */
const MAX_BUFFERED_BYTES = 1_048_576

/** What may be lost at the end: an exit must not wait for a reader that is gone. */
const LAST_WORDS_MS = 300

export interface ProcessLogger extends Logger {
  /** Writes what is buffered, as far as somebody reads, and closes. Nothing can be logged after it. */
  close(): Promise<void>
}

export function createLogger(level: string): ProcessLogger {
  let closing = false
  const stderr = pino.destination({
    dest: 2,
    sync: false,
    maxLength: MAX_BUFFERED_BYTES,
    // For ever otherwise, and at exit with the whole process standing still.
    retryEAGAIN: () => !closing,
  })
  // Kong is gone, and with it whoever would read about that.
  stderr.on('error', () => undefined)
  const log = pino({ level, base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime }, stderr)
  return {
    info: (message, fields) => log.info(fields ?? {}, message),
    warn: (message, fields) => log.warn(fields ?? {}, message),
    error: (message, fields) => log.error(fields ?? {}, message),
    async close() {
      closing = true
      await new Promise<void>((resolve) => {
        setTimeout(resolve, LAST_WORDS_MS).unref()
        stderr.once('close', resolve)
        stderr.end()
      })
      stderr.destroy()
    },
  }
}
