/** What a bench file exports, and how figures are measured side by side. */

import { performance } from 'node:perf_hooks'

/** One measured figure. `theirs` and `ratio` are absent when there is no peer: then `ours` meets `required` itself. */
export interface BenchRow {
  readonly name: string
  /** What we are compared with, or `-`. */
  readonly peer: string
  readonly ours: number
  readonly theirs?: number
  /** Unit of `ours` and `theirs`, such as `op/s`, `ms`, `%`, `MB`. */
  readonly unit: string
  /** How many times better than the peer; above 1 is better. */
  readonly ratio?: number
  /** The requirement in words, such as `>= 1.3x` or `< 5 ms`. */
  readonly required: string
  readonly pass: boolean
}

export interface BenchModule {
  run(): Promise<readonly BenchRow[]>
}

export interface SideBySide {
  /** Operations a second, the median over the rounds. */
  readonly ours: number
  readonly theirs: number
  /** Median of the ratios of each round, which cancels what slows both. */
  readonly ratio: number
}

export interface SideBySideOptions {
  /** Default 9. */
  readonly rounds?: number
  /** Milliseconds that each side runs in each round; default 150. */
  readonly roundMs?: number
}

type Work = () => unknown

/** Runs both in turn, the order swapped each round, after a warm-up of each. One call of `ours` or `theirs` is one operation. */
export async function sideBySide(ours: Work, theirs: Work, options: SideBySideOptions = {}): Promise<SideBySide> {
  const { rounds = 9, roundMs = 150 } = options
  await rate(ours, roundMs)
  await rate(theirs, roundMs)
  const pairs: { ours: number; theirs: number }[] = []
  for (let round = 0; round < rounds; round++) {
    if (round % 2 === 0) {
      const first = await rate(ours, roundMs)
      pairs.push({ ours: first, theirs: await rate(theirs, roundMs) })
    } else {
      const first = await rate(theirs, roundMs)
      pairs.push({ ours: await rate(ours, roundMs), theirs: first })
    }
  }
  return {
    ours: median(pairs.map((pair) => pair.ours)),
    theirs: median(pairs.map((pair) => pair.theirs)),
    ratio: median(pairs.map((pair) => pair.ours / pair.theirs)),
  }
}

async function rate(work: Work, forMs: number): Promise<number> {
  const start = performance.now()
  let count = 0
  let elapsed = 0
  do {
    const result = work()
    if (result instanceof Promise) await result
    count++
    elapsed = performance.now() - start
  } while (elapsed < forMs)
  return (count * 1000) / elapsed
}

/** A row for a side-by-side measurement with a least ratio. */
export function ratioRow(name: string, peer: string, measured: SideBySide, atLeast: number): BenchRow {
  return {
    name,
    peer,
    ours: measured.ours,
    theirs: measured.theirs,
    unit: 'op/s',
    ratio: measured.ratio,
    required: `>= ${atLeast}x`,
    pass: measured.ratio >= atLeast,
  }
}

/** A row for a figure that must stay below a bound. */
export function boundRow(name: string, ours: number, unit: string, below: number): BenchRow {
  return { name, peer: '-', ours, unit, required: `< ${below} ${unit}`, pass: ours < below }
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** Interpolated; NaN of nothing. `q` in [0, 1]. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (sorted.length - 1) * q
  const low = sorted[Math.floor(at)] ?? Number.NaN
  const high = sorted[Math.ceil(at)] ?? Number.NaN
  return low + (high - low) * (at - Math.floor(at))
}

/** Collects garbage where the process allows it (`--expose-gc`), so that heap figures mean something. */
export function collectGarbage(): void {
  globalThis.gc?.()
}
