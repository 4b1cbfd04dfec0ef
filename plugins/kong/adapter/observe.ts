/** The log phase of a plugin that watches how requests end: refused ones, and those that it never saw, included. */

import { CODES, type Code } from '../../../policies/errors.ts'
import { callerParts } from '../../../policies/pipeline.ts'
import type { Caller, Ending, Outcome, PolicyVerdict, Reservation, RouteRef } from '../../../policies/policy.ts'
import {
  ENDING_KEY,
  REFUSAL_KEY,
  type ReadEndedEntry,
  type ReadEnding,
  type ReadRefusal,
  readEndedEntry,
  readEnding,
  readRefusal,
} from '../ending.ts'
import { entryKey, isObject } from '../shared-context.ts'
import type { KeptFacts } from '../under-way.ts'
import { routeRef } from './exchange-facts.ts'
import type { KongPdk } from './pdk.ts'

/** The pack's plugins that decide, in the order in which Kong runs them. */
const DECIDING = ['llm-api-key', 'llm-gateway', 'llm-scope', 'llm-token-limit'] as const

/** One read where `llm-edge` gathered it, else one for each plugin. @throws {PortcullisError} `kong_context_malformed`. */
export async function gatherEnding(kong: KongPdk, plugin: string): Promise<ReadEnding> {
  const gathered = readEnding(await kong.ctx.shared.get(ENDING_KEY))
  if (gathered !== undefined) return gathered
  const entries: ReadEndedEntry[] = []
  for (const name of new Set([plugin, ...DECIDING])) {
    const entry = await kong.ctx.shared.get(entryKey(name))
    if (isObject(entry)) entries.push(readEndedEntry({ ...entry, plugin: name }, entryKey(name)))
  }
  return { report: undefined, refusal: readRefusal(await kong.ctx.shared.get(REFUSAL_KEY)), entries }
}

/** What every plugin of the pack said, in the order in which they ran. */
export function verdictsIn({ entries, refusal }: ReadEnding): readonly PolicyVerdict[] {
  const place = ({ plugin }: ReadEndedEntry) => (DECIDING as readonly string[]).indexOf(plugin)
  const passed = [...entries].sort((one, other) => place(one) - place(other)).flatMap(verdictsOfEntry)
  return refusal === undefined ? passed : [...passed, ...(refusal.verdicts ?? []), refusedBy(refusal)]
}

function verdictsOfEntry(entry: ReadEndedEntry): readonly PolicyVerdict[] {
  const { plugin, reservations, wouldReject, rule, verdicts } = entry
  if (verdicts !== undefined) return verdicts
  const codes = wouldReject.filter(isCode)
  const held = codes.length === 0 ? {} : { wouldReject: codes, ...present('rule', rule) }
  if (reservations.length === 0) return [{ policy: plugin, decision: 'pass', ...held }]
  return reservations.map(({ policy, estimated }, index) => ({
    policy,
    decision: 'pass',
    ...(index === 0 ? held : {}),
    estimated,
  }))
}

function refusedBy({ policy, code, rule }: ReadRefusal): PolicyVerdict {
  return { policy, decision: 'reject', ...(isCode(code) ? { code, ...present('rule', rule) } : {}) }
}

function isCode(text: string): text is Code {
  return Object.hasOwn(CODES, text)
}

/** The parts of Kong's log data that an observer gets, picked by name: the rest holds keys, query strings and headers. */
export interface LoggedRequest {
  readonly requestId?: string
  readonly method?: string
  readonly path?: string
  readonly route: RouteRef
  readonly caller: Caller
  readonly startedAt?: number
  readonly durationMs?: number
  readonly upstreamMs?: number
  readonly status?: number
}

/** The client left before a status was sent: nginx's own number for it. */
const CLIENT_CLOSED = 499

/** @throws {SyntaxError} when the text is no JSON. */
export function readLogged(text: string): LoggedRequest {
  return loggedOf(JSON.parse(text))
}

/** @param logged Kong's log data, or the parts of it that `llm-edge` tells with a settlement */
export function loggedOf(logged: unknown): LoggedRequest {
  const data = members(logged)
  const { route, service, consumer, latencies, request, response } = data
  const status = count(members(response).status)
  const path = word(data.upstream_uri)?.split('?', 1)[0]
  return {
    ...present('requestId', word(members(request).id)),
    ...present('method', word(members(request).method)),
    ...present('path', path?.startsWith('/') ? path : undefined),
    route: {
      ...present('id', word(members(route).id)),
      ...present('name', word(members(route).name)),
      ...present('serviceId', word(members(service).id)),
      ...present('serviceName', word(members(service).name)),
    },
    caller: {
      address: word(data.client_ip) ?? '',
      ...present('consumer', consumerOf(members(consumer))),
      ...present('credential', credentialOf(members(data.authenticated_entity))),
    },
    ...readTimes(data.started_at, members(latencies).request, members(latencies).proxy),
    ...present('status', statusOf(status)),
  }
}

/** When the request came and how long it took: what only its end tells. */
export type Times = Pick<LoggedRequest, 'startedAt' | 'durationMs' | 'upstreamMs'>

/** Whatever is no number of milliseconds is left out. */
export function readTimes(startedAt: unknown, durationMs: unknown, upstreamMs: unknown): Times {
  return {
    ...present('startedAt', count(startedAt)),
    ...present('durationMs', count(durationMs)),
    // -1 when there was none.
    ...present('upstreamMs', count(upstreamMs)),
  }
}

/** The same, of a request whose facts are still here. @param sent Kong's status */
export function loggedOfFacts(facts: KeptFacts, times: Times, sent: number): LoggedRequest {
  const { consumer, credential } = facts
  return {
    requestId: facts.request_id,
    method: facts.method,
    ...present('path', facts.path.startsWith('/') ? facts.path : undefined),
    route: routeRef(facts.route, facts.service),
    caller: {
      address: facts.address,
      ...present('consumer', consumer && consumerOf(consumer)),
      ...present('credential', credential && credentialOf(credential)),
    },
    ...times,
    ...present('status', statusOf(sent)),
  }
}

function statusOf(status: number | undefined): number | undefined {
  return status === CLIENT_CLOSED ? undefined : status
}

function consumerOf({ id, username }: Readonly<Record<string, unknown>>): Caller['consumer'] {
  if (typeof id !== 'string') return undefined
  return { id, ...present('username', word(username)), tags: [], groups: [] }
}

function credentialOf({ id }: Readonly<Record<string, unknown>>): Caller['credential'] {
  return typeof id === 'string' ? { id, tags: [] } : undefined
}

function members(value: unknown): Readonly<Record<string, unknown>> {
  return isObject(value) ? value : {}
}

function word(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

function count(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : undefined
}

function present<K extends string, V>(name: K, value: V | undefined): { readonly [key in K]?: V } {
  return value === undefined ? {} : ({ [name]: value } as { readonly [key in K]: V })
}

export interface EndedRequest {
  readonly ending: ReadEnding
  readonly logged: LoggedRequest
  readonly outcome: Outcome
  /** Of the watching plugin, given back ones included. */
  readonly reservations: readonly Reservation[]
}

export function endingOf({ ending, logged: { caller, ...logged }, outcome, reservations }: EndedRequest): Ending {
  const found = ending.refusal === undefined ? ending.entries : [...ending.entries, ending.refusal]
  const claims = found.findLast((one) => one.claims !== undefined)?.claims
  const identity = found.findLast((one) => one.identity !== undefined)?.identity
  return {
    ...logged,
    caller: { ...caller, ...callerParts({ claims, identity }) },
    outcome,
    verdicts: verdictsIn(ending),
    reservations,
  }
}
