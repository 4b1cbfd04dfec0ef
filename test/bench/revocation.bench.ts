/** How long a revocation takes to reach two nodes, each a process of its own; also when Redis refuses pub/sub. */

import { revocationTrials } from '../support/revocation/trials.ts'
import { type BenchRow, boundRow, median } from './harness.ts'

const TRIALS = 200
const LONGEST_MS = 1_000

export async function run(): Promise<readonly BenchRow[]> {
  const [blocked, free] = await Promise.all([true, false].map((is) => revocationTrials({ count: TRIALS, blocked: is })))
  return [...rowsOf('pub/sub blocked', blocked ?? []), ...rowsOf('pub/sub', free ?? [])]
}

function rowsOf(how: string, waits: readonly number[]): BenchRow[] {
  return [
    boundRow(`revocation on two processes, ${how}, longest of ${waits.length}`, Math.max(...waits), 'ms', LONGEST_MS),
    boundRow(`revocation on two processes, ${how}, median of ${waits.length}`, median(waits), 'ms', LONGEST_MS),
  ]
}
