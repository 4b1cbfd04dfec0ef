/** Prometheus metrics of one plugin server. Labels hold only names from code and config, never a caller's. */

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { Reservation } from '../../../policies/policy.ts'
import {
  channels,
  type DecisionEvent,
  type FaultEvent,
  type SettleEvent,
  type StoreEvent,
} from '../../../policies/telemetry.ts'
import type { ListenerObserver } from './listener.ts'
import type { ServerState } from './serve.ts'
import type { EventObserver } from './server.ts'

export interface Metrics {
  readonly observer: EventObserver & ListenerObserver
  readonly onReserved: (reservation: Reservation) => void
  readonly contentType: string
  /** The text that Prometheus reads. */
  render(): Promise<string>
  /** Stops listening to telemetry. */
  close(): void
}

/** Seconds: an RPC step takes tens of microseconds, a decision with Redis a millisecond. */
const SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.5]
/** Actual divided by estimated. */
const RATIOS = [0.1, 0.25, 0.5, 0.75, 0.9, 1, 1.1, 1.25, 1.5, 2, 4, 10]
const ROUND_TRIPS = [1, 2, 3, 4, 5, 6, 8, 12, 20]

export function createMetrics(state: () => ServerState | undefined): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })

  const decisions = new Counter({
    name: 'portcullis_decisions_total',
    help: 'Decisions by code; the code is empty for a pass, would_reject what shadow mode held back.',
    labelNames: ['policy', 'decision', 'code', 'would_reject'],
    registers,
  })
  const decisionSeconds = new Histogram({
    name: 'portcullis_decision_seconds',
    help: 'Time that a policy took to decide.',
    labelNames: ['policy'],
    buckets: SECONDS,
    registers,
  })
  const tokens = new Counter({
    name: 'portcullis_tokens_total',
    help: 'Tokens reserved at admission, settled as used, and refunded of what was reserved.',
    labelNames: ['policy', 'kind'],
    registers,
  })
  const settlements = new Counter({
    name: 'portcullis_settlements_total',
    help: 'Settled requests by how they ended and how their usage is known.',
    labelNames: ['policy', 'ended', 'usage'],
    registers,
  })
  const estimates = new Histogram({
    name: 'portcullis_estimate_ratio',
    help: 'Tokens really used divided by those reserved: for input the error of the estimate.',
    labelNames: ['policy', 'part'],
    buckets: RATIOS,
    registers,
  })
  const faults = new Counter({
    name: 'portcullis_faults_total',
    help: 'Failures that were handled; each one refused a request or lost a settlement.',
    labelNames: ['where', 'code'],
    registers,
  })
  const stores = new Gauge({
    name: 'portcullis_store_up',
    help: '1 while the store answers, 0.5 while it is degraded, 0 while it is down.',
    labelNames: ['store', 'node'],
    registers,
  })
  const storeChanges = new Counter({
    name: 'portcullis_store_changes_total',
    help: 'How often a store went down, came up, or was found degraded.',
    labelNames: ['store', 'node', 'state'],
    registers,
  })
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
  const roundTrips = new Histogram({
    name: 'portcullis_kong_round_trips',
    help: 'Frames that an event took: one for itself and one for every PDK call.',
    labelNames: ['plugin', 'phase'],
    buckets: ROUND_TRIPS,
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

  function onDecision(event: DecisionEvent): void {
    const { policy, decision, code = '', wouldReject = '' } = event
    decisions.inc({ policy, decision, code, would_reject: wouldReject })
    if (event.durationMs !== undefined) decisionSeconds.observe({ policy }, event.durationMs / 1_000)
  }

  function onSettle(event: SettleEvent): void {
    const { policy, estimated, actual } = event
    settlements.inc({ policy, ended: event.ended, usage: event.usage })
    if (actual?.inputTokens !== undefined && estimated.input > 0)
      estimates.observe({ policy, part: 'input' }, actual.inputTokens / estimated.input)
    if (actual?.outputTokens !== undefined && estimated.output > 0)
      estimates.observe({ policy, part: 'output' }, actual.outputTokens / estimated.output)
    const reserved = estimated.input + estimated.output
    const kept = event.usage === 'unobserved' ? estimated : { input: 0, output: 0 }
    const used =
      event.usage === 'refunded' ? 0 : (actual?.inputTokens ?? kept.input) + (actual?.outputTokens ?? kept.output)
    tokens.inc({ policy, kind: 'settled' }, used)
    tokens.inc({ policy, kind: 'refunded' }, Math.max(0, reserved - used))
  }

  function onFault(event: FaultEvent): void {
    faults.inc({ where: event.where, code: event.code })
  }

  function onStore({ store, node = '', state }: StoreEvent): void {
    const value = state === 'up' ? 1 : state === 'degraded' ? 0.5 : 0
    stores.set({ store, node }, value)
    storeChanges.inc({ store, node, state })
  }

  const subscriptions = [
    [channels.decision, onDecision],
    [channels.settle, onSettle],
    [channels.fault, onFault],
    [channels.store, onStore],
  ] as const
  // A channel knows no type of its messages; `publish` sees to it that each has its own.
  for (const [channel, listener] of subscriptions) channel.subscribe(listener as (message: unknown) => void)

  return {
    observer: {
      answered: (method, ms) => rpcSeconds.observe({ method }, ms / 1_000),
      violated: (reason) => violations.inc({ reason }),
      eventEnded(plugin, phase, ended, frames) {
        events.inc({ plugin, phase, ended })
        roundTrips.observe({ plugin, phase }, frames)
      },
    },
    onReserved({ policy, estimated }) {
      tokens.inc({ policy, kind: 'reserved' }, estimated.input + estimated.output)
    },
    contentType: registry.contentType,
    render: () => registry.metrics(),
    close() {
      for (const [channel, listener] of subscriptions) channel.unsubscribe(listener as (message: unknown) => void)
      registry.clear()
    },
  }
}
