/**
 * One audit record: what is written about a request, and nothing else. Every member is picked by name; names are those of
 * OpenTelemetry's semantic conventions (gen-ai, http, client, user, error) where these have one, `portcullis.*` elsewhere.
 */

import { estimateDelivered } from '../llm/estimate.ts'
import { gaveUpWaiting } from '../llm/usage.ts'
import type { Caller, Ending, Outcome, PolicyVerdict, RouteRef } from '../policy.ts'
import type { ReplyContent } from './completion.ts'
import type { Content } from './content.ts'
import type { Draft } from './draft.ts'

export const SCHEMA_VERSION = 'portcullis.audit/1'

export type UsageSource = 'reported' | 'delivered' | 'none' | 'unobserved'

/** Absent is unknown or not applicable; no member is ever null. */
export interface AuditRecord {
  readonly schema: typeof SCHEMA_VERSION
  /** RFC 3339, UTC: when the request came. */
  readonly time: string
  readonly 'portcullis.request.id'?: string
  readonly 'portcullis.decision': 'pass' | 'reject' | 'unknown'
  /** The policy that refused; `other` when it was none of this pack. */
  readonly 'portcullis.policy'?: string
  readonly 'portcullis.code'?: string
  /** Name of the limit that had no room, or the scope that was missing, without its model. */
  readonly 'portcullis.rule'?: string
  readonly 'portcullis.would_reject'?: readonly string[]
  /** The rule of each of them, in their order; empty for one without. */
  readonly 'portcullis.would_reject.rules'?: readonly string[]
  readonly 'portcullis.ended': Outcome['ended']
  readonly 'portcullis.route.id'?: string
  readonly 'portcullis.route.name'?: string
  readonly 'portcullis.service.id'?: string
  readonly 'portcullis.service.name'?: string
  readonly 'user.id'?: string
  readonly 'user.name'?: string
  /** Keyed hash of a token's issuer and subject. */
  readonly 'user.hash'?: string
  readonly 'portcullis.credential.id'?: string
  readonly 'portcullis.credential.fingerprint'?: string
  readonly 'client.address'?: string
  readonly 'http.request.method'?: string
  readonly 'http.response.status_code'?: number
  readonly 'portcullis.upstream.status_code'?: number
  readonly 'error.type'?: string
  readonly 'gen_ai.operation.name'?: string
  readonly 'gen_ai.provider.name'?: string
  readonly 'gen_ai.request.model'?: string
  readonly 'gen_ai.request.stream'?: boolean
  readonly 'gen_ai.request.max_tokens'?: number
  readonly 'gen_ai.request.choice.count'?: number
  readonly 'gen_ai.usage.input_tokens'?: number
  readonly 'gen_ai.usage.output_tokens'?: number
  readonly 'gen_ai.usage.cache_read.input_tokens'?: number
  readonly 'gen_ai.usage.cache_creation.input_tokens'?: number
  readonly 'gen_ai.usage.reasoning.output_tokens'?: number
  /** `reported` by the provider, estimated from the text `delivered`, `none` used, or `unobserved`. */
  readonly 'portcullis.usage.source': UsageSource
  readonly 'portcullis.usage.estimated.input_tokens'?: number
  readonly 'portcullis.usage.estimated.output_tokens'?: number
  readonly 'portcullis.usage.delivered.output_tokens'?: number
  readonly 'portcullis.duration_ms'?: number
  readonly 'portcullis.upstream.duration_ms'?: number
  /** With `content: redacted`: the request body after redaction, as JSON text. */
  readonly 'portcullis.content.request'?: string
  readonly 'portcullis.content.request.truncated'?: boolean
  /** How often each kind of value was masked. */
  readonly 'portcullis.content.request.findings'?: Readonly<Record<string, number>>
  /** With `content: hash`: HMAC-SHA-256 of the request body, in hex. */
  readonly 'portcullis.content.request.hash'?: string
  /** Why there is no content although it was asked for. */
  readonly 'portcullis.content.request.dropped'?: 'unreadable' | 'too_large' | 'redaction_failed' | 'lost' | 'unseen'
  /** With `content: redacted`: the reply, where the gateway shows it: a JSON body, or the text of a stream. */
  readonly 'portcullis.content.response'?: string
  readonly 'portcullis.content.response.truncated'?: boolean
  readonly 'portcullis.content.response.findings'?: Readonly<Record<string, number>>
  /** With `content: hash`: HMAC-SHA-256 of the reply's body as the upstream sent it, in hex. */
  readonly 'portcullis.content.response.hash'?: string
  readonly 'portcullis.content.response.dropped'?: 'unreadable' | 'too_large' | 'redaction_failed'
  /** The fraction of requests that is recorded, when it is not all. */
  readonly 'portcullis.audit.sample'?: number
  /** Records that this sink lost since the one before. */
  readonly 'portcullis.audit.dropped'?: number
}

/** As it is written: JSON leaves out what is undefined, and objects of one shape cost a fraction of others. */
type Written = { readonly [K in keyof Required<AuditRecord>]: AuditRecord[K] | undefined }

/**
 * A record without content: see {@link addContent}.
 * @param draft what the policy noted when the request came; undefined for one that never got so far
 */
export function makeRecord(ending: Ending, draft: Draft | undefined, extra: RecordExtras): AuditRecord {
  const { outcome, status } = ending
  const { usage } = outcome
  const verdicts = ending.verdicts.filter(({ policy, decision }) => policy !== extra.ownName || decision === 'reject')
  const refused = verdicts.find(({ decision }) => decision === 'reject')
  const decision = refused === undefined ? decisionWithout(ending, verdicts) : 'reject'
  const wouldReject = verdicts.flatMap((verdict) => verdict.wouldReject ?? [])
  const place: RouteRef = { ...draft?.route, ...ending.route }
  const { consumer, credential, address } = callerOf(draft?.caller, ending.caller)
  const call = draft?.call ?? extra.call
  const estimated = verdicts.findLast((verdict) => verdict.estimated !== undefined)?.estimated
  const delivered = outcome.delivered?.characters.some((count) => count > 0) ? outcome.delivered : undefined
  const record: Written = {
    schema: SCHEMA_VERSION,
    time: new Date(ending.startedAt ?? draft?.time ?? extra.now).toISOString(),
    'portcullis.request.id': extra.label(ending.requestId ?? draft?.requestId),
    'portcullis.decision': decision,
    'portcullis.policy': decision === 'reject' ? (refused?.policy ?? 'other') : undefined,
    'portcullis.code': refused?.code,
    'portcullis.rule': refused?.rule,
    'portcullis.would_reject': wouldReject.length === 0 ? undefined : wouldReject,
    'portcullis.would_reject.rules': wouldReject.length === 0 ? undefined : rulesOf(verdicts),
    'portcullis.ended': outcome.ended,
    'portcullis.route.id': place.id,
    'portcullis.route.name': place.name,
    'portcullis.service.id': place.serviceId,
    'portcullis.service.name': place.serviceName,
    'user.id': consumer?.id,
    'user.name': consumer?.username,
    'portcullis.credential.id': credential?.id,
    'portcullis.credential.fingerprint': credential?.fingerprint,
    'client.address': address,
    'user.hash': extra.userHash,
    'http.request.method': methodOf(ending.method ?? draft?.method),
    'http.response.status_code': status,
    'portcullis.upstream.status_code': outcome.status,
    'error.type': errorType(ending, refused),
    'gen_ai.operation.name': call['gen_ai.operation.name'],
    'gen_ai.provider.name': call['gen_ai.provider.name'],
    'gen_ai.request.model': call['gen_ai.request.model'],
    'gen_ai.request.stream': call['gen_ai.request.stream'],
    'gen_ai.request.max_tokens': call['gen_ai.request.max_tokens'],
    'gen_ai.request.choice.count': call['gen_ai.request.choice.count'],
    'gen_ai.usage.input_tokens': usage?.inputTokens,
    'gen_ai.usage.output_tokens': usage?.outputTokens,
    'gen_ai.usage.cache_read.input_tokens': usage?.cachedInputTokens,
    'gen_ai.usage.cache_creation.input_tokens': usage?.cacheCreationTokens,
    'gen_ai.usage.reasoning.output_tokens': usage?.reasoningTokens,
    'portcullis.usage.source': sourceOf(outcome, delivered !== undefined),
    'portcullis.usage.estimated.input_tokens': estimated?.input,
    'portcullis.usage.estimated.output_tokens': estimated?.output,
    'portcullis.usage.delivered.output_tokens':
      delivered === undefined ? undefined : Math.ceil(estimateDelivered(delivered)),
    'portcullis.duration_ms': rounded(ending.durationMs),
    'portcullis.upstream.duration_ms': rounded(ending.upstreamMs),
    'portcullis.content.request': undefined,
    'portcullis.content.request.truncated': undefined,
    'portcullis.content.request.findings': undefined,
    'portcullis.content.request.hash': undefined,
    'portcullis.content.request.dropped': undefined,
    'portcullis.content.response': undefined,
    'portcullis.content.response.truncated': undefined,
    'portcullis.content.response.findings': undefined,
    'portcullis.content.response.hash': undefined,
    'portcullis.content.response.dropped': undefined,
    'portcullis.audit.sample': extra.sample < 1 ? extra.sample : undefined,
    'portcullis.audit.dropped': undefined,
  }
  return record as AuditRecord
}

/** In the order of what was held back; undefined when no limit or scope was behind any of it. */
function rulesOf(verdicts: readonly PolicyVerdict[]): readonly string[] | undefined {
  const rules = verdicts.flatMap(({ wouldReject = [], rule = '' }) => wouldReject.map(() => rule))
  return rules.every((rule) => rule === '') ? undefined : rules
}

/** Puts what is kept of the request's body and of the reply into a record that nobody else has. */
export function addContent(record: AuditRecord, request: Content, reply: ReplyContent): void {
  Object.assign(record, request, reply)
}

export interface RecordExtras {
  /** What method and path alone say, for a request without a draft. */
  readonly call: Partial<AuditRecord>
  /** Name of the audit policy, whose own verdict says nothing, unless a fault inside it refused the request. */
  readonly ownName: string
  readonly sample: number
  readonly userHash: string | undefined
  /** Epoch milliseconds, for a request whose start nobody knows. */
  readonly now: number
  /** A text that the client may have chosen, made harmless. */
  label(text: string | undefined): string | undefined
}

/** Nobody of this pack refused: what the upstream saw decides, then the status. */
function decisionWithout(
  { outcome, status }: Ending,
  verdicts: readonly PolicyVerdict[],
): AuditRecord['portcullis.decision'] {
  if (outcome.ended !== 'not_forwarded' && outcome.ended !== 'unknown') return 'pass'
  if (outcome.ended === 'not_forwarded' && status !== undefined && status >= 400 && status !== 499) return 'reject'
  return verdicts.length === 0 ? 'unknown' : 'pass'
}

/** What of a caller may be kept: never its claims, tags or groups. */
export type NotedCaller = Pick<Caller, 'address'> & {
  readonly consumer?: { readonly id: string; readonly username?: string }
  readonly credential?: { readonly id?: string; readonly fingerprint?: string }
}

/**
 * What was noted when the request came knows more than what is known at its end, but a policy may have identified the
 * caller in between, and of a request refused before there is only the end.
 */
function callerOf(noted: NotedCaller | undefined, ended: NotedCaller | undefined) {
  const identified = ended?.credential?.fingerprint !== undefined
  const consumer = identified ? ended.consumer : (noted?.consumer ?? ended?.consumer)
  const credential = identified ? ended.credential : (noted?.credential ?? ended?.credential)
  const address = noted?.address || ended?.address
  return { consumer, credential, address: address === '' ? undefined : address }
}

const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'CONNECT', 'TRACE', 'QUERY'])

/** A client may make up a method; OpenTelemetry's word for those is `_OTHER`. */
function methodOf(method: string | undefined): string | undefined {
  if (method === undefined) return undefined
  const upper = method.toUpperCase()
  return METHODS.has(upper) ? upper : '_OTHER'
}

/** A code of this pack, how the request was cut short, or the status. */
function errorType({ outcome, status }: Ending, refused: PolicyVerdict | undefined): string | undefined {
  if (refused?.code !== undefined) return refused.code
  if (outcome.ended === 'client_gone' || outcome.ended === 'upstream_failed') return outcome.ended
  const seen = status ?? outcome.status
  return seen !== undefined && seen >= 400 ? String(seen) : undefined
}

function sourceOf({ ended, usage, status }: Outcome, delivered: boolean): UsageSource {
  if (usage !== undefined) return 'reported'
  if (delivered) return 'delivered'
  if (ended === 'not_forwarded' || (status !== undefined && status >= 400 && !gaveUpWaiting(status))) return 'none'
  return 'unobserved'
}

function rounded(milliseconds: number | undefined): number | undefined {
  return milliseconds === undefined ? undefined : Math.max(0, Math.round(milliseconds * 1000) / 1000)
}
