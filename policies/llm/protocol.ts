/** The port to an LLM API. A new protocol is one file in `protocols/` that implements {@link Protocol}. */

import type { Reject } from '../policy.ts'
import type { JsonBody } from './json.ts'
import type { Usage } from './usage.ts'

/** Names as scopes use them: `llm:` is left out. */
export type OperationName =
  | 'chat'
  | 'responses'
  | 'embeddings'
  | 'images'
  | 'audio'
  | 'moderations'
  | 'files'
  | 'batches'
  | 'fine_tuning'
  | 'models'

/** What a method and path ask for, before the body is read. */
export interface Operation {
  readonly name: OperationName
  /** True for an operation without side effects. */
  readonly read: boolean
  /** The protocol that can meter its tokens; absent when nobody can. */
  readonly protocol?: Protocol
  /** The model, where the path names it (Gemini, Azure deployments). */
  readonly model?: string
  /** The path itself asks for a stream (Gemini). */
  readonly stream?: boolean
}

/** The input as the estimator and the flat costs see it. */
export interface InputContent {
  /** Every piece of text the model will read: messages, system prompts, tool definitions and results, schemas. */
  readonly texts: readonly string[]
  readonly images: number
  readonly audio: number
  readonly files: number
  /** Tokens known by count: token-id arrays, and the framing of messages (about four tokens each). */
  readonly tokenIds: number
  /** Input lies outside the body: `previous_response_id`, conversations, file and prompt ids, server-side tools. */
  readonly unseen: boolean
}

/** A request body understood. Everything here is what will be forwarded, duplicates and decoys excluded. */
export interface LlmCall {
  readonly protocol: Protocol
  readonly operation: OperationName
  /** The model that answers; empty when a stored prompt names it. */
  readonly model: string
  /** Further models the provider may answer with: fallback lists, a body's model where the path names another. */
  readonly otherModels?: readonly string[]
  readonly stream: boolean
  /** Largest declared output limit times candidates; absent when none is declared. */
  readonly declaredOutput?: number
  /** How many candidates are generated (`n`, `best_of`, `candidateCount`), at least 1. */
  readonly candidates: number
  /** False for embeddings: nothing is generated. */
  readonly generates: boolean
  /**
   * Reasoning, or other output that a stream does not show as text, is asked for or cannot be ruled out: streamed text
   * then says nothing about all output.
   */
  readonly reasoning: boolean
  readonly input: InputContent
  /** Runs outside this request (`background: true`), so that nobody can meter it here. */
  readonly unmetered: boolean
  /** The provider keeps the reply, so that a later request can refer to it. */
  readonly stored?: boolean
  /** Whether usage must be switched on in the forwarded request, and the extra event withheld. */
  readonly needsUsageSwitch: boolean
}

/** Edits of a body that {@link Protocol.edit} can make. */
export interface CallEdits {
  /** Output limit over all candidates. */
  readonly maxOutputTokens?: number
  /** Make a stream report its usage. */
  readonly includeUsage?: boolean
}

/** Final events and shapes of a reply, told apart from its transport. */
export interface Protocol {
  /** Stable, lower-case: goes into tap plans, audit records and metrics. */
  readonly id: string
  /** Value of OpenTelemetry's `gen_ai.provider.name` when nothing better is known. */
  readonly provider: string

  /** Exact match on the path that the upstream sees. */
  recognise(method: string, path: string): Operation | undefined

  /**
   * Understands a body.
   * @throws {RefusedRead} `invalid_request` naming the field, when a decisive one is missing, duplicated or mistyped.
   */
  read(body: JsonBody, operation: Operation): LlmCall

  /** The body to forward: only the edited members change, every other byte stays. */
  edit(body: JsonBody, call: LlmCall, edits: CallEdits): Uint8Array

  /** Usage of a whole JSON reply, at the protocol's own place; absent when there is none or it is malformed. */
  replyUsage(reply: unknown): Usage | undefined

  /** The top-level member of a whole JSON reply that holds usage. */
  readonly usageMember: string
  /** A byte sequence without which no stream event can carry usage, such as `"usage"`. */
  readonly usageMark: string
  /** Where a stream event holds usage, as dotted paths; what `eventUsage` reads. */
  readonly usagePaths: readonly string[]
  /**
   * Usage in one parsed stream event, at the protocol's own place. Halves are merged with `mergeUsage`; `earlier` is
   * what the stream reported so far, for a half that leaves parts out.
   */
  eventUsage(event: unknown, earlier?: Usage): Usage | undefined
  /** Whether the event exists only because usage was switched on. */
  isUsageEvent(event: unknown): boolean
  /** Generated text in one parsed stream event: what the caller sees, tool arguments included. */
  eventText(event: unknown): string
  /** Keys whose string values, anywhere in a stream event outside `skipKeys`, are what `eventText` returns. */
  readonly textKeys: readonly string[]
  /** Keys whose whole values repeat or describe text rather than being it. */
  readonly skipKeys: readonly string[]
  /** Values of an event's top-level `type` that end a stream. */
  readonly finalTypes: readonly string[]
  /** Whether the event ends the stream. */
  isFinalEvent(event: unknown): boolean
  /** What ends a stream that is cut, in the protocol's own final events; see `final_template` in `tap.ts`. */
  finalTemplate(candidates: number): string

  /** A refusal in the API's own error shape, as JSON text. */
  errorBody(reject: Reject, requestId: string): string
  /** A fault in the middle of a stream, as the protocol's own error event; absent when it has none. */
  errorEvent?(reject: Reject, requestId: string): string
  /** Which provider's rate-limit headers its SDKs read. */
  readonly rateLimitHeaders: 'openai' | 'anthropic' | 'none'
}
