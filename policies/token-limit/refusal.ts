/** Refusals in words. They name the rule and the caller's own numbers, nothing else. */

import { CODES, type Code } from '../errors.ts'
import type { Reject } from '../policy.ts'
import { type Dialect, longestWait, refusalHeaders, type Standing } from './headers.ts'

export function refuse(code: Code, message: string): Reject {
  return { type: 'reject', status: CODES[code].status, code, message }
}

/** What was asked of a rule that has no room. */
export interface Asking {
  readonly input: number
  readonly want: number
  readonly floor: number
  readonly clip: boolean
}

export interface ShortStanding extends Standing {
  readonly asking: Asking
}

/** For a store that refuses without saying who did. */
export const NO_ROOM = refuse('rate_limit_exceeded', 'A limit is reached.')

/**
 * @param standings every rule that is shown to the caller
 * @param short the rules that refuse, at least one
 */
export function refuseShort(
  standings: readonly Standing[],
  short: readonly ShortStanding[],
  dialect: Dialect,
  now: number,
): Reject {
  const wait = longestWait(short)
  const worst = short.find(({ result }) => result.retryAfterMs === wait) ?? short[0]
  const headers = refusalHeaders(standings, dialect, now)
  if (worst === undefined) return { ...NO_ROOM, headers }
  const code = wait === Number.POSITIVE_INFINITY ? 'request_exceeds_limit' : 'rate_limit_exceeded'
  return { ...refuse(code, describe(worst, wait)), headers }
}

function describe({ rule, unit, counter, result, asking }: ShortStanding, wait: number): string {
  const noun = unit === 'requests' ? 'requests' : `${unit.replace('_', ' ')}`
  const limit = `the limit "${rule}" of ${counter.limit} ${noun} per ${counter.windowSeconds} s`
  const needs = asking.input + (asking.clip ? asking.floor : asking.want)
  const most = counter.burst ?? counter.limit
  if (wait === Number.POSITIVE_INFINITY) {
    if (!asking.clip && asking.want > most)
      return `The declared output budget of ${asking.want} tokens is larger than all of ${limit}; declare a smaller one.`
    return `This request needs at least ${needs} ${noun}, more than all of ${limit}.`
  }
  const seconds = Math.max(1, Math.ceil(wait / 1000))
  return `Reached ${limit}: ${result.remaining} left, this request needs at least ${needs}. Try again in ${seconds} s.`
}
