/** Counters in Redis: what the scripts are told, and what they say. */

import type { Claim, ClaimResult, CounterView } from '../ports.ts'
import type { Argument, KeysAndArgs, RedisConnection } from './connection.ts'
import { replyUnreadable } from './failure.ts'
import { callerHash, counterAt, placeOf } from './keys.ts'
import { type Script, scripts } from './scripts.ts'
import { createSettlements, type Settlements } from './settlements.ts'
import { algorithmNumber, readSpec } from './spec.ts'

/** What the claims on other hashes have left of the output. */
export interface Clip {
  /** Infinity when nothing was clipped. */
  readonly to: number
  readonly floor: number
}

export interface Admission {
  readonly admitted: boolean
  readonly clip: Clip
  /** In the order of the claims. */
  readonly claims: readonly ClaimResult[]
}

export interface RedisCounters extends Settlements {
  /**
   * @param finish makes the result of the admission
   * @param recover makes it of the failure, or throws
   * @param withinMs instead of the config's own time limit
   */
  reserve<T>(
    claims: readonly Claim[],
    clip: Clip,
    finish: (admission: Admission) => T,
    recover: (failure: unknown) => T,
    withinMs?: number,
  ): Promise<T>
  show(caller: string): Promise<readonly CounterView[]>
  /** The counters of one hash. */
  showHash(hash: string): Promise<readonly CounterView[]>
  reset(key: string, caller: string | undefined): Promise<void>
  grant(key: string, caller: string | undefined, tokens: number): Promise<void>
}

export interface CountersOptions {
  readonly prefix: string
  /** The time that scripts shall go by, epoch milliseconds; Redis's own when absent. For tests. */
  readonly now?: () => number
}

/** As `claims.lua.ts` has them. */
const CLIP = 4
const SHADOW = 8
const SPREAD = 16
const HASH_STEP = 32
const CLAIM_VALUES = 7
const CLAIMS_BEGIN = 3
/** As `quick.lua.ts` has them. */
const QUICK_VALUES = 3
const QUICK_BEGIN = 1
const FITS = -1
const NEVER_FITS = -2

export const NO_CLIP: Clip = { to: Number.POSITIVE_INFINITY, floor: 0 }

export function createCounters(connection: RedisConnection, { prefix, now }: CountersOptions): RedisCounters {
  const time = () => (now === undefined ? '' : now())
  const settlements = createSettlements(connection, { prefix, time })

  function reserve<T>(
    claims: readonly Claim[],
    clip: Clip,
    finish: (admission: Admission) => T,
    recover: (failure: unknown) => T,
    withinMs?: number,
  ): Promise<T> {
    settlements.flush()
    return connection.ask(
      scripts.reserve,
      reserveArguments(claims, clip),
      (reply) => finish(readAdmission(reply, claims)),
      recover,
      withinMs,
    )
  }

  function reserveArguments(claims: readonly Claim[], clip: Clip): KeysAndArgs {
    const clipped = clip.to !== Number.POSITIVE_INFINITY
    const more = clipped || now !== undefined
    if (claims.length === 1 && !more) {
      const claim = claims[0] as Claim
      const { hash, field } = placeOf(prefix, claim)
      const args: KeysAndArgs & Argument[] = [1, hash, field]
      addClaim(args, claim, 0, prefix)
      return args
    }
    const hashes: string[] = []
    const fields: Argument[] = []
    const rest: Argument[] = []
    for (const claim of claims) {
      const { hash, field } = placeOf(prefix, claim)
      fields.push(field)
      addClaim(rest, claim, indexIn(hashes, hash), prefix)
    }
    if (more) rest.push(time(), clipped ? clip.to : '', clip.floor)
    return [hashes.length, ...hashes, more ? -claims.length : claims.length, ...fields, ...rest]
  }

  async function showHash(hash: string): Promise<readonly CounterView[]> {
    const values = await call(scripts.show, [hash], [time()])
    const views: CounterView[] = []
    for (let index = 0; index < values.length; index += 8) {
      const [field, ...numbers] = values.slice(index, index + 8)
      const [algorithm, limit, window, burst, used, remaining, resetMs] = numbers.map(Number)
      views.push({
        ...counterAt(prefix, { hash, field: String(field) }),
        counter: readSpec(algorithm ?? 0, limit ?? 0, window ?? 0, burst ?? 0),
        used: used ?? 0,
        remaining: remaining ?? 0,
        resetMs: resetMs ?? 0,
      })
    }
    return views
  }

  async function call(script: Script, hashes: readonly string[], args: readonly Argument[]): Promise<unknown[]> {
    settlements.flush()
    const reply = await connection.run(script, hashes, args)
    if (!Array.isArray(reply)) throw replyUnreadable()
    return reply
  }

  return {
    reserve,
    ...settlements,
    show: (caller) => showHash(callerHash(prefix, caller)),
    showHash,
    async reset(key, caller) {
      const { hash, field } = placeOf(prefix, { key, ...(caller === undefined ? {} : { caller }) })
      settlements.flush()
      await connection.removeFields(hash, field, `b${field.slice(1)}`)
    },
    async grant(key, caller, tokens) {
      const { hash, field } = placeOf(prefix, { key, ...(caller === undefined ? {} : { caller }) })
      settlements.flush()
      await connection.run(scripts.grant, [hash], [time(), field, tokens])
    },
  }
}

function indexIn(hashes: string[], hash: string): number {
  const known = hashes.indexOf(hash)
  return known === -1 ? hashes.push(hash) - 1 : known
}

function addClaim(args: Argument[], claim: Claim, hashIndex: number, prefix: string): void {
  const { counter, spread } = claim
  const bucket = counter.algorithm === 'token_bucket'
  const flags = (claim.clip ? CLIP : 0) + (claim.shadow ? SHADOW : 0) + (spread === undefined ? 0 : SPREAD)
  const mode = algorithmNumber(counter) + flags + hashIndex * HASH_STEP
  args.push(mode, counter.limit, counter.windowSeconds * 1000, claim.input, claim.want)
  if (claim.clip) args.push(claim.floor)
  if (bucket) args.push(counter.burst ?? counter.limit)
  if (spread !== undefined) {
    const { caller } = claim
    const name = caller === undefined ? {} : { caller }
    const owner = placeOf(prefix, { key: spread.owner, ...name }).field
    args.push(placeOf(prefix, { key: spread.overflowKey, ...name }).field, `o${owner.slice(1)}`)
  }
}

function readAdmission(reply: unknown, claims: readonly Claim[]): Admission {
  if (!Array.isArray(reply)) throw replyUnreadable()
  const values = reply as readonly number[]
  // The first number says whether it was admitted, or is the time.
  if ((values[0] ?? 0) > 1) return readQuick(values, claims)
  if (values.length !== CLAIMS_BEGIN + claims.length * CLAIM_VALUES) throw replyUnreadable()
  const [admitted = 0, clippedTo = FITS, floor = 0] = values
  let at = CLAIMS_BEGIN
  const results = claims.map((claim): ClaimResult => {
    const retryAfter = values[at + 6] ?? FITS
    const result = {
      key: values[at] === 1 && claim.spread !== undefined ? claim.spread.overflowKey : claim.key,
      at: values[at + 1] ?? 0,
      epoch: values[at + 2] ?? 0,
      reserved: values[at + 3] ?? 0,
      remaining: values[at + 4] ?? 0,
      resetMs: values[at + 5] ?? 0,
    }
    at += CLAIM_VALUES
    if (retryAfter === FITS) return result
    return { ...result, retryAfterMs: retryAfter === NEVER_FITS ? Number.POSITIVE_INFINITY : retryAfter }
  })
  const to = clippedTo === FITS ? Number.POSITIVE_INFINITY : clippedTo
  return { admitted: admitted === 1, clip: { to, floor }, claims: results }
}

function readQuick(values: readonly number[], claims: readonly Claim[]): Admission {
  if (values.length < QUICK_BEGIN + claims.length * QUICK_VALUES) throw replyUnreadable()
  const results: ClaimResult[] = []
  let at = QUICK_BEGIN
  for (const { key, input, want } of claims) {
    results.push({
      key,
      at: values[0] ?? 0,
      epoch: values[at] ?? 0,
      reserved: input + want,
      remaining: values[at + 1] ?? 0,
      resetMs: values[at + 2] ?? 0,
    })
    at += QUICK_VALUES
  }
  return { admitted: true, clip: NO_CLIP, claims: results }
}
