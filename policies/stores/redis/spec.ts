/** The arithmetic of a counter in the words of the scripts. */

import type { Algorithm, CounterSpec } from '../ports.ts'
import { replyUnreadable } from './failure.ts'

/** As `counter.lua.ts` numbers them. */
const ALGORITHMS = ['fixed_window', 'sliding_window', 'token_bucket'] as const satisfies readonly Algorithm[]
const NUMBERS: Readonly<Record<Algorithm, number>> = { fixed_window: 1, sliding_window: 2, token_bucket: 3 }

export function algorithmNumber({ algorithm }: Pick<CounterSpec, 'algorithm'>): number {
  return NUMBERS[algorithm]
}

/** Algorithm, limit, window and burst. */
export function specOf(spec: CounterSpec): readonly [number, number, number, number] {
  return [algorithmNumber(spec), spec.limit, spec.windowSeconds * 1000, spec.burst ?? spec.limit]
}

/** @throws {PortcullisError} `store_fault` when there is no such algorithm */
export function readSpec(algorithm: number, limit: number, window: number, burst: number): CounterSpec {
  const name = ALGORITHMS[algorithm - 1]
  if (name === undefined) throw replyUnreadable()
  const spec = { algorithm: name, limit, windowSeconds: window / 1000 }
  return name === 'token_bucket' ? { ...spec, burst } : spec
}
