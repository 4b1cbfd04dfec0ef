/** The policy `llm-token-limit`: reserve before the call, settle to what was really used. */

import { PortcullisError, RefusedRead } from '../errors.ts'
import type { LlmCall } from '../llm/protocol.ts'
import type { TapPlan } from '../llm/tap.ts'
import type { Decision, Deps, Edits, Exchange, Outcome, Pass, Policy, Reject, Reservation } from '../policy.ts'
import type { ReserveResult } from '../stores/ports.ts'
import { callerName, type DecisionEvent, type LimitStanding, publish, watched } from '../telemetry.ts'
import { check, fields, type TokenLimitConfig } from './config.ts'
import { createCounter, type Estimate, estimateCall, NO_TOKENS } from './estimate.ts'
import { limitHeaders } from './headers.ts'
import { type Held, type HeldCall, readHeld } from './held.ts'
import { identityOf, tagged } from './keys.ts'
import { createLearnedTable, type LearnedTable } from './learned.ts'
import { applicableRules } from './match.ts'
import { NO_ROOM, refuse, refuseShort } from './refusal.ts'
import { type Asked, readFacts, readRequest } from './request.ts'
import { type Asker, claimsFor, heldEntry, standingOf } from './reserve.ts'
import { dependsOnClaims, dependsOnModel, headersOf, prepareRules } from './rules.ts'
import { settleHeld } from './settle.ts'
import type { LlmToolkit } from './toolkit.ts'

export const NAME = 'llm-token-limit'

export type TokenLimitPolicy = Policy<typeof fields>

/** What one decision says beside itself. */
type Report = Pick<DecisionEvent, 'rule' | 'model' | 'estimated' | 'caller' | 'reserved' | 'limits'>

interface Judged {
  readonly decision: Decision
  readonly report: Report
}

/** A request that the store has judged. */
interface Concluding {
  readonly id: string
  readonly asked: Asked
  readonly askers: readonly Asker[]
  readonly result: ReserveResult
  /** What it holds, when it was admitted. */
  readonly held: Held | undefined
  readonly asking: Report
  readonly wouldRefuse: Reject | undefined
}

export function createTokenLimit(llm: LlmToolkit): TokenLimitPolicy {
  return { name: NAME, fields, check, create: (config, deps) => createInstance(config, deps, llm) }
}

function createInstance(config: TokenLimitConfig, deps: Deps, llm: LlmToolkit) {
  const rules = prepareRules(config)
  const headerNames = headersOf(rules)
  const allShadow = config.mode === 'shadow'
  const needsModels = rules.some(dependsOnModel)
  const needsCall = needsModels || rules.some((rule) => rule.unit !== 'requests')
  const readOptions = { unmetered: config.unmetered, operations: config.operations, needsCall, needsModels }
  const store = deps.openLimitStore(storeConfig(config))
  const learned = deps.runtime.share<LearnedTable>('token-limit.learned', {}, createLearnedTable)
  const countTexts = createCounter(config, deps, llm)
  const settling = { store, learned, llm, policy: NAME }

  async function judge(exchange: Exchange): Promise<Judged> {
    const asked = await readRequest(exchange, readOptions, llm)
    const facts = await readFacts(exchange, headerNames)
    const model = asked.models[0] ?? ''
    const learnedBy = `${identityOf(facts.caller)}/${tagged('model', model.toLowerCase())}`
    const estimate =
      asked.kind === 'metered' ? await estimateCall(asked.call, learned.get(learnedBy), config, countTexts) : NO_TOKENS
    const applied = applicableRules(rules, facts, asked.models)
    const { askers, refused, wouldRefuse } = claimsFor(applied, facts, asked, estimate)
    const caller = callerName(facts.caller)
    const asking = { ...reportOf(asked, estimate), ...(caller === undefined ? {} : { caller }) }
    if (refused !== undefined) return { decision: refused, report: asking }
    if (askers.length === 0) return { decision: pass({}, wouldRefuse), report: asking }
    const id = deps.random.id()
    const reserving = store.reserve({ id, claims: askers.map(({ claim }) => claim) })
    const result = reserving instanceof Promise ? await reserving : reserving
    const held = result.admitted
      ? hold(askers, result, asked, estimate, { learnedBy, ...(caller === undefined ? {} : { caller }) })
      : undefined
    try {
      return conclude({ id, asked, askers, result, held, asking, wouldRefuse })
    } catch (error) {
      // The request will not be forwarded, so nothing may stay reserved for it.
      if (held !== undefined) await settleHeld(id, held, { ended: 'not_forwarded' }, settling)
      throw error
    }
  }

  /** What the caller is told of what the store decided. */
  function conclude({ id, asked, askers, result, held, asking, wouldRefuse }: Concluding): Judged {
    const report = watched('decision') ? { ...asking, limits: limitsOf(askers, result) } : asking
    const refusal = refusalOf(askers, result, asked, deps.clock.now())
    if (held === undefined) {
      if (refusal === undefined) return { decision: NO_ROOM, report }
      return { decision: refusal, report: { ...report, rule: refusal.rule } }
    }
    const reserved = held.call?.estimated ?? { input: 0, output: 0 }
    const shown = askers.flatMap((asker, index) => {
      const claimed = result.claims[index]
      return claimed === undefined || asker.claim.shadow ? [] : [standingOf(asker, claimed)]
    })
    const passed = pass(
      {
        ...(asked.kind === 'metered' ? forwarding(asked, result, cutAt(askers, result, asked)) : {}),
        replyHeaders: limitHeaders(shown, dialectOf(asked), deps.clock.now()),
        reservation: { id, policy: NAME, estimated: reserved, data: held },
      },
      wouldRefuse ?? refusal,
    )
    const ruled = refusal === undefined ? {} : { rule: refusal.rule }
    return { decision: passed, report: { ...report, reserved, ...ruled } }
  }

  /** `enforce_stream`: the least output that an enforced rule reserved. */
  function cutAt(askers: readonly Asker[], result: ReserveResult, asked: Asked): number | undefined {
    if (!config.enforce_stream || asked.kind !== 'metered' || !asked.call.stream || !asked.call.generates)
      return undefined
    const outputs = askers.flatMap(({ rule, claim }, index) =>
      rule.countsOutput && !claim.shadow ? [(result.claims[index]?.reserved ?? claim.input) - claim.input] : [],
    )
    return outputs.length === 0 ? undefined : Math.min(...outputs)
  }

  async function decide(exchange: Exchange): Promise<Decision> {
    const started = deps.clock.monotonic()
    const { decision, report } = await judge(exchange).catch((error: unknown) => recover(error))
    publish('decision', () => ({
      policy: NAME,
      requestId: exchange.requestId,
      route: exchange.route,
      decision: decision.type,
      ...(decision.type === 'reject' ? { code: decision.code } : {}),
      ...(decision.type === 'pass' && decision.wouldReject !== undefined
        ? { wouldReject: decision.wouldReject.code }
        : {}),
      ...report,
      durationMs: deps.clock.monotonic() - started,
    }))
    return decision
  }

  /** A request that cannot be read is refused; in shadow mode nothing is, whatever goes wrong. */
  function recover(error: unknown): Judged {
    if (error instanceof RefusedRead) {
      const reject = refuse(error.code, error.message)
      return { decision: allShadow ? pass({}, reject) : reject, report: {} }
    }
    if (!allShadow) throw error
    const code = error instanceof PortcullisError ? error.code : 'internal_error'
    deps.logger.error('policy fault in shadow mode', { policy: NAME, code })
    publish('fault', () => ({ where: `${NAME}.decide`, code }))
    return {
      decision: pass({}, refuse('policy_unavailable', 'The gateway could not decide on this request.')),
      report: {},
    }
  }

  return {
    maxBodyBytes: config.max_body_bytes,
    readsClaims: rules.some(dependsOnClaims),
    decide,
    async settle(reservation: Reservation, outcome: Outcome): Promise<void> {
      await settleHeld(reservation.id, readHeld(reservation.data), outcome, settling)
    },
  }
}

function storeConfig(config: TokenLimitConfig) {
  const { store, redis, on_store_error, nodes } = config
  return {
    store,
    ...(redis === undefined ? {} : { redis }),
    on_store_error,
    ...(nodes === undefined ? {} : { nodes }),
  }
}

function pass(parts: Omit<Pass, 'type' | 'wouldReject'>, wouldReject: Reject | undefined): Pass {
  return { type: 'pass', ...parts, ...(wouldReject === undefined ? {} : { wouldReject }) }
}

function reportOf(asked: Asked, { input, output }: Estimate): Report {
  return asked.kind === 'metered' ? { model: asked.call.model, estimated: { input, output } } : {}
}

function dialectOf(asked: Asked) {
  return asked.kind === 'metered' ? asked.call.protocol.rateLimitHeaders : 'none'
}

/** The refusal of the rules that have no room: the enforced ones', or what a shadow rule held back. */
function refusalOf(
  askers: readonly Asker[],
  result: ReserveResult,
  asked: Asked,
  now: number,
): (Reject & { readonly rule: string }) | undefined {
  const standings = askers.flatMap((asker, index) => {
    const claimed = result.claims[index]
    return claimed === undefined ? [] : [{ ...standingOf(asker, claimed), asking: asker.claim }]
  })
  const judged = standings.filter(({ asking }) => result.admitted === asking.shadow)
  const short = judged.filter(({ result: claimed }) => claimed.retryAfterMs !== undefined)
  const [first] = short
  if (first === undefined) return undefined
  return { ...refuseShort(judged, short, dialectOf(asked), now), rule: first.rule }
}

function hold(
  askers: readonly Asker[],
  result: ReserveResult,
  asked: Asked,
  estimate: Estimate,
  by: Pick<HeldCall, 'learnedBy' | 'caller'>,
): Held {
  const clippedTo = result.clippedTo ?? Number.POSITIVE_INFINITY
  const seen = new Set<string>()
  const entries = askers.flatMap((asker, index) => {
    const claimed = result.claims[index]
    // Models beyond those that a caller may have share a counter, and took from it once.
    if (claimed === undefined || seen.has(claimed.key)) return []
    seen.add(claimed.key)
    return heldEntry(asker, claimed, clippedTo) ?? []
  })
  const held = { version: 1, entries, ...(result.ticket === undefined ? {} : { ticket: result.ticket }) } as const
  if (asked.kind === 'counted') return held
  const output = Math.max(0, ...entries.map((entry) => (entry.unit === 'requests' ? 0 : entry.output)))
  return { ...held, call: heldCall(asked.call, estimate, output, by) }
}

/** Every counter that was asked, as it stands now. */
function limitsOf(askers: readonly Asker[], { claims }: ReserveResult): readonly LimitStanding[] {
  return askers.flatMap(({ rule, claim }, index) => {
    const claimed = claims[index]
    if (claimed === undefined) return []
    const limit = claim.counter.burst ?? claim.counter.limit
    return {
      rule: rule.config.name,
      unit: rule.unit,
      limit,
      used: Math.max(0, limit - claimed.remaining),
      resetMs: claimed.resetMs,
      shared: claim.caller === undefined,
    }
  })
}

function heldCall(
  call: LlmCall,
  estimate: Estimate,
  output: number,
  by: Pick<HeldCall, 'learnedBy' | 'caller'>,
): HeldCall {
  const { images, audio, files, unseen, tokenIds } = call.input
  const onlyTexts = images + audio + files === 0 && !unseen && estimate.texts > 0
  return {
    ...by,
    stream: call.stream,
    generates: call.generates,
    reasoning: call.reasoning,
    candidates: call.candidates,
    estimated: { input: estimate.input, output },
    ...(onlyTexts ? { texts: { estimated: estimate.texts, counted: tokenIds } } : {}),
  }
}

/** The request as it goes on, and how its reply must be read. */
function forwarding(
  { call, body }: Extract<Asked, { kind: 'metered' }>,
  result: ReserveResult,
  maxOutputTokens: number | undefined,
): { readonly request: Edits; readonly tap: TapPlan } {
  const edits = {
    ...(result.clippedTo === undefined ? {} : { maxOutputTokens: result.clippedTo }),
    ...(call.needsUsageSwitch ? { includeUsage: true } : {}),
  }
  const edited = Object.keys(edits).length > 0
  return {
    request: {
      ...(edited ? { body: call.protocol.edit(body, call, edits) } : {}),
      // A compressed reply would hide its usage.
      setHeaders: { 'accept-encoding': 'identity' },
    },
    tap: {
      protocol: call.protocol.id,
      stream: call.stream,
      withholdUsage: call.needsUsageSwitch,
      ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }),
      candidates: call.candidates,
    },
  }
}
