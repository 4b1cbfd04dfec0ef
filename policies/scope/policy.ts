/** The policy `llm-scope`: who may call which operation with which model. */

import { CODES, type Code, PortcullisError, RefusedRead } from '../errors.ts'
import { modelLabel } from '../llm/model-names.ts'
import type { Operation } from '../llm/protocol.ts'
import type { Caller, Claims, Decision, Deps, Edits, Exchange, Policy, PolicyInstance, Reject } from '../policy.ts'
import { createRevocationCheck } from '../revocation/check.ts'
import { type DecisionEvent, publish } from '../telemetry.ts'
import { insufficientScope, invalidToken, nobody, unknownOperation } from './challenge.ts'
import { check, fields, type ScopeConfig } from './config.ts'
import { firstUncovered, missingScope, type Need, standing, UNKNOWN_MODEL } from './grants.ts'
import { jwtFields } from './jwt/fields.ts'
import { readCarried } from './jwt/token.ts'
import { sharedVerifier, type TokenVerifier } from './jwt/verifier.ts'
import { type LlmReader, readModels, readOperation } from './request.ts'
import { createGrantor } from './sources.ts'

export const NAME = 'llm-scope'

export type ScopePolicy = Policy<typeof fields>

export interface ScopeToolkit extends LlmReader {
  /** Unset: the one of the process that trusts the same issuers. */
  readonly verifier?: TokenVerifier
}

interface Judged {
  readonly reject?: Reject
  readonly claims?: Claims
  readonly request?: Edits
  readonly report: Pick<DecisionEvent, 'rule' | 'model'>
}

/** Who calls, as far as it was proved. */
interface Identified {
  readonly caller: Caller
  readonly claims?: Claims
  /** The header that carried a token, good or bad. */
  readonly tokenIn?: string
  readonly refused?: Reject
}

export function createScope(toolkit: ScopeToolkit): ScopePolicy {
  return { name: NAME, fields, check, create: (config, deps) => createInstance(config, deps, toolkit) }
}

function createInstance(config: ScopeConfig, deps: Deps, toolkit: ScopeToolkit): PolicyInstance {
  const { jwt, realm } = config
  const shadow = config.mode === 'shadow'
  const withoutToken = jwt === undefined || jwt.forward ? {} : { request: { removeHeaders: [jwt.header] } }
  const verifier = jwt === undefined ? undefined : (toolkit.verifier ?? sharedVerifier(jwt, deps))
  const revoked = config.revocation === undefined ? undefined : createRevocationCheck(config.revocation, deps)
  const extra = config.operations.map(({ read, protocol, ...operation }) => ({
    ...operation,
    ...(read === undefined ? {} : { read }),
    ...(protocol === undefined ? {} : { protocol }),
  }))
  const grantor = createGrantor({
    sources: config.sources,
    aliases: config.aliases,
    consumers: config.static,
    groups: config.groups,
    claimPaths: jwt?.scope_claims ?? jwtFields.scope_claims.default,
  })

  async function identify(exchange: Exchange): Promise<Identified> {
    const reading = exchange.caller()
    const caller = reading instanceof Promise ? await reading : reading
    const known = { caller, ...(caller.claims === undefined ? {} : { claims: caller.claims }) }
    if (jwt === undefined || verifier === undefined) return known
    const header = exchange.header(jwt.header)
    const carried = readCarried(header instanceof Promise ? await header : header)
    if (carried.type !== 'token') {
      const stranger = carried.type === 'other' && caller.credential === undefined && caller.claims === undefined
      return stranger ? { ...known, refused: invalidToken(realm, NO_TOKEN) } : known
    }
    const verifying = verifier.verify(carried.token)
    const verified = verifying instanceof Promise ? await verifying : verifying
    const tokenIn = jwt.header
    if (verified.type === 'refused') return { caller, tokenIn, refused: invalidToken(realm, verified.reason) }
    return { caller, tokenIn, claims: verified.claims }
  }

  async function judge(exchange: Exchange): Promise<Judged> {
    const operation = await readOperation(exchange, extra, toolkit).catch((error: unknown) => {
      // Shadow mode lets it pass, so the token must be found all the same: it must not travel on.
      if (shadow && error instanceof RefusedRead) return error
      throw error
    })
    const who = await identify(exchange)
    const verdict = await authorize(exchange, operation, who).catch((error: unknown) => {
      if (error instanceof RefusedRead) return { reject: refusal(error.code, error.message), report: {} }
      throw error
    })
    return {
      ...verdict,
      ...(who.claims === undefined ? {} : { claims: who.claims }),
      ...(who.tokenIn === undefined ? {} : withoutToken),
    }
  }

  async function authorize(
    exchange: Exchange,
    operation: Operation | RefusedRead | undefined,
    who: Identified,
  ): Promise<Judged> {
    if (operation instanceof RefusedRead) throw operation
    if (who.refused !== undefined) return { reject: who.refused, report: {} }
    const checking = revoked?.check(who.caller, who.claims)
    const denied = checking instanceof Promise ? await checking : checking
    if (denied !== undefined) return { reject: denied, report: { rule: 'revocation' } }
    const granted = grantor.grantsOf(who.caller, who.claims)
    if (granted === undefined && who.caller.credential === undefined && who.claims === undefined)
      return { reject: nobody(realm), report: {} }
    if (operation === undefined) return { reject: unknownOperation(realm), report: {} }
    const need = { operation: operation.name, read: operation.read }
    const verdict = standing(granted?.grants ?? [], need)
    const by = granted === undefined ? {} : { rule: granted.source }
    if (verdict.type === 'allowed') return { report: by }
    if (verdict.type === 'denied') return lacking(need, operation.model, {})
    const models = await readModels(exchange, operation, toolkit)
    const [model] = models
    const report = { ...by, ...(model === undefined ? {} : { model }) }
    const uncovered = firstUncovered(verdict.globs, models)
    return uncovered === undefined ? { report } : lacking(need, uncovered, report)
  }

  function lacking(need: Need, model: string | undefined, report: Judged['report']): Judged {
    // Only the caller gets to see what it wrote where a model belongs.
    const rule = missingScope(need, model === undefined || model === UNKNOWN_MODEL ? model : modelLabel(model))
    // Goes into audit records, which have the model already, and masked where it holds what must not be kept.
    const refused = { ...insufficientScope(realm, missingScope(need, model)), rule: missingScope(need) }
    return { reject: refused, report: { ...report, rule } }
  }

  async function decide(exchange: Exchange): Promise<Decision> {
    const started = deps.clock.monotonic()
    const judged = await judge(exchange).catch((error: unknown) => recover(error))
    const decision = decisionOf(judged)
    publish('decision', () => ({
      policy: NAME,
      requestId: exchange.requestId,
      route: exchange.route,
      decision: decision.type,
      ...(decision.type === 'reject' ? { code: decision.code } : {}),
      ...(decision.type === 'pass' && decision.wouldReject !== undefined
        ? { wouldReject: decision.wouldReject.code }
        : {}),
      ...judged.report,
      durationMs: deps.clock.monotonic() - started,
    }))
    return decision
  }

  function decisionOf({ reject, claims, request }: Judged): Decision {
    if (reject !== undefined && !shadow) return reject
    return {
      type: 'pass',
      ...(claims === undefined ? {} : { claims }),
      ...(request === undefined ? {} : { request }),
      ...(reject === undefined ? {} : { wouldReject: reject }),
    }
  }

  /** A request that cannot be read is refused, and so is one that nobody can judge now; in shadow mode nothing is. */
  function recover(error: unknown): Judged {
    if (error instanceof RefusedRead) return { reject: refusal(error.code, error.message), report: {} }
    if (!shadow) throw error
    const code = error instanceof PortcullisError ? error.code : 'internal_error'
    deps.logger.error('policy fault in shadow mode', { policy: NAME, code })
    publish('fault', () => ({ where: `${NAME}.decide`, code }))
    const reject = refusal('policy_unavailable', 'The gateway could not decide on this request.')
    return { reject, report: {}, ...withoutToken }
  }

  return { maxBodyBytes: config.max_body_bytes, decide }
}

const NO_TOKEN = 'The credential is no token that this gateway knows.'

function refusal(code: Code, message: string): Reject {
  return { type: 'reject', status: CODES[code].status, code, message }
}
