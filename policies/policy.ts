/** The contract between policies, which decide, and gateway adapters, which act. */

import type { Outputs } from './audit/ports.ts'
import type { Code } from './errors.ts'
import type { TapPlan } from './llm/tap.ts'
import type { Delivered, Usage } from './llm/usage.ts'
import type { Runtime } from './runtime.ts'
import type { Config, ConfigIssue, Fields } from './schema/fields.ts'
import type { LimitStore, StoreConfig } from './stores/ports.ts'

export type MaybePromise<T> = T | Promise<T>

/** Header names in lower case. */
export type HeaderMap = Readonly<Record<string, string>>

/** The gateway's own names for what it matched. */
export interface RouteRef {
  readonly id?: string
  readonly name?: string
  readonly serviceId?: string
  readonly serviceName?: string
}

export interface Consumer {
  readonly id: string
  readonly username?: string
  readonly customId?: string
  readonly tags: readonly string[]
  /** Groups from the gateway's own context, never from a request header. */
  readonly groups: readonly string[]
}

/** How the caller proved who they are. Never holds the secret itself. */
export interface Credential {
  readonly id?: string
  /** Epoch seconds. */
  readonly createdAt?: number
  readonly tags: readonly string[]
  /** Keyed or plain hash of the secret, safe to log. */
  readonly fingerprint?: string
  readonly scopes?: readonly string[]
}

/** Claims of a token whose signature somebody we trust has verified. */
export type Claims = Readonly<Record<string, unknown>>

export interface Caller {
  readonly consumer?: Consumer
  /** Absent for an anonymous consumer: then `consumer` is no identity. */
  readonly credential?: Credential
  readonly claims?: Claims
  /** The client address by the gateway's own trusted-proxy setting. */
  readonly address: string
}

/** Whom a policy found the caller to be, where the gateway itself knew nobody. Plain data. */
export interface Identity {
  readonly consumer: Consumer
  readonly credential: Credential
}

/** One request, read lazily: any read may be a round trip to the gateway. */
export interface Exchange {
  readonly requestId: string
  readonly method: string
  /** What the upstream will see, without the query. */
  readonly path: string
  readonly route: RouteRef
  /** Names of the query's parameters, decoded. Values are not told: some gateways take keys from there. */
  queryNames(): MaybePromise<readonly string[]>
  /** `name` in lower case. */
  header(name: string): MaybePromise<string | undefined>
  /**
   * The whole request body, byte for byte; undefined when there is none.
   * @throws {RefusedRead} `request_too_large` over the cap, never a cut body.
   */
  body(): MaybePromise<Uint8Array | undefined>
  caller(): MaybePromise<Caller>
}

/**
 * Changes to the request before it is forwarded. Headers are removed first, with underscores in place of dashes as well, then
 * set: one that is both is forwarded with the value set.
 */
export interface Edits {
  readonly body?: Uint8Array
  readonly setHeaders?: HeaderMap
  readonly removeHeaders?: readonly string[]
}

/** What a passed request holds until its outcome is known. Plain data: it may be settled by another process. */
export interface Reservation {
  readonly id: string
  /** Name of the policy that settles it. */
  readonly policy: string
  /** Estimated tokens, for audit and metrics. */
  readonly estimated: { readonly input: number; readonly output: number }
  /** The policy's own serialisable data. */
  readonly data: unknown
}

export interface Reject {
  readonly type: 'reject'
  readonly status: number
  readonly code: Code
  readonly message: string
  readonly headers?: HeaderMap
  /**
   * Name of the limit that had no room, or the scope that was missing, without a model: for those who watch, never for
   * the caller. Nothing that a client chose.
   */
  readonly rule?: string
  /** Whom the refused key belongs to: for those who watch how requests end, never for the caller. */
  readonly identity?: Identity
}

export interface Pass {
  readonly type: 'pass'
  readonly request?: Edits
  readonly replyHeaders?: HeaderMap
  readonly reservation?: Reservation
  /** How the adapter must read the reply so that `settle` learns what was used. */
  readonly tap?: TapPlan
  /** The refusal that `mode: shadow` held back. */
  readonly wouldReject?: Reject
  /** Claims of a token that this policy verified: the policies after it see them as the caller's. */
  readonly claims?: Claims
  /** Whom the caller's own key belongs to: the policies after it see the caller as that consumer. */
  readonly identity?: Identity
}

export type Decision = Pass | Reject

/** How a passed request ended. */
export interface Outcome {
  /**
   * `complete`: the reply was delivered whole. `client_gone`, `upstream_failed`: cut short by that side.
   * `not_forwarded`: the upstream was never contacted. `ended_early`: `enforce_stream` closed it.
   * `unknown`: the gateway cannot tell.
   */
  readonly ended: 'complete' | 'client_gone' | 'upstream_failed' | 'not_forwarded' | 'ended_early' | 'unknown'
  /** The upstream's status; absent when it sent none. */
  readonly status?: number
  /** What the provider reported; a field it did not report is absent, never zero. */
  readonly usage?: Usage
  /** Text that passed to the caller in a stream. */
  readonly delivered?: Delivered
}

/** What one policy said about a request. */
export interface PolicyVerdict {
  readonly policy: string
  readonly decision: 'pass' | 'reject'
  readonly code?: Code
  /** The refusals that shadow mode held back. */
  readonly wouldReject?: readonly Code[]
  /** {@link Reject.rule} of the refusal, given or held back. */
  readonly rule?: string
  readonly estimated?: { readonly input: number; readonly output: number }
}

/** A request that is over, as the gateway knows it: refused ones and those that no policy saw included. */
export interface Ending {
  readonly requestId?: string
  readonly method?: string
  /** What the upstream saw or would have seen, without the query. */
  readonly path?: string
  readonly route: RouteRef
  readonly caller?: Caller
  /** Epoch milliseconds. */
  readonly startedAt?: number
  /** Milliseconds from its first byte to its end. */
  readonly durationMs?: number
  /** Milliseconds until the upstream's head, when it was contacted. */
  readonly upstreamMs?: number
  /** What the caller got; absent when it left before a status was sent. */
  readonly status?: number
  readonly outcome: Outcome
  /** Of every policy that is known to have judged it, in order. */
  readonly verdicts: readonly PolicyVerdict[]
  /** What the policies held for it, given back or settled by now. */
  readonly reservations: readonly Reservation[]
}

/** Reads the body of one reply as it passes to the caller, decompressed. Must be quick: the reply waits for it. */
export interface ReplyReader {
  push(chunk: Uint8Array): void
}

/** A policy made for one config. Holds no state that must outlive it: see {@link Runtime}. */
export interface PolicyInstance {
  /** Largest request body this policy reads, in bytes; absent when it reads none. */
  readonly maxBodyBytes?: number
  /** Whether it looks at the caller's claims; getting those of an earlier plugin may be a round trip. */
  readonly readsClaims?: boolean
  /** @throws only on a fault; a refusal is a value. */
  decide(exchange: Exchange): MaybePromise<Decision>
  /** Idempotent by `reservation.id`. */
  settle?(reservation: Reservation, outcome: Outcome): Promise<void>
  /**
   * Asked when an upstream's reply begins, where the gateway shows replies; undefined when this policy need not see it.
   * The reader comes back with {@link observe}.
   */
  readReply?(reservation: Reservation): ReplyReader | undefined
  /**
   * Told of every request of the route once it is over, whoever answered it. The caller does not wait for it.
   * @param reply what {@link readReply} gave; undefined when there was no reply to read
   */
  observe?(ending: Ending, reply?: ReplyReader): void
}

export interface Policy<F extends Fields> {
  readonly name: string
  /** The one config schema. */
  readonly fields: F
  /** What the field kinds cannot say: impossible combinations, by path. */
  check?(config: Config<F>): readonly ConfigIssue[]
  create(config: Config<F>, deps: Deps): PolicyInstance
}

export interface Clock {
  /** Epoch milliseconds. May step; never use it for durations. */
  now(): number
  /** Milliseconds from an arbitrary start; never steps back. */
  monotonic(): number
  /** Runs `task` once after `ms`, without keeping the process alive. Returns its cancel. */
  after(ms: number, task: () => void): () => void
}

export interface Random {
  /** A new unguessable id, URL-safe. */
  id(): string
  /** Uniform in [0, 1). */
  fraction(): number
}

/** Structured log lines. Fields must never hold request arguments, bodies, keys or tokens. */
export interface Logger {
  info(message: string, fields?: Readonly<Record<string, unknown>>): void
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void
  error(message: string, fields?: Readonly<Record<string, unknown>>): void
}

/**
 * Fetches a small text document that the operator's config names, such as a key set. Follows no redirect.
 * @throws when it does not arrive whole, with status 200, in time and within the size.
 */
export type FetchDocument = (
  url: string,
  limits: { readonly timeoutMs: number; readonly maxBytes: number },
) => Promise<string>

/** Everything a policy may touch of the outside world. */
export interface Deps {
  readonly clock: Clock
  readonly random: Random
  readonly runtime: Runtime
  readonly logger: Logger
  /** Shared by every instance with an equal config; opened through the runtime. */
  openLimitStore(config: StoreConfig): LimitStore
  /** Absent where there is no network: then a config that needs it is refused. */
  readonly fetchDocument?: FetchDocument
  /** Where audit records go. Absent where there is no such thing: then a config that needs it is refused. */
  readonly outputs?: Outputs
}
