/** What a reservation carries until it is settled, maybe by another process. */

import { PortcullisError } from '../errors.ts'
import type { CounterSpec, Unit } from '../stores/ports.ts'

/** One counter that holds a part of the reservation. */
export interface HeldEntry {
  readonly key: string
  readonly caller?: string
  readonly counter: CounterSpec
  readonly at: number
  readonly epoch: number
  readonly reserved: number
  /** The part of `reserved` that is output. */
  readonly output: number
  readonly unit: Unit
  /** What a cached input token costs. */
  readonly weight: number
  /** A shadow rule that would have cut the request: it is not charged for what it would not have let through. */
  readonly capped?: boolean
}

export interface Held {
  readonly version: 1
  /** The store's own number of the reservation. */
  readonly ticket?: number
  readonly entries: readonly HeldEntry[]
  /** Absent for a request that is only counted. */
  readonly call?: HeldCall
}

export interface HeldCall {
  /** Where settling remembers what it learned: caller and model. */
  readonly learnedBy: string
  /** What the caller is called in telemetry. */
  readonly caller?: string
  readonly stream: boolean
  readonly generates: boolean
  readonly reasoning: boolean
  readonly candidates: number
  /** Estimated input and expected output, for reports. */
  readonly estimated: { readonly input: number; readonly output: number }
  /** The estimate of the texts alone, uncorrected, when settling can correct it; and the tokens known by count. */
  readonly texts?: { readonly estimated: number; readonly counted: number }
}

/** @throws {PortcullisError} `invalid_reservation` when the data is not what this policy made. */
export function readHeld(data: unknown): Held {
  if (isHeld(data)) return data
  throw new PortcullisError('invalid_reservation', 'The reservation holds nothing that can be settled.')
}

function isHeld(data: unknown): data is Held {
  if (!isObject(data) || data.version !== 1 || !Array.isArray(data.entries)) return false
  return data.entries.every(isEntry) && (data.call === undefined || isCall(data.call))
}

function isEntry(entry: unknown): entry is HeldEntry {
  return (
    isObject(entry) &&
    typeof entry.key === 'string' &&
    typeof entry.unit === 'string' &&
    isObject(entry.counter) &&
    ['fixed_window', 'sliding_window', 'token_bucket'].includes(String(entry.counter.algorithm)) &&
    isPositive(entry.counter.limit) &&
    isPositive(entry.counter.windowSeconds) &&
    [entry.at, entry.epoch, entry.reserved, entry.output, entry.weight].every(Number.isFinite)
  )
}

function isCall(call: unknown): call is HeldCall {
  return (
    isObject(call) &&
    typeof call.learnedBy === 'string' &&
    (call.caller === undefined || typeof call.caller === 'string') &&
    isPositive(call.candidates) &&
    isObject(call.estimated) &&
    Number.isFinite(call.estimated.input) &&
    Number.isFinite(call.estimated.output)
  )
}

function isPositive(value: unknown): boolean {
  return typeof value === 'number' && value > 0 && value < Number.POSITIVE_INFINITY
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
