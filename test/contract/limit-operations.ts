/** Random histories of a limit store: requests, settlements, and a clock that cannot be trusted. */

import fc from 'fast-check'
import type { Claim, CounterSpec, ReserveResult, SettleEntry } from '../../policies/stores/ports.ts'
import { claimWith } from './limit-reference.ts'

export type Operation =
  | { readonly type: 'reserve'; readonly claims: readonly ClaimShape[] }
  /** `which` picks an unsettled reservation; `actual` is a share of what was reserved, above 1 for overshoot. */
  | { readonly type: 'settle'; readonly which: number; readonly actual: number; readonly twice: boolean }
  | { readonly type: 'wait'; readonly ms: number }
  | { readonly type: 'reset'; readonly counter: number }

export interface ClaimShape {
  readonly counter: number
  readonly input: number
  readonly want: number
  readonly clip: boolean
  readonly floor: number
  readonly shadow: boolean
}

export const START = 1_700_000_000_000

export function specArbitrary(
  algorithm?: CounterSpec['algorithm'],
  windows: readonly number[] = [1, 5, 7, 60],
): fc.Arbitrary<CounterSpec> {
  const algorithms =
    algorithm === undefined ? (['fixed_window', 'sliding_window', 'token_bucket'] as const) : [algorithm]
  return fc
    .record({
      algorithm: fc.constantFrom(...algorithms),
      limit: fc.integer({ min: 1, max: 200 }),
      windowSeconds: fc.constantFrom(...windows),
      burst: fc.option(fc.integer({ min: 1, max: 300 }), { nil: undefined }),
    })
    .map(({ burst, ...spec }) => (spec.algorithm === 'token_bucket' && burst !== undefined ? { ...spec, burst } : spec))
}

/** Most waits are within a window of some counter; some go back. */
function waitArbitrary(farthestBack: number): fc.Arbitrary<number> {
  return fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 0, max: 700 }) },
    { weight: 4, arbitrary: fc.integer({ min: 0, max: 10_000 }) },
    { weight: 2, arbitrary: fc.integer({ min: 0, max: 200_000 }) },
    { weight: 2, arbitrary: fc.integer({ min: -Math.min(farthestBack, 1_000), max: 0 }) },
    { weight: 1, arbitrary: fc.integer({ min: -farthestBack, max: 0 }) },
  )
}

/** @param farthestBack milliseconds of the largest step back of the clock */
export function operationsArbitrary(
  counters: number,
  claimsAtMost: number,
  farthestBack: number,
): fc.Arbitrary<Operation[]> {
  const claim: fc.Arbitrary<ClaimShape> = fc.record({
    counter: fc.nat({ max: counters - 1 }),
    input: fc.nat({ max: 40 }),
    want: fc.nat({ max: 80 }),
    clip: fc.boolean(),
    floor: fc.integer({ min: 1, max: 30 }),
    shadow: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  })
  const operation: fc.Arbitrary<Operation> = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        type: fc.constant('reserve' as const),
        claims: fc.uniqueArray(claim, { minLength: 1, maxLength: claimsAtMost, selector: ({ counter }) => counter }),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        type: fc.constant('settle' as const),
        which: fc.nat({ max: 1_000 }),
        actual: fc.oneof(
          fc.constant(0),
          fc.double({ min: 0, max: 1, noNaN: true }),
          fc.double({ min: 1, max: 5, noNaN: true }),
        ),
        twice: fc.boolean(),
      }),
    },
    { weight: 5, arbitrary: fc.record({ type: fc.constant('wait' as const), ms: waitArbitrary(farthestBack) }) },
    {
      weight: 1,
      arbitrary: fc.record({ type: fc.constant('reset' as const), counter: fc.nat({ max: counters - 1 }) }),
    },
  )
  return fc.array(operation, { minLength: 1, maxLength: 60, size: 'max' })
}

export function keyOf(counter: number): string {
  return `consumer=1:a/${counter}`
}

export function claimsOf(shapes: readonly ClaimShape[], specs: readonly CounterSpec[]): Claim[] {
  return shapes.map(({ counter, clip, floor, want, ...shape }) =>
    claimWith({
      ...shape,
      key: keyOf(counter),
      caller: 'consumer=1:a',
      counter: specs[counter] as CounterSpec,
      want,
      clip,
      floor: clip ? Math.min(floor, Math.max(1, want)) : 0,
    }),
  )
}

export interface Unsettled {
  readonly id: string
  readonly claims: readonly Claim[]
  readonly result: ReserveResult
}

export function entriesOf({ claims, result }: Unsettled, share: number): SettleEntry[] {
  return claims.flatMap((claim, index) => {
    const taken = result.claims[index]
    if (taken === undefined || taken.reserved === 0) return []
    const { key, at, epoch, reserved } = taken
    return [
      {
        key,
        caller: 'consumer=1:a',
        counter: claim.counter,
        at,
        epoch,
        reserved,
        actual: Math.round(reserved * share),
      },
    ]
  })
}
