/** Memory of a million callers, and what is left of them once they are idle. */

import { systemRandom } from '../../plugins/deps.ts'
import { createMemoryStore } from '../../policies/stores/memory.ts'
import type { Algorithm, Claim } from '../../policies/stores/ports.ts'
import { type BenchRow, boundRow, collectGarbage } from './harness.ts'

const CALLERS = 1_000_000
const MEGABYTE = 1_000_000
const MOST_MEGABYTES = 300
const WINDOW_SECONDS = 60

export async function run(): Promise<readonly BenchRow[]> {
  const rows: BenchRow[] = []
  rows.push(...(await measure('sliding_window', 1)))
  rows.push(...(await measure('sliding_window', 3)))
  rows.push(...(await measure('token_bucket', 1)))
  return rows
}

/** @param slots in how many slots of the window every caller is seen */
async function measure(algorithm: Algorithm, slots: number): Promise<BenchRow[]> {
  let now = 1_700_000_000_000
  const before = used()
  const store = createMemoryStore({ clock: { now: () => now }, random: systemRandom })
  for (let seen = 0; seen < slots; seen++) {
    for (let caller = 0; caller < CALLERS; caller++) await call(store, algorithm, caller)
    now += 6_000
  }
  const megabytes = (used() - before) / MEGABYTE
  if (store.size !== CALLERS) throw new Error(`${store.size} counters`)

  // A minute later one caller in a hundred is back; their requests sweep the others away.
  now += 10 * WINDOW_SECONDS * 1000
  for (let request = 0; request < 2 * CALLERS; request++) await call(store, algorithm, request % (CALLERS / 100))
  const left = store.size
  const name = `a million callers, ${algorithm}, seen in ${slots} slots`
  return [
    boundRow(`${name}: memory`, megabytes, 'MB', MOST_MEGABYTES),
    boundRow(`${name}: counters left after ten idle windows`, left, 'counters', CALLERS / 100 + 1),
  ]
}

async function call(store: ReturnType<typeof createMemoryStore>, algorithm: Algorithm, index: number): Promise<void> {
  const { admitted } = await store.reserve({ id: `r${index}`, claims: [claimOf(algorithm, index)] })
  if (!admitted) throw new Error('refused')
}

const counters = {
  sliding_window: { algorithm: 'sliding_window', limit: 1_000_000, windowSeconds: WINDOW_SECONDS },
  fixed_window: { algorithm: 'fixed_window', limit: 1_000_000, windowSeconds: WINDOW_SECONDS },
  token_bucket: { algorithm: 'token_bucket', limit: 1_000_000, windowSeconds: WINDOW_SECONDS },
} as const

/** Keys as the policy makes them for consumers with UUIDs. */
function claimOf(algorithm: Algorithm, index: number): Claim {
  const caller = `consumer=36:${String(index).padStart(8, '0')}-0000-4000-8000-000000000000`
  return {
    rule: 'per-minute',
    key: [caller, 'rule=10:per-minute', 's60t'].join('/'),
    caller,
    counter: counters[algorithm],
    unit: 'total_tokens',
    input: 100,
    want: 200,
    clip: false,
    floor: 0,
    shadow: false,
  }
}

/** Heap and typed arrays, garbage left out. */
function used(): number {
  collectGarbage()
  collectGarbage()
  const { heapUsed, external, arrayBuffers } = process.memoryUsage()
  return heapUsed + Math.max(external, arrayBuffers)
}
