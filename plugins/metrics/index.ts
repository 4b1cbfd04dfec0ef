/** Prometheus metrics of the policies of one process, whatever gateway they run in. */

import { collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import { inquire } from '../../policies/telemetry.ts'
import { systemClock } from '../deps.ts'
import { VERSION } from '../version.ts'
import { measureAudit } from './audit.ts'
import { measureCallers } from './callers.ts'
import { DEFAULT_CALLERS } from './limits.ts'
import { measurePolicies } from './policies.ts'
import { measureStores } from './stores.ts'

export interface PolicyMetrics {
  /** A gateway adds its own to it. */
  readonly registry: Registry
  readonly contentType: string
  /** The text that Prometheus reads. */
  render(): Promise<string>
  /** Stops listening to telemetry. */
  close(): void
}

export interface MetricsOptions {
  /** Callers that have series of their own; the others share one. Default 100. */
  readonly callers?: number
  /** Milliseconds on a clock that never steps back. Default: that of the process. */
  readonly now?: () => number
}

/** Once a process: two would each count everything. */
export function createPolicyMetrics({
  callers = DEFAULT_CALLERS,
  now = systemClock.monotonic,
}: MetricsOptions = {}): PolicyMetrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  new Gauge({
    name: 'portcullis_build_info',
    help: 'Always 1; the label tells the version.',
    labelNames: ['version'],
    registers: [registry],
  }).set({ version: VERSION }, 1)
  const stores = measureStores(registry)
  const sinks = measureAudit(registry)
  const measured = [measurePolicies(registry), measureCallers(registry, { max: callers, now }), stores, sinks]
  return {
    registry,
    contentType: registry.contentType,
    render() {
      for (const group of measured) group.collect()
      inquire({ store: stores.note, auditSink: sinks.note })
      return registry.metrics()
    },
    close() {
      for (const group of measured) group.close()
      registry.clear()
    },
  }
}
