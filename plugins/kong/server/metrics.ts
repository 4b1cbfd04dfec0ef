/** Prometheus metrics of one plugin server. Labels hold names from code and config, and of Kong's consumers. */

import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import { listen } from '../../../policies/telemetry.ts'
import { createPolicyMetrics } from '../../metrics/index.ts'
import { DEFAULT_CALLERS } from '../../metrics/limits.ts'
import { SECONDS } from '../../metrics/measured.ts'
import type { ListenerObserver } from './listener.ts'
import type { ServerState } from './serve.ts'
import type { EventObserver } from './server.ts'

export interface Metrics {
  readonly observer: EventObserver & ListenerObserver
  readonly contentType: string
  /** What is measured, and how it is described. */
  readonly registry: Registry
  /** The text that Prometheus reads. */
  render(): Promise<string>
  /** Stops listening to telemetry. */
  close(): void
}

const ROUND_TRIPS = [1, 2, 3, 4, 5, 6, 8, 12, 20]
const BATCH = [1, 2, 4, 8, 16, 32, 64, 128]

/** @param callers that have series of their own; the others share one */
export function createMetrics(state: () => ServerState | undefined, callers = DEFAULT_CALLERS): Metrics {
  const policies = createPolicyMetrics({ callers })
  const registers = [policies.registry]
  const rpcSeconds = new Histogram({
    name: 'portcullis_kong_rpc_seconds',
    help: 'Time from a frame of Kong to its answer.',
    labelNames: ['method'],
    buckets: SECONDS,
    registers,
  })
  const events = new Counter({
    name: 'portcullis_kong_events_total',
    help: 'Events of Kong by how they ended.',
    labelNames: ['plugin', 'phase', 'ended'],
    registers,
  })
  const eventSeconds = new Histogram({
    name: 'portcullis_kong_event_seconds',
    help: 'Time from the first frame of an event to its end: what `access` adds to a request.',
    labelNames: ['plugin', 'phase'],
    buckets: SECONDS,
    registers,
  })
  const roundTrips = new Histogram({
    name: 'portcullis_kong_round_trips',
    help: 'Frames that an event took: one for itself and one for every PDK call.',
    labelNames: ['plugin', 'phase'],
    buckets: ROUND_TRIPS,
    registers,
  })
  const batchRecords = new Histogram({
    name: 'portcullis_kong_settle_batch_records',
    help: 'Ends of requests that Kong told in one message.',
    buckets: BATCH,
    registers,
  })
  const violations = new Counter({
    name: 'portcullis_kong_violations_total',
    help: 'Connections destroyed because of what came over them.',
    labelNames: ['reason'],
    registers,
  })
  for (const [name, help, read] of [
    ['portcullis_kong_open_events', 'Events that are not over.', (now: ServerState) => now.openEvents],
    ['portcullis_kong_connections', 'Open connections of Kong.', (now: ServerState) => now.connections],
    ['portcullis_kong_instances', 'Plugin instances.', (now: ServerState) => now.instances],
    ['portcullis_kong_open_work', 'Requests and settlements that are not done.', (now: ServerState) => now.openWork],
  ] as const) {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        const now = state()
        if (now !== undefined) this.set(read(now))
      },
    })
  }
  const stop = listen('batch', ({ records }) => batchRecords.observe(records))

  return {
    observer: {
      answered: (method, ms) => rpcSeconds.observe({ method }, ms / 1_000),
      violated: (reason) => violations.inc({ reason }),
      eventEnded(plugin, phase, ended, frames, ms) {
        events.inc({ plugin, phase, ended })
        eventSeconds.observe({ plugin, phase }, ms / 1_000)
        roundTrips.observe({ plugin, phase }, frames)
      },
    },
    contentType: policies.contentType,
    registry: policies.registry,
    render: policies.render,
    close() {
      stop()
      policies.close()
    },
  }
}
