/** What a store of limit counters must do. Every implementation passes `test/contract/limit-store.ts`. */

import type { MaybePromise } from '../policy.ts'

export type Algorithm = 'fixed_window' | 'sliding_window' | 'token_bucket'

/** What a rule counts. Cached input may weigh less than 1: the caller of the store has already applied that. */
export type Unit = 'total_tokens' | 'input_tokens' | 'output_tokens' | 'requests'

/** The arithmetic of one counter. */
export interface CounterSpec {
  readonly algorithm: Algorithm
  readonly limit: number
  readonly windowSeconds: number
  /** `token_bucket` only; the most tokens it holds. */
  readonly burst?: number
}

/** What one rule asks of one counter for one request. */
export interface Claim {
  /** Name of the rule, for results and logs. */
  readonly rule: string
  /**
   * Injective over (rule, algorithm, window, parts): two different counters never share it. Begins with `caller`.
   * The keys of one request are distinct.
   */
  readonly key: string
  /**
   * The caller part this counter belongs to, the same for all rules on that part, so that a cluster keeps them in one
   * slot. No caller is the beginning of another. Absent: no caller part.
   */
  readonly caller?: string
  /**
   * Set when the key holds a client-chosen description part. `owner` may have 64 distinct `member`s at a time;
   * a further one is counted under `overflowKey`. Claims of one request that are counted there together take once: each
   * gets the same result, and it is to be settled once.
   */
  readonly spread?: { readonly owner: string; readonly member: string; readonly overflowKey: string }
  readonly counter: CounterSpec
  readonly unit: Unit
  /** Cost of the input in this rule's unit: 0 for output rules, 1 for `requests`. */
  readonly input: number
  /** Output tokens this rule wants to reserve: 0 when it counts no output. */
  readonly want: number
  /** When the output wanted does not fit, take what fits (at least `floor`) instead of refusing. */
  readonly clip: boolean
  readonly floor: number
  /** A shadow claim takes what its own rule would have taken, and never refuses or clips the request. */
  readonly shadow: boolean
}

export interface ReserveRequest {
  /** The reservation's id. */
  readonly id: string
  readonly claims: readonly Claim[]
}

/** One claim after the atomic step, in the order of the request. */
export interface ClaimResult {
  /** The counter that was used: `key` or the overflow key. */
  readonly key: string
  /** The counter's own clock at admission, epoch milliseconds: it may be ahead of the store's. */
  readonly at: number
  /** Which life of the counter this was: one that was forgotten or restarted since gets no refund. */
  readonly epoch: number
  /** What was taken, in the rule's unit; 0 when nothing was. */
  readonly reserved: number
  /** After this request's own reservation; at least 0. */
  readonly remaining: number
  /** Milliseconds until the counter is whole again. */
  readonly resetMs: number
  /** Set when this claim did not fit: milliseconds until it would, or Infinity when it never can. */
  readonly retryAfterMs?: number
}

export interface ReserveResult {
  readonly admitted: boolean
  /** The store's own number of the reservation, if it has one: the settlement hands it back. */
  readonly ticket?: number
  /** Set when an enforced claim was clipped: the output tokens the request may produce in all. */
  readonly clippedTo?: number
  readonly claims: readonly ClaimResult[]
}

export interface SettleEntry {
  readonly key: string
  readonly caller?: string
  readonly counter: CounterSpec
  /** {@link ClaimResult.at} and {@link ClaimResult.epoch} of the reservation. */
  readonly at: number
  readonly epoch: number
  readonly reserved: number
  /** Really used, in the rule's unit. May be below or above `reserved`. */
  readonly actual: number
}

export interface Settlement {
  /** The reservation's id: a second settlement with it changes nothing. */
  readonly id: string
  readonly ticket?: number
  readonly entries: readonly SettleEntry[]
}

/** A counter as an operator sees it. */
export interface CounterView {
  readonly key: string
  /** Absent: no caller part. */
  readonly caller?: string
  readonly counter: CounterSpec
  readonly used: number
  readonly remaining: number
  readonly resetMs: number
}

export interface LimitStore {
  /**
   * Resolves once the store can be used, or is known to be down for now. Absent: at once.
   * @throws {PortcullisError} when its config can never work, such as with a wrong password
   */
  ready?(): Promise<void>
  /** One atomic step over all claims: all enforced ones take, or none does. */
  reserve(request: ReserveRequest): MaybePromise<ReserveResult>
  /** Whether it counted: false when this id is known to be settled already. */
  settle(settlement: Settlement): MaybePromise<boolean>
  /** Every counter of one caller. For operators: may scan. */
  show(caller: string): Promise<readonly CounterView[]>
  /** Forgets one counter. */
  reset(key: string, caller: string | undefined): Promise<void>
  /** Gives back a positive whole number of `tokens` to one counter, at most to its limit. */
  grant(key: string, caller: string | undefined, tokens: number): Promise<void>
  close(): Promise<void>
}

/** The config part that names a store; one store is shared by every instance with an equal one. */
export interface StoreConfig {
  readonly store: 'memory' | 'redis'
  readonly redis?: Readonly<Record<string, unknown>>
  readonly on_store_error?: 'local' | 'deny' | 'allow'
  /** How many gateway nodes share the limits, for `on_store_error: local` before any node was seen. */
  readonly nodes?: number
}
