/**
 * What happened, published on `node:diagnostics_channel`: costs nothing while nobody listens.
 * Events never hold a body, key or token.
 */

import { channel } from 'node:diagnostics_channel'
import type { Code } from './errors.ts'
import { modelLabel } from './llm/model-names.ts'
import type { Usage } from './llm/usage.ts'
import type { RouteRef } from './policy.ts'

export interface DecisionEvent {
  readonly policy: string
  readonly requestId: string
  readonly route: RouteRef
  readonly decision: 'pass' | 'reject'
  readonly code?: Code
  /** In shadow mode: what would have been answered. */
  readonly wouldReject?: Code
  /** Name of the rule or scope that decided, from the operator's config. */
  readonly rule?: string
  /** As asked for, when it looks like the name of a well-known family's model; else `other`. */
  readonly model?: string
  readonly estimated?: { readonly input: number; readonly output: number }
  /** Milliseconds spent deciding. */
  readonly durationMs: number
}

export interface SettleEvent {
  readonly policy: string
  readonly reservationId: string
  readonly ended: string
  /** How the usage is known. */
  readonly usage: 'reported' | 'delivered' | 'refunded' | 'unobserved'
  readonly estimated: { readonly input: number; readonly output: number }
  readonly actual?: Usage
}

export interface StoreEvent {
  readonly store: string
  readonly node?: string
  readonly state: 'up' | 'down' | 'degraded'
  readonly reason?: string
}

/** A failure that was handled but must not go unseen. */
export interface FaultEvent {
  readonly where: string
  readonly code: string
}

export const channels = {
  decision: channel('portcullis:decision'),
  settle: channel('portcullis:settle'),
  store: channel('portcullis:store'),
  fault: channel('portcullis:fault'),
} as const

interface Events {
  readonly decision: DecisionEvent
  readonly settle: SettleEvent
  readonly store: StoreEvent
  readonly fault: FaultEvent
}

/** `make` runs only when somebody listens. */
export function publish<K extends keyof Events>(kind: K, make: () => Events[K]): void {
  const target = channels[kind]
  if (!target.hasSubscribers) return
  const event: Events[K] = make()
  target.publish('model' in event ? { ...event, model: modelLabel(event.model) } : event)
}
