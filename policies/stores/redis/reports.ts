/** The usage of each counter as Redis last reported it: where a local counter starts when Redis goes away. */

import type { Clock } from '../../policy.ts'
import type { ClaimResult, CounterSpec } from '../ports.ts'

/** Two generations of this size are kept. */
const GENERATION = 50_000

interface Report {
  used: number
  remaining: number
  /** On Redis's clock, epoch milliseconds: when the counter is whole again by itself. */
  until: number
}

export interface UsageReports {
  note(result: ClaimResult, counter: CounterSpec): void
  /** 0 when nothing is known. */
  usageOf(key: string): number
  /** What is known of a counter that was not asked now. */
  standingOf(key: string, counter: CounterSpec): { readonly remaining: number; readonly resetMs: number }
}

/** @param clock about the same as Redis's */
export function createUsageReports(clock: Pick<Clock, 'now'>): UsageReports {
  let current = new Map<string, Report>()
  let previous = new Map<string, Report>()

  function find(key: string): Report | undefined {
    const report = current.get(key) ?? previous.get(key)
    return report !== undefined && report.until > clock.now() ? report : undefined
  }

  return {
    note({ key, at, remaining, resetMs }, counter) {
      const used = (counter.burst ?? counter.limit) - remaining
      const until = at + resetMs
      const known = current.get(key)
      if (known !== undefined) {
        known.used = used
        known.remaining = remaining
        known.until = until
        return
      }
      if (current.size >= GENERATION) {
        previous = current
        current = new Map()
      }
      current.set(key, { used, remaining, until })
    },
    usageOf: (key) => find(key)?.used ?? 0,
    standingOf(key, counter) {
      const report = find(key)
      if (report === undefined) return { remaining: counter.burst ?? counter.limit, resetMs: 0 }
      return { remaining: report.remaining, resetMs: Math.ceil(report.until - clock.now()) }
    },
  }
}
