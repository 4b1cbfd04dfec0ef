/**
 * What happened, published on `node:diagnostics_channel`: costs nothing while nobody listens.
 * Events never hold a body, key or token.
 */

import { channel } from 'node:diagnostics_channel'
import type { Code } from './errors.ts'
import { modelLabel } from './llm/model-names.ts'
import type { Usage } from './llm/usage.ts'
import type { Caller, RouteRef } from './policy.ts'
import type { Unit } from './stores/ports.ts'

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
  /** The consumer's name at the gateway: {@link callerName}. */
  readonly caller?: string
  /** What a passed request holds until it is settled, in tokens. */
  readonly reserved?: { readonly input: number; readonly output: number }
  /** Every limit that was asked, as it stands after this request. */
  readonly limits?: readonly LimitStanding[]
  /** Of a key that was found good. */
  readonly key?: KeyLife
  /** Milliseconds spent deciding; absent when it ended with a fault. */
  readonly durationMs?: number
}

export interface LimitStanding {
  /** Name of the rule. */
  readonly rule: string
  readonly unit: Unit
  readonly limit: number
  /** At most `limit`. */
  readonly used: number
  /** Milliseconds until all of it is free again. */
  readonly resetMs: number
  /** Whether no part of a caller is counted by: then the limit is everybody's. */
  readonly shared: boolean
}

/** Epoch milliseconds; absent when there is no such time. */
export interface KeyLife {
  /** When the key should have been replaced. */
  readonly dueAt?: number
  /** From when it is refused. */
  readonly endsAt?: number
}

export interface SettleEvent {
  readonly policy: string
  readonly reservationId: string
  readonly ended: string
  /** How the usage is known. */
  readonly usage: 'reported' | 'delivered' | 'refunded' | 'unobserved'
  readonly estimated: { readonly input: number; readonly output: number }
  /** What limits are charged with. */
  readonly charged: { readonly input: number; readonly output: number }
  /** As the provider reported it. */
  readonly actual?: Usage
  /** As in {@link DecisionEvent.caller}. */
  readonly caller?: string
}

export interface StoreEvent {
  readonly store: string
  readonly node?: string
  readonly state: 'up' | 'down' | 'degraded'
  readonly reason?: string
}

/** One command to a store. */
export interface CommandEvent {
  readonly store: string
  readonly node: string
  /** Name of the script or command. */
  readonly command: string
  readonly durationMs: number
  /** Why there was no answer, in a word. */
  readonly failure?: string
}

/** Settlements that came in one message. */
export interface BatchEvent {
  readonly records: number
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
  command: channel('portcullis:command'),
  batch: channel('portcullis:batch'),
  fault: channel('portcullis:fault'),
} as const

interface Events {
  readonly decision: DecisionEvent
  readonly settle: SettleEvent
  readonly store: StoreEvent
  readonly command: CommandEvent
  readonly batch: BatchEvent
  readonly fault: FaultEvent
}

/** Calls `listener` with every event of this kind until the function that comes back is called. It must not throw. */
export function listen<K extends keyof Events>(kind: K, listener: (event: Events[K]) => void): () => void {
  // A channel knows no type of its messages; `publish` sees to it that each has its own.
  const untyped = (event: unknown) => listener(event as Events[K])
  channels[kind].subscribe(untyped)
  return () => void channels[kind].unsubscribe(untyped)
}

/** Whether anybody listens, for what costs before there is an event. */
export function watched(kind: keyof Events): boolean {
  return channels[kind].hasSubscribers
}

/** `make` runs only when somebody listens. */
export function publish<K extends keyof Events>(kind: K, make: () => Events[K]): void {
  const target = channels[kind]
  if (!target.hasSubscribers) return
  const event: Events[K] = make()
  target.publish('model' in event ? { ...event, model: modelLabel(event.model) } : event)
}

/** What can be asked for at any time, beside the events. Each is called once for every such thing that there is. */
export interface Inquiry {
  store(state: StoreStanding): void
  auditSink(state: SinkStanding): void
}

export interface StoreStanding {
  readonly store: string
  readonly node: string
  readonly up: boolean
  /** Settlements that wait to be sent. */
  readonly pending: number
}

export interface SinkStanding {
  readonly sink: string
  readonly queued: number
  readonly queuedBytes: number
  /** Bytes of records that it may keep. */
  readonly capacityBytes: number
  /** Records, since the start. */
  readonly written: number
  readonly dropped: number
  /** Attempts to deliver that failed, since the start. */
  readonly failures: number
  readonly up: boolean
}

const inquiries = channel('portcullis:inquiry')

/** Answers every inquiry until the function that comes back is called. `answer` must not throw. */
export function onInquiry(answer: (inquiry: Inquiry) => void): () => void {
  const listener = (inquiry: unknown) => answer(inquiry as Inquiry)
  inquiries.subscribe(listener)
  return () => void inquiries.unsubscribe(listener)
}

/** Has everything that answers inquiries answer this one, before it returns. */
export function inquire(inquiry: Inquiry): void {
  inquiries.publish(inquiry)
}

const NAME_SHAPE = /^[\w.@:/+ -]{1,64}$/
/** Longer than an id without dashes: here a key might hide. */
const LONG_RUN = /[A-Za-z0-9]{33,}/

/**
 * What a caller who proved who they are is called in telemetry: user name, custom id or id, the first that looks like
 * one. Undefined for everybody else: an address or a claim is no name.
 */
export function callerName({ consumer, credential }: Pick<Caller, 'consumer' | 'credential'>): string | undefined {
  if (consumer === undefined || credential === undefined) return undefined
  const names = [consumer.username, consumer.customId, consumer.id]
  return names.find((name) => name !== undefined && NAME_SHAPE.test(name) && !LONG_RUN.test(name))
}
