/** The policy `llm-api-key`: how long a key lives, where it may be used from, and whom an own key belongs to. */

import { PortcullisError } from '../errors.ts'
import type {
  Caller,
  Credential,
  Decision,
  Deps,
  Exchange,
  Identity,
  Policy,
  PolicyInstance,
  Reject,
} from '../policy.ts'
import { createRevocationCheck } from '../revocation/check.ts'
import { callerName, type DecisionEvent, publish, watched } from '../telemetry.ts'
import { type AddressRange, parseRange } from './address.ts'
import { type Authenticator, createAuthenticator } from './authenticator.ts'
import { type ApiKeyConfig, check, fields, type OwnKeysConfig } from './config.ts'
import { createLastUseNotes } from './last-use.ts'
import { judgeAge, type Life, lifeOf, mayComeFrom, timesOf } from './lifecycle.ts'
import { createLockout } from './lockout.ts'
import { createKeyLookup } from './lookup.ts'
import { openKeyRegistry } from './open.ts'
import { findKey, NO_KEY, type Presented } from './presented.ts'
import type { KeyRecord } from './record.ts'
import { createKeyRefusals } from './refusals.ts'
import { gatewayUseName, useName } from './registry.ts'

export const NAME = 'llm-api-key'
export const EXPIRES_IN = 'x-api-key-expires-in'

export type ApiKeyPolicy = Policy<typeof fields>

export const apiKey: ApiKeyPolicy = { name: NAME, fields, check, create: createInstance }

interface Judged {
  readonly reject?: Reject
  readonly identity?: Identity
  /** Headers that held a key. */
  readonly keyIn?: readonly string[]
  readonly secondsLeft?: number
  /** Name under which the use is noted; only of who gets in. */
  readonly used?: string
  readonly report?: Pick<DecisionEvent, 'caller' | 'key'>
}

/** A credential that somebody vouches for, with all that is known of it. */
interface Proven {
  readonly caller: Caller
  readonly credential: Credential
  readonly life: Life
  readonly used?: string
  readonly identity?: Identity
}

function createInstance(config: ApiKeyConfig, deps: Deps): PolicyInstance {
  const { rotation, own_keys: own } = config
  const shadow = config.mode === 'shadow'
  const refusals = createKeyRefusals(config.realm)
  const revocation = config.revocation === undefined ? undefined : createRevocationCheck(config.revocation, deps)
  const hidden = own === undefined ? {} : { keyIn: own.headers }
  const bound = readBindings(config.addresses)
  const authenticator = own === undefined ? undefined : shareAuthenticator(config, own, deps)
  const uses = config.last_use ? shareLastUses(config, deps) : undefined

  async function judge(exchange: Exchange): Promise<Judged> {
    const reading = exchange.caller()
    const caller = reading instanceof Promise ? await reading : reading
    const presented = own === undefined ? NO_KEY : await findKey(exchange, own.headers)
    const keyIn = presented.type === 'none' ? {} : { keyIn: presented.headers }
    return { ...(await judgeCaller(caller, presented).catch((error: unknown) => recover(error))), ...keyIn }
  }

  async function judgeCaller(caller: Caller, presented: Presented): Promise<Judged> {
    const { credential } = caller
    if (credential !== undefined) {
      const life = lifeOf(caller, credential, rotation.age_from)
      const name = credential.id ?? credential.fingerprint
      return judgeProven({ caller, credential, life, ...(name === undefined ? {} : { used: gatewayUseName(name) }) })
    }
    if (presented.type === 'several') return { reject: refusals.several }
    if (authenticator !== undefined && presented.type === 'key')
      return authenticate(authenticator, presented.key, caller)
    return config.on_missing_key === 'pass' ? {} : { reject: refusals.missing }
  }

  async function authenticate(by: Authenticator, key: string, caller: Caller): Promise<Judged> {
    const found = await by.authenticate(key, caller.address)
    switch (found.type) {
      case 'known': {
        const { identity, record, secret } = found
        const judged = await judgeProven({
          caller: { ...caller, ...identity },
          credential: identity.credential,
          life: lifeOfRecord(record, secret.issuedAt),
          used: useName(record.id, secret.hash),
          identity,
        })
        return judged.reject === undefined ? judged : { reject: { ...judged.reject, identity } }
      }
      case 'unknown':
        return config.on_store_error === 'allow' ? {} : { reject: refusals.unavailable }
      case 'locked':
        return { reject: refusals.locked(found.forMs) }
      case 'wrong':
        return { reject: refusals.wrong }
      default:
        return { reject: { ...refusals[found.type], identity: found.identity } }
    }
  }

  async function judgeProven(proven: Proven): Promise<Judged> {
    const { caller, life, identity, used } = proven
    const checking = revocation?.check(caller, caller.claims)
    const denied = checking instanceof Promise ? await checking : checking
    if (denied !== undefined) return { reject: denied }
    if (life.unreadable) return { reject: refusals.unreadable }
    const age = judgeAge(life, rotation, deps.clock.now())
    if (age.type === 'expired') return { reject: refusals.expired(age.why) }
    if (!mayComeFrom(caller.address, [...life.bindings, ...bound(proven)])) return { reject: refusals.address }
    return {
      ...(identity === undefined ? {} : { identity }),
      ...(age.secondsLeft === undefined ? {} : { secondsLeft: age.secondsLeft }),
      ...(used === undefined ? {} : { used }),
      ...(watched('decision') ? { report: reportOf(caller, life) } : {}),
    }
  }

  function reportOf(caller: Caller, life: Life): Pick<DecisionEvent, 'caller' | 'key'> {
    const name = callerName(caller)
    return { ...(name === undefined ? {} : { caller: name }), key: timesOf(life, rotation, deps.clock.now()) }
  }

  async function decide(exchange: Exchange): Promise<Decision> {
    const started = deps.clock.monotonic()
    // Where the key stands is not known then, and it must not travel on.
    const judged = await judge(exchange).catch((error: unknown) => ({ ...recover(error), ...hidden }))
    if (judged.used !== undefined) uses?.note(judged.used)
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

  function decisionOf({ reject, identity, keyIn, secondsLeft }: Judged): Decision {
    if (reject !== undefined && !shadow) return reject
    const warned = secondsLeft !== undefined && !shadow
    return {
      type: 'pass',
      ...(identity === undefined ? {} : { identity }),
      ...(keyIn === undefined ? {} : { request: { removeHeaders: keyIn } }),
      ...(warned ? { replyHeaders: { [EXPIRES_IN]: String(secondsLeft) } } : {}),
      ...(reject === undefined ? {} : { wouldReject: reject }),
    }
  }

  /** In shadow mode nothing is refused. */
  function recover(error: unknown): Judged {
    if (!shadow) throw error
    const code = error instanceof PortcullisError ? error.code : 'internal_error'
    deps.logger.error('policy fault in shadow mode', { policy: NAME, code })
    publish('fault', () => ({ where: `${NAME}.decide`, code }))
    return { reject: refusals.unavailable }
  }

  return { ...(revocation === undefined ? {} : { readsClaims: true }), decide }
}

/** Of an own key: its registry says it all. A range that cannot be read allows nothing. */
function lifeOfRecord({ expiresAt, cidrs }: KeyRecord, issuedAt: number): Life {
  const ranges = cidrs?.map(parseRange)
  return {
    issuedAt,
    ...(expiresAt === undefined ? {} : { expiresAt }),
    bindings: ranges === undefined ? [] : [ranges.filter((range) => range !== undefined)],
    unreadable: ranges?.includes(undefined) === true,
  }
}

type Bound = (proven: Pick<Proven, 'caller' | 'credential'>) => readonly (readonly AddressRange[])[]

function readBindings(addresses: ApiKeyConfig['addresses']): Bound {
  const byName = new Map(
    Object.entries(addresses).map(([name, ranges]) => [
      name,
      ranges.map(parseRange).filter((range) => range !== undefined),
    ]),
  )
  if (byName.size === 0) return () => []
  return ({ caller: { consumer }, credential }) =>
    [consumer?.id, consumer?.username, consumer?.customId, credential.id].flatMap((name) => {
      const ranges = name === undefined ? undefined : byName.get(name)
      return ranges === undefined ? [] : [ranges]
    })
}

/** Outlives the plugin's instance, so that a reload forgets neither keys nor who is locked out. */
function shareAuthenticator(config: ApiKeyConfig, own: OwnKeysConfig, deps: Deps): Authenticator {
  const { store, redis, lockout, on_store_error } = config
  const { headers: _, ...keys } = own
  const named = { store, redis, lockout, on_store_error, keys }
  return deps.runtime.share('api-key.authenticator', named, () =>
    createAuthenticator({
      lookup: createKeyLookup({
        registry: openKeyRegistry({ store, ...(redis === undefined ? {} : { redis }) }, deps),
        clock: deps.clock,
        logger: deps.logger,
        cacheMs: own.cache_ms,
      }),
      lockout: createLockout(lockout, deps.clock),
      clock: deps.clock,
      peppers: [own.pepper, ...own.old_peppers],
      environments: own.environments,
      staleMs: on_store_error === 'deny' ? 0 : own.stale_seconds * 1_000,
    }),
  )
}

function shareLastUses(config: ApiKeyConfig, deps: Deps) {
  const { store, redis } = config
  const where = { store, ...(redis === undefined ? {} : { redis }) }
  return deps.runtime.share('api-key.last-uses', where, () =>
    createLastUseNotes(openKeyRegistry(where, deps), deps.clock),
  )
}
