/**
 * One audit record: what is written about a request, and nothing else. Every member is picked by name; names are those of
 * OpenTelemetry's semantic conventions (gen-ai, http, client, user, error) where these have one, `portcullis.*` elsewhere.
 */

import { estimateDelivered } from '../llm/estimate.ts'
import type { Caller, Ending, Outcome, PolicyVerdict } from '../policy.ts'
import type { ReplyContent } from './completion.ts'
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
  readonly 'portcullis.would_reject'?: readonly string[]
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
  readonly 'portcullis.content.request.dropped'?: 'unreadable' | 'too_large' | 'redaction_failed'
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

/**
 * @param draft what the policy noted when the request came; undefined for one that never got so far
 */
export function makeRecord(ending: Ending, draft: Draft | undefined, extra: RecordExtras): AuditRecord {
  const { outcome } = ending
  const verdicts = ending.verdicts.filter(({ policy, decision }) => policy !== extra.ownName || decision === 'reject')
  const requestId = extra.label(ending.requestId ?? draft?.requestId)
  return {
    schema: SCHEMA_VERSION,
    time: new Date(ending.startedAt ?? draft?.time ?? extra.now).toISOString(),
    ...optional('portcullis.request.id', requestId),
    ...decisionOf(ending, verdicts),
    'portcullis.ended': outcome.ended,
    ...placeOf(ending, draft),
    ...callerOf(draft?.caller, ending.caller),
    ...optional('user.hash', extra.userHash),
    ...optional('http.request.method', methodOf(ending.method ?? draft?.method)),
    ...optional('http.response.status_code', ending.status),
    ...optional('portcullis.upstream.status_code', outcome.status),
    ...optional('error.type', errorType(ending, verdicts)),
    ...(draft?.call ?? extra.call),
    ...usageOf(ending, verdicts),
    ...optional('portcullis.duration_ms', rounded(ending.durationMs)),
    ...optional('portcullis.upstream.duration_ms', rounded(ending.upstreamMs)),
    ...draft?.content,
    ...extra.reply,
    ...(extra.sample < 1 ? { 'portcullis.audit.sample': extra.sample } : {}),
  }
}

export interface RecordExtras {
  /** What method and path alone say, for a request without a draft. */
  readonly call: Partial<AuditRecord>
  /** What is kept of the reply. */
  readonly reply: ReplyContent
  /** Name of the audit policy, whose own verdict says nothing, unless a fault inside it refused the request. */
  readonly ownName: string
  readonly sample: number
  readonly userHash: string | undefined
  /** Epoch milliseconds, for a request whose start nobody knows. */
  readonly now: number
  /** A text that the client may have chosen, made harmless. */
  label(text: string | undefined): string | undefined
}

type Part = Partial<AuditRecord>

function decisionOf(ending: Ending, verdicts: readonly PolicyVerdict[]) {
  const refused = verdicts.find(({ decision }) => decision === 'reject')
  const wouldReject = verdicts.flatMap((verdict) => verdict.wouldReject ?? [])
  return {
    ...(refused === undefined ? decisionWithout(ending, verdicts) : refusedBy(refused)),
    ...(wouldReject.length === 0 ? {} : { 'portcullis.would_reject': wouldReject }),
  }
}

function refusedBy({ policy, code }: PolicyVerdict) {
  return {
    'portcullis.decision': 'reject' as const,
    'portcullis.policy': policy,
    ...(code === undefined ? {} : { 'portcullis.code': code }),
  }
}

/** Nobody of this pack refused: what the upstream saw decides, then the status. */
function decisionWithout({ outcome, status }: Ending, verdicts: readonly PolicyVerdict[]) {
  if (outcome.ended !== 'not_forwarded' && outcome.ended !== 'unknown')
    return { 'portcullis.decision': 'pass' as const }
  if (outcome.ended === 'not_forwarded' && status !== undefined && status >= 400 && status !== 499)
    return { 'portcullis.decision': 'reject' as const, 'portcullis.policy': 'other' }
  return { 'portcullis.decision': verdicts.length === 0 ? ('unknown' as const) : ('pass' as const) }
}

function placeOf({ route }: Ending, draft: Draft | undefined): Part {
  const { id, name, serviceId, serviceName } = { ...draft?.route, ...route }
  return {
    ...optional('portcullis.route.id', id),
    ...optional('portcullis.route.name', name),
    ...optional('portcullis.service.id', serviceId),
    ...optional('portcullis.service.name', serviceName),
  }
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
function callerOf(noted: NotedCaller | undefined, ended: NotedCaller | undefined): Part {
  const identified = ended?.credential?.fingerprint !== undefined
  const consumer = identified ? ended.consumer : (noted?.consumer ?? ended?.consumer)
  const credential = identified ? ended.credential : (noted?.credential ?? ended?.credential)
  const address = noted?.address || ended?.address
  return {
    ...optional('user.id', consumer?.id),
    ...optional('user.name', consumer?.username),
    ...optional('portcullis.credential.id', credential?.id),
    ...optional('portcullis.credential.fingerprint', credential?.fingerprint),
    ...optional('client.address', address === '' ? undefined : address),
  }
}

const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'CONNECT', 'TRACE', 'QUERY'])

/** A client may make up a method; OpenTelemetry's word for those is `_OTHER`. */
function methodOf(method: string | undefined): string | undefined {
  if (method === undefined) return undefined
  const upper = method.toUpperCase()
  return METHODS.has(upper) ? upper : '_OTHER'
}

/** A code of this pack, how the request was cut short, or the status. */
function errorType({ outcome, status }: Ending, verdicts: readonly PolicyVerdict[]): string | undefined {
  const refused = verdicts.find(({ decision }) => decision === 'reject')
  if (refused?.code !== undefined) return refused.code
  if (outcome.ended === 'client_gone' || outcome.ended === 'upstream_failed') return outcome.ended
  const seen = status ?? outcome.status
  return seen !== undefined && seen >= 400 ? String(seen) : undefined
}

function usageOf({ outcome }: Ending, verdicts: readonly PolicyVerdict[]) {
  const { usage } = outcome
  const delivered = outcome.delivered?.characters.some((count) => count > 0) ? outcome.delivered : undefined
  const estimated = verdicts.findLast((verdict) => verdict.estimated !== undefined)?.estimated
  return {
    ...optional('gen_ai.usage.input_tokens', usage?.inputTokens),
    ...optional('gen_ai.usage.output_tokens', usage?.outputTokens),
    ...optional('gen_ai.usage.cache_read.input_tokens', usage?.cachedInputTokens),
    ...optional('gen_ai.usage.cache_creation.input_tokens', usage?.cacheCreationTokens),
    ...optional('gen_ai.usage.reasoning.output_tokens', usage?.reasoningTokens),
    'portcullis.usage.source': sourceOf(outcome, delivered !== undefined),
    ...optional('portcullis.usage.estimated.input_tokens', estimated?.input),
    ...optional('portcullis.usage.estimated.output_tokens', estimated?.output),
    ...(delivered === undefined
      ? {}
      : { 'portcullis.usage.delivered.output_tokens': Math.ceil(estimateDelivered(delivered)) }),
  }
}

function sourceOf({ ended, usage, status }: Outcome, delivered: boolean): UsageSource {
  if (usage !== undefined) return 'reported'
  if (delivered) return 'delivered'
  if (ended === 'not_forwarded' || (status !== undefined && status >= 400)) return 'none'
  return 'unobserved'
}

function rounded(milliseconds: number | undefined): number | undefined {
  return milliseconds === undefined ? undefined : Math.max(0, Math.round(milliseconds * 1000) / 1000)
}

function optional<K extends keyof AuditRecord>(name: K, value: AuditRecord[K] | undefined): Part {
  return value === undefined ? {} : { [name]: value }
}
