/** How a passed request ended, from what nginx and Kong say about it. */

import type { Usage } from '../../../policies/llm/usage.ts'
import type { Outcome } from '../../../policies/policy.ts'
import type { Report } from '../shared-context.ts'

/** What the tap saw, read by its protocol. */
export interface Observed {
  readonly usage?: Usage
  readonly delivered?: NonNullable<Outcome['delivered']>
}

export function outcomeOf(report: Report, observed: Observed): Outcome {
  const ended = endOf(report, observed)
  return {
    ended,
    // nginx makes up a 502 for an upstream that it could not reach or that broke before its head.
    ...(report.upstream_status === undefined || report.source === 'error' ? {} : { status: report.upstream_status }),
    ...(observed.usage === undefined ? {} : { usage: observed.usage }),
    ...(observed.delivered === undefined ? {} : { delivered: observed.delivered }),
  }
}

function endOf(report: Report, observed: Observed): Outcome['ended'] {
  if (report.tap?.ended === 'cut') return 'ended_early'
  if (report.tap?.ended === 'final') return 'complete'
  if (!report.contacted) {
    // Some plugin answered by itself: with an error, or with what may well have cost tokens (aws-lambda, a cache).
    if (observed.usage !== undefined) return 'complete'
    return report.status >= 400 ? 'not_forwarded' : 'unknown'
  }
  if (report.status === 499 || report.broken_by === 'client') return 'client_gone'
  // Nobody knows what an upstream that had the request did with it.
  if (report.timed_out === true) return 'unknown'
  if (report.source === 'error' || report.broken_by === 'upstream') return 'upstream_failed'
  return report.completed ? 'complete' : 'unknown'
}

/** The parts of Kong's log data that are used, picked by name: the rest holds keys and query strings. */
export interface Serialized {
  readonly status: number
  readonly upstreamStatus: number | undefined
  /** True when the upstream's own reply was sent on: neither a plugin's nor Kong's own error page. */
  readonly fromUpstream: boolean
  readonly contacted: boolean
  readonly usage: Usage | undefined
}

/** @throws {SyntaxError} when the text is no JSON. */
export function readSerialized(text: string): Serialized {
  const data = members(JSON.parse(text))
  const upstream = /(\d{3})$/.exec(typeof data.upstream_status === 'string' ? data.upstream_status : '')
  const status = members(data.response).status
  return {
    status: typeof status === 'number' ? status : 0,
    upstreamStatus: upstream === null ? undefined : Number(upstream[1]),
    fromUpstream: data.source === 'upstream',
    contacted: Array.isArray(data.tries) && data.tries.length > 0,
    usage: aiProxyUsage(data.ai),
  }
}

/**
 * Where ai-proxy with `log_statistics` leaves it: `ai.proxy.usage` (Kong 3.9.1,
 * `kong/llm/plugin/shared-filters/serialize-analytics.lua`). It writes 0 for what was not reported, and counts
 * characters when a stream reported nothing: then there are no prompt tokens either, and nothing of it is believed.
 */
function aiProxyUsage(ai: unknown): Usage | undefined {
  for (const plugin of Object.values(members(ai))) {
    const { prompt_tokens: input, completion_tokens: output } = members(members(plugin).usage)
    if (!isCount(input) || input === 0) continue
    return { inputTokens: input, ...(isCount(output) && output > 0 ? { outputTokens: output } : {}) }
  }
  return undefined
}

/** Without `llm-edge` nobody saw whether the reply was sent whole. */
export function outcomeOfSerialized(log: Serialized): Outcome {
  return {
    ended: endOfSerialized(log),
    ...(log.upstreamStatus === undefined || !log.fromUpstream ? {} : { status: log.upstreamStatus }),
    ...(log.usage === undefined ? {} : { usage: log.usage }),
  }
}

function endOfSerialized(log: Serialized): Outcome['ended'] {
  if (log.usage !== undefined) return 'complete'
  if (!log.contacted) return log.status >= 400 ? 'not_forwarded' : 'unknown'
  if (log.status === 499) return 'client_gone'
  // A 504 may be of an upstream that had the request, or of one that could not be reached: nothing here tells which.
  if (!log.fromUpstream) return log.status >= 500 && log.upstreamStatus !== 504 ? 'upstream_failed' : 'unknown'
  return log.upstreamStatus !== undefined && log.upstreamStatus >= 400 ? 'complete' : 'unknown'
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function members(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}
