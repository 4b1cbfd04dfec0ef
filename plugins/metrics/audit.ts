/** Metrics of the audit log's sinks; several of one kind count together. */

import { Counter, Gauge, type Registry } from 'prom-client'
import type { SinkStanding } from '../../policies/telemetry.ts'
import type { Measured } from './measured.ts'

export interface MeasuredSinks extends Measured {
  readonly note: (standing: SinkStanding) => void
}

const labelNames = ['sink'] as const

export function measureAudit(registry: Registry): MeasuredSinks {
  const registers = [registry]
  const ups = new Gauge({
    name: 'portcullis_audit_sink_up',
    help: '1 while records are delivered, 0 while they wait because that fails.',
    labelNames,
    registers,
  })
  const sums = [
    sum(Gauge, 'portcullis_audit_queue_records', 'Records that wait to be delivered.', 'queued'),
    sum(Gauge, 'portcullis_audit_queue_bytes', 'Bytes of the records that wait.', 'queuedBytes'),
    sum(Gauge, 'portcullis_audit_queue_capacity_bytes', 'Bytes of records that may wait.', 'capacityBytes'),
    sum(Counter, 'portcullis_audit_written_total', 'Records that were delivered.', 'written'),
    sum(Counter, 'portcullis_audit_dropped_total', 'Records that were lost.', 'dropped'),
    sum(Counter, 'portcullis_audit_failures_total', 'Attempts to deliver that failed.', 'failures'),
  ]

  function sum(
    Kind: typeof Gauge | typeof Counter,
    name: string,
    help: string,
    of: Exclude<keyof SinkStanding, 'sink' | 'up'>,
  ) {
    const metric = new Kind({ name, help, labelNames, registers })
    return {
      reset: () => metric.reset(),
      note: (standing: SinkStanding) => metric.inc({ sink: standing.sink }, standing[of]),
    }
  }

  const seen = new Map<string, boolean>()
  return {
    note(standing) {
      for (const metric of sums) metric.note(standing)
      seen.set(standing.sink, standing.up && (seen.get(standing.sink) ?? true))
      ups.set({ sink: standing.sink }, seen.get(standing.sink) === true ? 1 : 0)
    },
    collect() {
      seen.clear()
      ups.reset()
      for (const metric of sums) metric.reset()
    },
    close() {},
  }
}
