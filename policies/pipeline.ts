/** Runs policies in order over one exchange, and settles what they reserved. */

import { CODES, PortcullisError, RefusedRead } from './errors.ts'
import { mergeTaps, type TapPlan } from './llm/tap.ts'
import type {
  Caller,
  Claims,
  Decision,
  Edits,
  Ending,
  Exchange,
  HeaderMap,
  Identity,
  Logger,
  Outcome,
  Pass,
  PolicyInstance,
  PolicyVerdict,
  Reject,
  ReplyReader,
  Reservation,
} from './policy.ts'
import { publish } from './telemetry.ts'

export interface NamedInstance {
  readonly name: string
  readonly instance: PolicyInstance
}

export interface PassVerdict {
  readonly type: 'pass'
  readonly request: Edits
  readonly replyHeaders: HeaderMap
  readonly reservations: readonly Reservation[]
  readonly tap?: TapPlan
  readonly wouldReject: readonly Reject[]
  /** Of every policy, in order. */
  readonly verdicts: readonly PolicyVerdict[]
  /** Of a token that a policy verified. */
  readonly claims?: Claims
  /** Of a key that a policy verified. */
  readonly identity?: Identity
}

export interface RejectVerdict extends Reject, Proven {
  /** The policy that refused. */
  readonly policy: string
  /** Of the policies before it, which let the request pass; absent when it was the first. */
  readonly passed?: readonly PolicyVerdict[]
  /** What the policies before it had held; given back by now. Only for {@link Pipeline.observe}. */
  readonly givenBack?: readonly Reservation[]
}

export type Verdict = PassVerdict | RejectVerdict

export interface Pipeline {
  /** Names of its policies, in the order in which they judge. */
  readonly policies: readonly string[]
  /** Largest body any policy reads, in bytes; 0 when none does. */
  readonly maxBodyBytes: number
  /** Whether any policy looks at the caller's claims. */
  readonly readsClaims: boolean
  /** Never throws: a fault is a 503, and what was reserved before it is given back. */
  decide(exchange: Exchange): Promise<Verdict>
  /** Never throws: a fault is logged and published. */
  settle(reservations: readonly Reservation[], outcome: Outcome): Promise<void>
  /** Whether any policy wants to be told of every request that is over. */
  readonly observes: boolean
  /** The readers of one reply, by policy; undefined when none wants to see it. Never throws. */
  readReply(reservations: readonly Reservation[]): ReplyReaders | undefined
  /** Tells the policies that want to know. Never throws. */
  observe(ending: Ending, reply?: ReplyReaders): void
}

/** Never throws: a reader that does is told nothing more. */
export interface ReplyReaders extends ReplyReader {
  readonly byPolicy: ReadonlyMap<string, ReplyReader>
}

const UNDECIDED = {
  code: 'policy_unavailable',
  message: 'The gateway could not decide on this request.',
} as const

const NOT_FORWARDED: Outcome = { ended: 'not_forwarded' }

export function createPipeline(policies: readonly NamedInstance[], logger: Logger): Pipeline {
  const byName = new Map(policies.map((policy) => [policy.name, policy.instance]))
  const observes = policies.some((policy) => policy.instance.observe !== undefined)
  const maxBodyBytes = Math.max(0, ...policies.map((policy) => policy.instance.maxBodyBytes ?? 0))

  async function settle(reservations: readonly Reservation[], outcome: Outcome): Promise<void> {
    for (const reservation of reservations) {
      try {
        const instance = byName.get(reservation.policy)
        if (instance === undefined) throw new PortcullisError('unknown_policy', 'nobody here settles this reservation')
        await instance.settle?.(reservation, outcome)
      } catch (error) {
        reportFault(logger, `${reservation.policy}.settle`, error)
      }
    }
  }

  function readReply(reservations: readonly Reservation[]): ReplyReaders | undefined {
    const readers = new Map<string, ReplyReader>()
    for (const reservation of reservations) {
      const name = reservation.policy
      try {
        const reader = byName.get(name)?.readReply?.(reservation)
        if (reader !== undefined) readers.set(name, reader)
      } catch (error) {
        reportFault(logger, `${name}.readReply`, error)
      }
    }
    return readers.size === 0 ? undefined : joinReaders(readers, logger)
  }

  function observe(ending: Ending, reply?: ReplyReaders): void {
    for (const { name, instance } of policies) {
      try {
        instance.observe?.(ending, reply?.byPolicy.get(name))
      } catch (error) {
        reportFault(logger, `${name}.observe`, error)
      }
    }
  }

  async function decide(exchange: Exchange): Promise<Verdict> {
    let body: Uint8Array | undefined
    const setHeaders: Record<string, string> = {}
    const removeHeaders: string[] = []
    const replyHeaders: Record<string, string> = {}
    const reservations: Reservation[] = []
    const wouldReject: Reject[] = []
    const verdicts: PolicyVerdict[] = []
    let tap: TapPlan | undefined
    let proven: Proven = {}

    for (const { name, instance } of policies) {
      // Each policy judges what will be forwarded: the body as the policies before it left it.
      const current = body === undefined && provesNothing(proven) ? exchange : changed(exchange, body, proven)
      const { maxBodyBytes: cap = maxBodyBytes } = instance
      const decision = await decideOne(name, instance, cap < maxBodyBytes ? capped(current, cap) : current, logger)
      if (decision.type === 'reject') {
        await settle(reservations, NOT_FORWARDED)
        const refused = { ...decision, policy: name, ...(verdicts.length === 0 ? {} : { passed: verdicts }), ...proven }
        return observes ? { ...refused, givenBack: reservations } : refused
      }
      body = decision.request?.body ?? body
      Object.assign(setHeaders, decision.request?.setHeaders)
      removeHeaders.push(...(decision.request?.removeHeaders ?? []))
      Object.assign(replyHeaders, decision.replyHeaders)
      if (decision.reservation !== undefined) reservations.push(decision.reservation)
      if (decision.wouldReject !== undefined) wouldReject.push(decision.wouldReject)
      tap = mergeTaps(tap, decision.tap)
      proven = { ...proven, ...provenBy(decision) }
      verdicts.push(passedBy(name, decision))
    }
    return {
      type: 'pass',
      request: { ...(body === undefined ? {} : { body }), setHeaders, removeHeaders },
      replyHeaders,
      reservations,
      ...(tap === undefined ? {} : { tap }),
      wouldReject,
      verdicts,
      ...proven,
    }
  }

  const readsClaims = policies.some((policy) => policy.instance.readsClaims === true)
  return { policies: [...byName.keys()], maxBodyBytes, readsClaims, decide, settle, observes, readReply, observe }
}

function joinReaders(readers: Map<string, ReplyReader>, logger: Logger): ReplyReaders {
  return {
    byPolicy: readers,
    push(chunk) {
      for (const [name, reader] of readers) {
        try {
          reader.push(chunk)
        } catch (error) {
          readers.delete(name)
          reportFault(logger, `${name}.readReply`, error)
        }
      }
    },
  }
}

function passedBy(policy: string, { wouldReject, reservation }: Pass): PolicyVerdict {
  return {
    policy,
    decision: 'pass',
    ...(wouldReject === undefined ? {} : { wouldReject: [wouldReject.code], ...ruleOf(wouldReject) }),
    ...(reservation === undefined ? {} : { estimated: reservation.estimated }),
  }
}

/** What a pipeline decided, as its observers are told: one verdict for each policy that judged. */
export function verdictsOf(verdict: Verdict | Reject, fallbackPolicy: string): readonly PolicyVerdict[] {
  if (verdict.type === 'pass') return verdict.verdicts
  const { policy = fallbackPolicy, passed = [] }: Partial<RejectVerdict> = verdict
  return [...passed, { policy, decision: 'reject', code: verdict.code, ...ruleOf(verdict) }]
}

function ruleOf({ rule }: Reject): Pick<PolicyVerdict, 'rule'> {
  return rule === undefined ? {} : { rule }
}

async function decideOne(
  name: string,
  instance: PolicyInstance,
  exchange: Exchange,
  logger: Logger,
): Promise<Decision> {
  try {
    return await instance.decide(exchange)
  } catch (error) {
    const { code, message } = error instanceof RefusedRead ? error : UNDECIDED
    if (!(error instanceof RefusedRead)) reportFault(logger, `${name}.decide`, error)
    const { requestId, route } = exchange
    publish('decision', () => ({ policy: name, requestId, route, decision: 'reject', code }))
    return { type: 'reject', status: CODES[code].status, code, message }
  }
}

/** The exchange as the policies before left it: another body, a caller they know more of, or both. */
function changed(exchange: Exchange, body: Uint8Array | undefined, proven: Proven): Exchange {
  return {
    requestId: exchange.requestId,
    method: exchange.method,
    path: exchange.path,
    route: exchange.route,
    queryNames: () => exchange.queryNames(),
    header: (name) => exchange.header(name),
    body: () => body ?? exchange.body(),
    caller: () => (provesNothing(proven) ? exchange.caller() : withProven(exchange, proven)),
  }
}

/** A body that another policy of the pipeline reads may be more than this one takes. */
function capped(exchange: Exchange, maxBytes: number): Exchange {
  return {
    ...exchange,
    async body() {
      const body = await exchange.body()
      if (body !== undefined && body.length > maxBytes)
        throw new RefusedRead('request_too_large', `The request body is larger than ${maxBytes} bytes.`)
      return body
    },
  }
}

/** What policies found out about the caller on the way. */
export interface Proven {
  readonly claims?: Claims
  readonly identity?: Identity
}

type MaybeProven = { readonly [K in keyof Proven]?: Proven[K] | undefined }

function provesNothing({ claims, identity }: Proven): boolean {
  return claims === undefined && identity === undefined
}

/** Of a decision or a verdict, what it says about the caller. */
export function provenBy({ claims, identity }: MaybeProven): Proven {
  return { ...(claims === undefined ? {} : { claims }), ...(identity === undefined ? {} : { identity }) }
}

/** The caller, with what was proven on the way here. */
export async function withProven(exchange: Pick<Exchange, 'caller'>, proven: Proven): Promise<Caller> {
  return { ...(await exchange.caller()), ...callerParts(proven) }
}

/** What of a caller was proven: to be put over what the gateway knows. */
export function callerParts({ claims, identity }: MaybeProven): Partial<Caller> {
  return { ...(claims === undefined ? {} : { claims }), ...identity }
}

function reportFault(logger: Logger, where: string, error: unknown): void {
  // Only the code: a message of somebody else's error may quote the request.
  const code = error instanceof PortcullisError ? error.code : 'internal_error'
  const kind = error instanceof Error ? error.name : typeof error
  logger.error('policy fault', { where, code, kind })
  publish('fault', () => ({ where, code }))
}
