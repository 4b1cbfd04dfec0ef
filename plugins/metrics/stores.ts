/** Metrics of the stores that policies ask. */

import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import { listen, type StoreEvent, type StoreStanding } from '../../policies/telemetry.ts'
import { type Measured, SECONDS } from './measured.ts'

export interface MeasuredStores extends Measured {
  /** What a store says of itself when it is asked. */
  readonly note: (standing: StoreStanding) => void
}

export function measureStores(registry: Registry): MeasuredStores {
  const registers = [registry]
  const ups = new Gauge({
    name: 'portcullis_store_up',
    help: '1 while the store answers, 0.5 while it is degraded, 0 while it is down and the breaker is open.',
    labelNames: ['store', 'node'],
    registers,
  })
  const changes = new Counter({
    name: 'portcullis_store_changes_total',
    help: 'How often a store went down, came up, or was found degraded.',
    labelNames: ['store', 'node', 'state'],
    registers,
  })
  const pending = new Gauge({
    name: 'portcullis_store_pending_settlements',
    help: 'Settlements that wait for the store to take them.',
    labelNames: ['store', 'node'],
    registers,
  })
  const commandSeconds = new Histogram({
    name: 'portcullis_store_command_seconds',
    help: 'Time from a command to its answer or failure.',
    labelNames: ['store', 'node', 'command'],
    buckets: SECONDS,
    registers,
  })
  const commandFailures = new Counter({
    name: 'portcullis_store_command_failures_total',
    help: 'Commands without an answer, or with an error for one.',
    labelNames: ['store', 'node', 'command', 'reason'],
    registers,
  })
  // A store that may forget limits stays degraded, whether or not it is down in between.
  const degraded = new Set<string>()

  function setUp(store: string, node: string, up: boolean): void {
    ups.set({ store, node }, up ? (degraded.has(`${store} ${node}`) ? 0.5 : 1) : 0)
  }

  function onStore({ store, node = '', state }: StoreEvent): void {
    if (state === 'degraded') degraded.add(`${store} ${node}`)
    setUp(store, node, state !== 'down')
    changes.inc({ store, node, state })
  }

  const stop = [
    listen('store', onStore),
    listen('command', ({ store, node, command, durationMs, failure }) => {
      commandSeconds.observe({ store, node, command }, durationMs / 1_000)
      if (failure !== undefined) commandFailures.inc({ store, node, command, reason: failure })
    }),
  ]
  return {
    note({ store, node, up, pending: waiting }) {
      setUp(store, node, up)
      pending.inc({ store, node }, waiting)
    },
    collect: () => pending.reset(),
    close: () => stop.forEach((end) => void end()),
  }
}
