/** Reserve and settle in memory with three rules, beside three `consume` calls of rate-limiter-flexible. */

import { RateLimiterMemory } from 'rate-limiter-flexible'
import { systemClock, systemRandom } from '../../plugins/deps.ts'
import { createMemoryStore } from '../../policies/stores/memory.ts'
import type { Algorithm, Claim, ReserveResult, SettleEntry } from '../../policies/stores/ports.ts'
import { type BenchRow, ratioRow, sideBySide } from './harness.ts'

const CALLERS = 1000
const WINDOW_SECONDS = 60
const LIMIT = 1_000_000_000
const RESERVED = 500
const ACTUAL = 320
/** Operations between two looks at the clock. */
const BATCH = 100

export async function run(): Promise<readonly BenchRow[]> {
  const rows: BenchRow[] = []
  for (const algorithm of ['sliding_window', 'fixed_window', 'token_bucket'] as const)
    rows.push(await measure(algorithm))
  return rows
}

async function measure(algorithm: Algorithm): Promise<BenchRow> {
  const store = createMemoryStore({ clock: systemClock, random: systemRandom })
  const requests = Array.from({ length: CALLERS }, (_, caller) => ({
    id: `reservation-${caller}`,
    claims: claimsOf(algorithm, caller),
  }))
  let ours = 0
  const reserveAndSettle = () => {
    const { id, claims } = requests[ours++ % CALLERS] as (typeof requests)[number]
    const result = store.reserve({ id, claims })
    if (!result.admitted) throw new Error('refused')
    store.settle({
      id,
      ...(result.ticket === undefined ? {} : { ticket: result.ticket }),
      entries: entriesOf(claims, result),
    })
  }

  const limiters = Array.from(
    { length: 3 },
    (_, rule) => new RateLimiterMemory({ keyPrefix: `rule${rule}`, points: LIMIT, duration: WINDOW_SECONDS }),
  )
  let theirs = 0
  const consumeThrice = async () => {
    const caller = `consumer-${theirs++ % CALLERS}`
    for (const limiter of limiters) await limiter.consume(caller, RESERVED)
  }

  const measured = await sideBySide(
    () => {
      for (let operation = 0; operation < BATCH; operation++) reserveAndSettle()
    },
    async () => {
      for (let operation = 0; operation < BATCH; operation++) await consumeThrice()
    },
    // Many short rounds: what else the machine does then hits both sides alike.
    { rounds: 31, roundMs: 60 },
  )
  const scaled = { ...measured, ours: measured.ours * BATCH, theirs: measured.theirs * BATCH }
  return ratioRow(`reserve + settle, 3 rules, ${algorithm}`, 'rate-limiter-flexible, 3 consume', scaled, 1.3)
}

function claimsOf(algorithm: Algorithm, index: number): Claim[] {
  const caller = `consumer=${`consumer-${index}`.length}:consumer-${index}`
  return ['total_tokens', 'output_tokens', 'input_tokens'].map((unit, rule) => ({
    rule: `rule${rule}`,
    key: `${caller}/rule=5:rule${rule}/${unit}`,
    caller,
    counter: { algorithm, limit: LIMIT, windowSeconds: WINDOW_SECONDS },
    unit: 'total_tokens',
    input: RESERVED / 2,
    want: RESERVED / 2,
    clip: false,
    floor: 0,
    shadow: false,
  }))
}

function entriesOf(claims: readonly Claim[], result: ReserveResult): SettleEntry[] {
  return result.claims.map(({ key, at, epoch, reserved }, index) => {
    const { counter } = claims[index] as Claim
    return { key, counter, at, epoch, reserved, actual: ACTUAL }
  })
}
