/** The access phase: facts in, one decision, and its effect on Kong. Whatever goes wrong, the door stays shut. */

import { CODES, PortcullisError, RefusedRead } from '../../../policies/errors.ts'
import { recognise } from '../../../policies/llm/operations.ts'
import type { Protocol } from '../../../policies/llm/protocol.ts'
import {
  type PassVerdict,
  type Pipeline,
  provenBy,
  type RejectVerdict,
  type Verdict,
  withProven,
} from '../../../policies/pipeline.ts'
import type {
  Caller,
  Clock,
  Edits,
  Exchange,
  Logger,
  MaybePromise,
  Reject,
  Reservation,
} from '../../../policies/policy.ts'
import { refusalReply } from '../../../policies/reply.ts'
import { publish } from '../../../policies/telemetry.ts'
import { REFUSAL_KEY, type Refusal } from '../ending.ts'
import { readIdentity } from '../identity.ts'
import {
  CONTRACT_VERSION,
  entryKey,
  FACTS_KEY,
  type Facts,
  makeEntry,
  type PluginEntry,
  readClaims,
  readFacts,
} from '../shared-context.ts'
import { UNAVAILABLE, UNKNOWN_REQUEST } from '../unavailable.ts'
import type { UnderWay } from '../under-way.ts'
import { exchangeFromFacts } from './exchange-facts.ts'
import { exchangeFromPdk } from './exchange-pdk.ts'
import type { KongPdk } from './pdk.ts'
import { tapText } from './tap-text.ts'
import { createTurn, type Turn } from './turn.ts'

export interface AccessOptions {
  readonly plugin: string
  /** Kong's id of the plugin entity whose config this is; `llm-guard` compares it. */
  readonly pluginId: string
  readonly pipeline: Pipeline
  readonly clock: Clock
  readonly logger: Logger
  /** Milliseconds that Kong may wait for this plugin in one request; below `lua_socket_read_timeout`. */
  readonly deadlineMs: number
  /** Whether the server takes settlements in batches: see {@link PluginEntry.batch}. */
  readonly settlesBatches: boolean
  readonly underWay: UnderWay
  /** Called for every request that came without facts of `llm-edge`. */
  readonly onNoFacts: () => void
  /** Called for everything that a passed request holds. */
  readonly onReserved: (reservation: Reservation) => void
  /** Keeps what goes on after the answer known, so that a shutdown waits for it. */
  readonly inBackground: (work: Promise<void>) => void
}

const TRUNCATED: Reject = {
  type: 'reject',
  status: CODES.headers_too_large.status,
  code: 'headers_too_large',
  message: 'The request has more headers than the gateway shows.',
}

export async function access(kong: KongPdk, options: AccessOptions): Promise<void> {
  const turn = createTurn(options.clock, options.deadlineMs)
  const seen: Seen = { exchange: undefined, facts: undefined }
  const deciding = decide(kong, turn, seen, options)
  const verdict = await turn.within(deciding)
  if (verdict === undefined) {
    options.logger.error('deadline passed', { plugin: options.plugin, requestId: seen.exchange?.requestId })
    publish('fault', () => ({ where: `${options.plugin}.access`, code: 'deadline' }))
    options.inBackground(deciding.then((late) => giveBack(late, options)))
  }
  const decided = verdict ?? UNAVAILABLE
  if (decided.type === 'pass') await letThrough(kong, decided, seen, options)
  else await refuse(kong, decided, seen, options)
}

/** What a refusal's shape depends on, as far as it was read. */
interface Seen {
  exchange: Exchange | undefined
  facts: Facts | undefined
}

/** Never throws. */
async function decide(kong: KongPdk, turn: Turn, seen: Seen, options: AccessOptions): Promise<Verdict | Reject> {
  try {
    const shared = sharedOf(kong, turn, FACTS_KEY)
    const facts = readFacts(shared instanceof Promise ? await shared : shared)
    const max = options.pipeline.maxBodyBytes
    if (facts === undefined) options.onNoFacts()
    const exchange =
      facts === undefined ? await exchangeFromPdk(kong, turn, max) : exchangeFromFacts(facts, kong, turn, max)
    seen.exchange = exchange
    seen.facts = facts
    if (facts?.headers_truncated === true) return TRUNCATED
    return await options.pipeline.decide(withEarlier(exchange, kong, turn, options))
  } catch (error) {
    reportFault(options, error)
    return UNAVAILABLE
  }
}

/** Of kong-pdk's object every member is a function that calls Kong. */
function directOf(kong: KongPdk): KongPdk['direct'] {
  return typeof kong.direct === 'object' ? kong.direct : undefined
}

/** Of `kong.ctx.shared`: at once where it came with the event, else in a round trip. */
function sharedOf(kong: KongPdk, turn: Turn, key: string): MaybePromise<unknown> {
  const direct = directOf(kong)
  return direct === undefined ? turn.call(() => kong.ctx.shared.get(key)) : direct.shared(key)
}

/** Plugins that may have identified the caller or verified a token by then, by the plugin that wants to know. */
const BEFORE: Readonly<Record<string, { readonly identity: readonly string[]; readonly claims: readonly string[] }>> = {
  'llm-scope': { identity: ['llm-api-key'], claims: [] },
  'llm-gateway': { identity: ['llm-api-key'], claims: [] },
  'llm-token-limit': { identity: ['llm-api-key', 'llm-gateway'], claims: ['llm-scope', 'llm-gateway'] },
}

/** The caller, with what earlier plugins found out. Each look is a round trip: none where it can find nothing. */
function withEarlier(exchange: Exchange, kong: KongPdk, turn: Turn, options: AccessOptions): Exchange {
  const { plugin, pipeline } = options
  const before = BEFORE[plugin]
  let reading: MaybePromise<Caller> | undefined
  /** What the first of them that ran says. */
  async function ask<T>(
    plugins: readonly string[],
    read: (plugin: string, entry: unknown) => T,
  ): Promise<T | undefined> {
    for (const name of plugins) {
      const entry = await sharedOf(kong, turn, entryKey(name))
      if (entry !== undefined && entry !== null) return read(name, entry)
    }
    return undefined
  }
  async function read(): Promise<Caller> {
    const caller = await exchange.caller()
    if (before === undefined) return caller
    // A credential of Kong's own goes before one of the pack's.
    const asks = caller.credential === undefined && !pipeline.policies.includes('llm-api-key')
    const identity = asks ? await ask(before.identity, readIdentity) : undefined
    const claims = pipeline.readsClaims ? await ask(before.claims, readClaims) : undefined
    return withProven({ caller: () => caller }, provenBy({ claims, identity }))
  }
  return {
    ...exchange,
    caller() {
      reading ??= read()
      return reading
    },
  }
}

async function letThrough(kong: KongPdk, verdict: PassVerdict, seen: Seen, options: AccessOptions): Promise<void> {
  let marked = false
  try {
    await applyEdits(kong, verdict.request, seen)
    const withEdge = seen.facts !== undefined
    if (!withEdge && Object.keys(verdict.replyHeaders).length > 0) await kong.response.setHeaders(verdict.replyHeaders)
    const entry = makeEntry({
      plugin: options.plugin,
      pluginId: options.pluginId,
      replyHeaders: withEdge ? verdict.replyHeaders : {},
      tap: verdict.tap === undefined || !withEdge ? undefined : tapText(verdict.tap),
      reservations: verdict.reservations,
      direct: directOf(kong),
      batch: withEdge && options.settlesBatches,
      observes: options.pipeline.observes,
      claims: verdict.claims,
      identity: verdict.identity,
      verdicts: verdict.verdicts,
      wouldReject: verdict.wouldReject.map(({ code }) => code),
      rule: verdict.wouldReject[0]?.rule,
    })
    marked = true
    verdict.reservations.forEach(options.onReserved)
    await kong.ctx.shared.set(entryKey(options.plugin), entry)
    if (entry.batch && seen.facts !== undefined && !keep(seen.facts, verdict, entry, options))
      throw new PortcullisError('event_over', 'Kong has refused the request by now')
  } catch (error) {
    reportFault(options, error)
    // Once the entry is under way Kong may have it and let the request through: then its log phase settles.
    const unheard = error instanceof PortcullisError && error.code === 'event_over'
    if (!marked || unheard) options.inBackground(giveBack(verdict, options))
    await refuse(kong, UNAVAILABLE, seen, options)
  }
}

function keep(facts: Facts, verdict: PassVerdict, { protocol }: PluginEntry, options: AccessOptions): boolean {
  return options.underWay.keep(facts, {
    plugin: options.plugin,
    pluginId: options.pluginId,
    protocol,
    reservations: verdict.reservations,
    wouldReject: verdict.wouldReject.map(({ code }) => code),
    rule: verdict.wouldReject[0]?.rule,
    verdicts: verdict.verdicts.length < 2 ? undefined : verdict.verdicts,
    claims: verdict.claims,
    identity: verdict.identity,
  })
}

/** The body first: a request with the headers of another body is worse than none. */
async function applyEdits(kong: KongPdk, edits: Edits, seen: Seen): Promise<void> {
  if (edits.body !== undefined) await kong.service.request.setRawBody(edits.body)
  const current = seen.facts?.headers ?? {}
  const removed = new Set(edits.removeHeaders?.flatMap(spellingsOf))
  for (const name of removed) await kong.service.request.clearHeader(name)
  const changed = Object.entries(edits.setHeaders ?? {}).filter(
    ([name, value]) => removed.has(name) || !Object.hasOwn(current, name) || current[name] !== value,
  )
  if (changed.length > 0) await kong.service.request.setHeaders(Object.fromEntries(changed))
}

/** Beyond so many parts, mixed spellings of a name are too many to remove one by one. */
const MAX_MIXED_PARTS = 5

/** With dashes, underscores, or both: Kong forwards each as it came, and many an upstream reads them as one. */
function spellingsOf(name: string): string[] {
  const [first = '', ...rest] = name.split('-')
  if (rest.length >= MAX_MIXED_PARTS) return [name, name.replaceAll('-', '_')]
  return rest.reduce(
    (spellings, part) => spellings.flatMap((start) => [`${start}-${part}`, `${start}_${part}`]),
    [first],
  )
}

async function refuse(
  kong: KongPdk,
  reject: Reject | RejectVerdict,
  seen: Seen,
  options: AccessOptions,
): Promise<void> {
  if (reject.code === 'policy_unavailable') await tellKong(kong, options)
  await noteRefusal(kong, reject, options)
  const reply = refusalReply(reject, {
    protocol: protocolOf(seen.exchange),
    requestId: seen.exchange?.requestId ?? UNKNOWN_REQUEST,
  })
  await kong.response.exit(reply.status, reply.body, reply.headers)
}

/** For the log phase of whoever watches: the end of a request says nothing about who refused it. */
async function noteRefusal(kong: KongPdk, reject: Reject | RejectVerdict, options: AccessOptions): Promise<void> {
  const refusal: Refusal = {
    version: CONTRACT_VERSION,
    plugin: options.plugin,
    ...('policy' in reject ? { policy: reject.policy } : {}),
    code: reject.code,
    ...(reject.rule === undefined ? {} : { rule: reject.rule }),
    ...foundBefore(reject),
  }
  try {
    await kong.ctx.shared.set(REFUSAL_KEY, refusal)
  } catch {
    // The event is over, so nobody waits for the refusal either.
  }
}

/** What the policies before the one that refused had found out and held. */
function foundBefore({ claims, identity, passed = [], givenBack = [] }: Partial<RejectVerdict>): Partial<Refusal> {
  return {
    ...(claims === undefined ? {} : { claims: JSON.stringify(claims) }),
    ...(identity === undefined ? {} : { identity: JSON.stringify(identity) }),
    ...(passed.length === 0 ? {} : { verdicts: JSON.stringify(passed) }),
    ...(givenBack.length === 0 ? {} : { held: JSON.stringify(givenBack) }),
  }
}

/** Where operators look first: Kong copies this process's own lines at level info, below its default. */
async function tellKong(kong: KongPdk, options: AccessOptions): Promise<void> {
  try {
    await kong.log.err(`${options.plugin} could not decide, so the request is refused; see the plugin server's log`)
  } catch {
    // The event is over, so nobody waits for the refusal either.
  }
}

function protocolOf(exchange: Exchange | undefined): Protocol | undefined {
  if (exchange === undefined) return undefined
  try {
    return recognise(exchange.method, exchange.path)?.protocol
  } catch (error) {
    // A path that can be read in two ways belongs to no API.
    if (error instanceof RefusedRead) return undefined
    throw error
  }
}

async function giveBack(verdict: Verdict | Reject, options: AccessOptions): Promise<void> {
  if (verdict.type === 'pass') await options.pipeline.settle(verdict.reservations, { ended: 'not_forwarded' })
}

/** Only the code: a message of somebody else's error may quote the request. */
function reportFault(options: AccessOptions, error: unknown): void {
  const code = error instanceof PortcullisError ? error.code : 'internal_error'
  const kind = error instanceof Error ? error.name : typeof error
  options.logger.error('adapter fault', { plugin: options.plugin, code, kind })
  publish('fault', () => ({ where: `${options.plugin}.access`, code }))
}
