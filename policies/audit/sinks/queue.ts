/**
 * What every sink shares: a bounded queue that a request never waits for, batches, retries with jittered backoff, and a
 * count of what was lost, which the next record reports.
 */

import type { Clock, Logger, Random } from '../../policy.ts'
import { onInquiry, publish } from '../../telemetry.ts'
import type { AuditRecord } from '../record.ts'
import { PartlyRefused, Refused, RetryLater, type Target } from './target.ts'

export interface AuditSink {
  /** Takes a record at once. Never throws and never waits; when there is no room the record is lost and counted. */
  write(record: AuditRecord): void
  readonly state: SinkState
  /** Resolves once everything taken so far was delivered, or after `ms`. */
  flush(ms: number): Promise<void>
  /** Delivers what it can within two seconds, then lets go. */
  close(): Promise<void>
}

export interface SinkState {
  readonly queued: number
  readonly queuedBytes: number
  /** All that were ever lost. */
  readonly dropped: number
  /** Whether the last attempt failed. */
  readonly down: boolean
}

export interface QueueOptions {
  readonly target: Target
  readonly batchRecords: number
  readonly flushMs: number
  readonly queueBytes: number
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
}

const FIRST_BACKOFF_MS = 100
const LONGEST_BACKOFF_MS = 30_000
const CLOSE_MS = 2_000
/** Most bytes of records that are delivered at once: content makes some of them large. */
const BATCH_BYTES = 1_048_576
/** A queued record costs about this much beside its text. */
const OVERHEAD = 64

interface Queued {
  readonly line: string
  /** In UTF-8. */
  readonly bytes: number
}

interface Waiter {
  readonly done: () => void
}

export function createSink(options: QueueOptions): AuditSink {
  const { target, clock, random, logger } = options
  let queue: Queued[] = []
  let queuedBytes = 0
  let dropped = 0
  let written = 0
  let everFailed = 0
  let unreported = 0
  let failures = 0
  let running = false
  let closed = false
  let giveUp = false
  let cancelTimer: (() => void) | undefined
  let wake: (() => void) | undefined
  let waiters: Waiter[] = []

  function lose(count: number): void {
    if (unreported === 0) {
      logger.warn('audit records are being lost', { sink: target.name })
      publish('fault', () => ({ where: target.name, code: 'audit_records_lost' }))
    }
    dropped += count
    unreported += count
  }

  function write(record: AuditRecord): void {
    try {
      const line = target.line === undefined ? JSON.stringify(record) : target.line(record)
      const bytes = Buffer.byteLength(line ?? '')
      if (closed || line === undefined || queuedBytes + bytes + OVERHEAD > options.queueBytes) {
        lose(1)
        return
      }
      queue.push({ line, bytes })
      queuedBytes += bytes + OVERHEAD
      schedule()
    } catch {
      lose(1)
    }
  }

  function schedule(): void {
    if (running) return
    if (queue.length >= options.batchRecords || closed) {
      cancelTimer?.()
      cancelTimer = undefined
      void run()
    } else
      cancelTimer ??= clock.after(options.flushMs, () => {
        cancelTimer = undefined
        void run()
      })
  }

  async function run(): Promise<void> {
    if (running) return
    running = true
    while (queue.length > 0 && !giveUp) await deliverOne()
    await idle()
    running = false
    // What came while the target let go.
    if (queue.length > 0 && !giveUp) schedule()
    if (giveUp || queue.length === 0) settleWaiters()
  }

  async function deliverOne(): Promise<void> {
    const batch = nextBatch()
    const reported = unreported
    try {
      const lines = batch.map(({ line }) => line)
      const delivered = await target.deliver(reported === 0 ? lines : reporting(lines, reported))
      unreported -= reported
      written += delivered
      taken(batch.slice(0, delivered))
      recovered()
    } catch (error) {
      if (error instanceof PartlyRefused) {
        unreported -= reported
        taken(batch.slice(0, error.taken))
        recovered()
        lose(error.lost)
      } else if (error instanceof Refused) {
        taken(batch)
        failed(error)
        failures = 0
        lose(batch.length)
      } else {
        failed(error)
        await pause(error instanceof RetryLater ? error.afterMs : 0)
      }
    }
  }

  function nextBatch(): readonly Queued[] {
    let count = 0
    for (let bytes = 0; count < Math.min(queue.length, options.batchRecords); count += 1) {
      bytes += queue[count]?.bytes ?? 0
      if (count > 0 && bytes > BATCH_BYTES) break
    }
    return queue.slice(0, count)
  }

  async function idle(): Promise<void> {
    try {
      await target.idle?.()
    } catch (error) {
      failed(error)
    }
  }

  function taken(batch: readonly Queued[]): void {
    queue = queue.slice(batch.length)
    for (const { bytes } of batch) queuedBytes -= bytes + OVERHEAD
  }

  /** Only kind and code: a message may hold a path, a URL or what was answered. */
  function failed(error: unknown): void {
    failures += 1
    everFailed += 1
    if (failures > 1) return
    const code = errorCode(error)
    logger.error('audit sink fails; records wait in memory', { sink: target.name, code })
    publish('fault', () => ({ where: target.name, code }))
  }

  function recovered(): void {
    if (failures > 0) logger.info('audit sink works again', { sink: target.name, dropped })
    failures = 0
  }

  /** Full jitter over a doubling bound. */
  function pause(atLeastMs: number): Promise<void> {
    const bound = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(failures - 1, 20))
    const ms = Math.max(Math.min(atLeastMs, LONGEST_BACKOFF_MS), bound / 2 + (random.fraction() * bound) / 2)
    if (giveUp) return Promise.resolve()
    return new Promise((resolve) => {
      const cancel = clock.after(ms, () => {
        wake = undefined
        resolve()
      })
      wake = () => {
        cancel()
        wake = undefined
        resolve()
      }
    })
  }

  function settleWaiters(): void {
    const settled = waiters
    waiters = []
    for (const { done } of settled) done()
  }

  function flush(ms: number): Promise<void> {
    if (queue.length === 0 && !running) return Promise.resolve()
    cancelTimer?.()
    cancelTimer = undefined
    wake?.()
    void run()
    return new Promise((resolve) => {
      const cancel = clock.after(ms, resolve)
      waiters.push({
        done() {
          cancel()
          resolve()
        },
      })
    })
  }

  async function close(): Promise<void> {
    if (closed) return
    closed = true
    await flush(CLOSE_MS)
    giveUp = true
    wake?.()
    stopAnswering()
    if (queue.length > 0) lose(queue.length)
    if (unreported > 0) logger.error('audit records were lost', { sink: target.name, records: unreported })
    try {
      await target.close?.()
    } catch (error) {
      logger.warn('an audit sink could not be closed', { sink: target.name, code: errorCode(error) })
    }
  }

  const stopAnswering = onInquiry(({ auditSink }) =>
    auditSink({
      sink: target.name,
      queued: queue.length,
      queuedBytes,
      capacityBytes: options.queueBytes,
      written,
      dropped,
      failures: everFailed,
      up: failures === 0,
    }),
  )

  return {
    write,
    flush,
    close,
    get state() {
      return { queued: queue.length, queuedBytes, dropped, down: failures > 0 }
    },
  }
}

function reporting([first = '{}', ...rest]: readonly string[], dropped: number): readonly string[] {
  return [`${first.slice(0, -1)},"portcullis.audit.dropped":${dropped}}`, ...rest]
}

/** Node's own codes, such as ENOSPC, are words of a fixed list. */
function errorCode(error: unknown): string {
  const code = (error as { readonly code?: unknown } | null)?.code
  return typeof code === 'string' && /^\w{2,40}$/.test(code) ? code : 'internal_error'
}
