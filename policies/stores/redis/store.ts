/** Limits shared through Redis, and what happens while it is away. */

import { PortcullisError } from '../../errors.ts'
import type { Deps } from '../../policy.ts'
import { onInquiry, publish } from '../../telemetry.ts'
import type {
  Claim,
  ClaimResult,
  CounterView,
  LimitStore,
  ReserveRequest,
  ReserveResult,
  SettleEntry,
  Settlement,
} from '../ports.ts'
import type { RedisConfig } from './config.ts'
import { connectRedis } from './connection.ts'
import { type Admission, type Clip, createCounters, NO_CLIP } from './counters.ts'
import { createEvictionWatch } from './eviction.ts'
import { RedisFailure } from './failure.ts'
import { entriesToShrink, type Group, groupClaims, shrunk } from './groups.ts'
import type { GuardedNode } from './guarded-node.ts'
import { hashPattern, placeOf } from './keys.ts'
import { createOutage, type OnStoreError } from './outage.ts'
import { createPresence } from './presence.ts'
import { createUsageReports } from './reports.ts'
import { scanCounters } from './scan.ts'
import { createTicketBook } from './ticket-book.ts'

export interface RedisStoreConfig {
  readonly redis: RedisConfig
  readonly on_store_error: OnStoreError
  /** How many gateway nodes share the limits, at least. */
  readonly nodes?: number
  /** Only looks at counters: is no gateway node itself. */
  readonly observer?: boolean
  /** The time that counters shall go by, epoch milliseconds; Redis's own when absent. For tests. */
  readonly now?: () => number
}

interface Taken {
  readonly group: Group
  readonly admission: Admission
}

export type RedisStoreDeps = Pick<Deps, 'clock' | 'random' | 'logger'>

export interface RedisStore extends LimitStore {
  /**
   * Resolves once Redis was reached, or is known not to answer.
   * @throws {PortcullisError} `store_refused` or `store_untrusted` when the config can never work
   */
  ready(): Promise<void>
  /** Every counter of any caller, or of none. For operators: looks at every key of Redis. */
  scan(whose: 'callers' | 'nobody'): AsyncGenerator<CounterView>
}

export function createRedisStore(config: RedisStoreConfig, deps: RedisStoreDeps): RedisStore {
  const { clock, logger } = deps
  const { key_prefix: prefix, command_timeout_ms: timeoutMs } = config.redis
  let checked: Promise<void> | undefined
  let served = false
  const connection = connectRedis(config.redis, { ...deps, onReady: () => void check(), onRefused })
  const counters = createCounters(connection, { prefix, ...(config.now === undefined ? {} : { now: config.now }) })
  const reports = createUsageReports(clock)
  const presence = createPresence(connection, prefix, { ...deps, missed: noteFault })
  const watchEviction = createEvictionWatch(connection, logger)
  const tickets = createTicketBook(deps.random)
  const outage = createOutage({
    ...deps,
    connection,
    counters,
    prefix,
    reports,
    onStoreError: config.on_store_error,
    nodes: () => Math.max(presence.nodes, config.nodes ?? 0),
  })
  const stopAnswering = onInquiry(({ store }) => outage.standings.forEach(store))
  void connection.started.then(() => {
    if (checked === undefined && connection.refusal === undefined) outage.trip(connection.lastError)
  })

  function onRefused({ code, message }: PortcullisError): void {
    logger.error('limit store refused', { store: 'redis', code, reason: message })
    publish('store', () => ({ store: 'redis', state: 'down', reason: code }))
  }

  /** What an established connection is asked first. Never rejects. */
  function check(): Promise<void> {
    const checking = Promise.all([config.observer === true ? undefined : presence.beat(), watchEviction()]).then(() => {
      served = true
    }, noteFault)
    checked ??= checking
    return checking
  }

  /** Redis being away is noticed and reported where requests are. */
  function noteFault(error: unknown): void {
    if (error instanceof RedisFailure) {
      if (!served && error.reason === 'NOPERM') connection.refuse(error)
      return
    }
    const code = error instanceof PortcullisError ? error.code : 'internal_error'
    publish('fault', () => ({ where: 'store.redis.check', code }))
  }

  async function start(): Promise<void> {
    if (!connection.attempted) await connection.started
    if (connection.refusal !== undefined) throw connection.refusal
  }

  /** @param withinMs what is left of the time that the request may wait */
  async function admit(id: string, claims: readonly Claim[], clip: Clip, withinMs?: number): Promise<Admission> {
    const [first] = claims
    if (first === undefined) return { admitted: true, clip, claims: [] }
    const node = outage.nodeOf(first)
    if (node.down || (withinMs ?? 1) <= 0) return outage.admit(node, id, claims, clip)
    return counters.reserve(
      claims,
      clip,
      (admission) => noted(claims, admission),
      (failure) => instead(failure, node, id, claims, clip, withinMs),
      withinMs,
    )
  }

  function instead(
    failure: unknown,
    node: GuardedNode,
    id: string,
    claims: readonly Claim[],
    clip: Clip,
    withinMs = timeoutMs,
  ): Admission {
    if (!(failure instanceof RedisFailure)) throw failure
    // It may have run: what it took is never given back, because giving back what was not taken breaks the limit.
    // Nobody is blamed for not answering in the little time that another node left.
    if (failure.reason !== 'timeout' || withinMs >= timeoutMs / 2)
      node.failed(failure, placeOf(prefix, claims[0] as Claim).hash)
    return outage.admit(node, id, claims, clip)
  }

  function noted(claims: readonly Claim[], admission: Admission): Admission {
    for (let index = 0; index < claims.length; index++)
      reports.note(admission.claims[index] as ClaimResult, (claims[index] as Claim).counter)
    return admission
  }

  function reserve(request: ReserveRequest): Promise<ReserveResult> {
    if (!connection.attempted || connection.refusal !== undefined) return start().then(() => reserve(request))
    const { id, claims } = request
    const [first] = claims
    if (connection.clustered || first === undefined) return reserveInParts(request)
    const node = outage.nodeOf(first)
    if (node.down) return reserveInParts(request)
    // As `admit` does, with one promise less to wait for: nearly every request comes this way.
    return counters.reserve(
      claims,
      NO_CLIP,
      (admission) => resultOf(noted(claims, admission)),
      (failure) => resultOf(instead(failure, node, id, claims, NO_CLIP)),
    )
  }

  async function reserveInParts(request: ReserveRequest): Promise<ReserveResult> {
    const groups = connection.clustered ? groupClaims(prefix, request) : []
    return resultOf(
      groups.length > 1 ? await admitAcross(request, groups) : await admit(request.id, request.claims, NO_CLIP),
    )
  }

  function resultOf({ admitted, clip, claims }: Admission): ReserveResult {
    if (!admitted) return { admitted, claims }
    const ticket = tickets.next()
    return clip.to === Number.POSITIVE_INFINITY
      ? { admitted, ticket, claims }
      : { admitted, ticket, clippedTo: clip.to, claims }
  }

  /**
   * One script after the other; what was taken is given back when a later one refuses or fails. All of them together may
   * take as long as one.
   */
  async function admitAcross({ id, claims }: ReserveRequest, groups: readonly Group[]): Promise<Admission> {
    const end = clock.monotonic() + timeoutMs
    const results: ClaimResult[] = claims.map((claim) => unasked(claim))
    const taken: Taken[] = []
    let clip = NO_CLIP
    for (const group of groups) {
      const withinMs = taken.length === 0 ? undefined : end - clock.monotonic()
      const admission = await admit(id, group.claims, clip, withinMs).catch(async (error: unknown) => {
        await shrink(`${id}/back`, taken.toReversed(), results, undefined, end)
        throw error
      })
      for (const [index, result] of admission.claims.entries()) results[group.indexes[index] ?? 0] = result
      if (!admission.admitted) {
        await shrink(`${id}/back`, taken.toReversed(), results, undefined, end)
        return { ...admission, claims: results }
      }
      taken.push({ group, admission })
      clip = admission.clip
    }
    await shrink(`${id}/clip`, taken, results, clip.to, end)
    return { admitted: true, clip, claims: results }
  }

  async function shrink(
    id: string,
    taken: readonly Taken[],
    results: ClaimResult[],
    atMost: number | undefined,
    end: number,
  ): Promise<void> {
    const given = taken.map(({ group, admission }) => {
      const entries = entriesToShrink(group.claims, admission, atMost)
      for (const [index, result] of admission.claims.entries())
        results[group.indexes[index] ?? 0] = shrunk(result, entries)
      return entries
    })
    await atMostUntil(end, giveBack(id, given))
  }

  async function giveBack(id: string, given: readonly (readonly SettleEntry[])[]): Promise<void> {
    for (const entries of given) if (entries.length > 0) await outage.settle(id, entries).catch(noteFault)
  }

  /** The work goes on behind whoever cannot wait for it any longer. */
  async function atMostUntil(end: number, work: Promise<void>): Promise<void> {
    let cancel = () => {}
    const late = new Promise<void>((resolve) => {
      cancel = clock.after(Math.max(0, end - clock.monotonic()), resolve)
    })
    await Promise.race([work, late])
    cancel()
  }

  /** A counter that was not asked, because another one had refused: as it was last seen. */
  function unasked({ key, counter }: Claim): ClaimResult {
    return { key, at: Math.floor(clock.now()), epoch: 0, reserved: 0, ...reports.standingOf(key, counter) }
  }

  async function settle({ id, ticket, entries }: Settlement): Promise<boolean> {
    if (!connection.attempted || connection.refusal !== undefined) await start()
    if (!tickets.settle(id, ticket, entries.length === 0, clock.now())) return false
    return outage.settle(id, entries)
  }

  async function operate<T>(work: () => Promise<T>): Promise<T> {
    await start()
    return work().catch(unanswered)
  }

  async function* scan(whose: 'callers' | 'nobody'): AsyncGenerator<CounterView> {
    await start()
    try {
      yield* scanCounters(connection, counters, hashPattern(prefix, whose))
    } catch (error) {
      unanswered(error)
    }
  }

  return {
    reserve,
    settle,
    show: (caller) => operate(() => counters.show(caller)),
    reset: (key, caller) => operate(() => counters.reset(key, caller)),
    async grant(key, caller, tokens) {
      if (!Number.isSafeInteger(tokens) || tokens < 1)
        throw new PortcullisError('invalid_argument', 'A grant is a positive whole number of tokens.')
      await operate(() => counters.grant(key, caller, tokens))
    },
    scan,
    async ready() {
      await start()
      await checked
      await start()
    },
    async close() {
      stopAnswering()
      counters.flush()
      await connection.started
      await outage.close()
      if (config.observer !== true) await presence.leave().catch(noteFault)
      await connection.close()
    },
  }
}

function unanswered(error: unknown): never {
  if (!(error instanceof RedisFailure)) throw error
  throw new PortcullisError('store_unavailable', `Redis does not answer: ${error.reason}.`)
}
