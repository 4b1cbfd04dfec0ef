import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createMemoryStore } from '../../../../policies/stores/memory.ts'
import type { Claim, CounterSpec, LimitStore, ReserveResult, SettleEntry } from '../../../../policies/stores/ports.ts'
import { type ClaimShape, claimsOf, START, specArbitrary } from '../../../contract/limit-operations.ts'
import { ReferenceStore } from '../../../contract/limit-reference.ts'
import { haveRedisServer } from '../../../support/redis/backends.ts'
import { type RedisServer, startRedis } from '../../../support/redis/server.ts'
import { openRedisStore } from '../../../support/redis/store.ts'

const COUNTERS = 3

/** A reservation of each store. */
interface Held {
  readonly id: string
  readonly claims: readonly Claim[]
  readonly memory: ReserveResult
  readonly redis: ReserveResult
}

interface Model {
  now: number
  ids: number
  reference: ReferenceStore
  readonly specs: readonly CounterSpec[]
  unsettled: Held[]
  settled: Held[]
}

interface Stores {
  memory: LimitStore
  redis: LimitStore
  setTime(t: number): void
  /** Everything forgets everything: gateway and Redis alike. */
  restart(): Promise<void>
}

type LimitCommand = fc.AsyncCommand<Model, Stores>

class Reserve implements LimitCommand {
  readonly shapes: readonly ClaimShape[]
  constructor(shapes: readonly ClaimShape[]) {
    this.shapes = shapes
  }
  check(): boolean {
    return true
  }
  async run(model: Model, { memory, redis }: Stores): Promise<void> {
    const request = { id: `r${model.ids++}`, claims: claimsOf(this.shapes, model.specs) }
    const expected = model.reference.reserve(request, model.now)
    const held = { ...request, memory: await memory.reserve(request), redis: await redis.reserve(request) }
    expect(visible(held.memory)).toEqual(expected)
    expect(visible(held.redis)).toEqual(expected)
    model.unsettled.push(held)
  }
  toString(): string {
    return `reserve ${JSON.stringify(this.shapes)}`
  }
}

/** Below 1 a refund, above 1 a charge; a second time changes nothing. */
class Settle implements LimitCommand {
  readonly which: number
  readonly share: number
  constructor(which: number, share: number) {
    this.which = which
    this.share = share
  }
  check(model: Readonly<Model>): boolean {
    return model.unsettled.length > 0
  }
  async run(model: Model, stores: Stores): Promise<void> {
    const [held] = model.unsettled.splice(this.which % model.unsettled.length, 1)
    if (held === undefined) return
    await settleAll(held, this.share, model, stores)
    model.settled.push(held)
  }
  toString(): string {
    return `settle #${this.which} at ${this.share}`
  }
}

class SettleAgain implements LimitCommand {
  readonly which: number
  readonly share: number
  constructor(which: number, share: number) {
    this.which = which
    this.share = share
  }
  check(model: Readonly<Model>): boolean {
    return model.settled.length > 0
  }
  async run(model: Model, stores: Stores): Promise<void> {
    const held = model.settled[this.which % model.settled.length]
    if (held !== undefined) await settleAll(held, this.share, model, stores)
  }
  toString(): string {
    return `settle again #${this.which} at ${this.share}`
  }
}

/** In one turn, some of them twice: they go to Redis together. */
class SettleTogether implements LimitCommand {
  readonly which: readonly number[]
  readonly share: number
  constructor(which: readonly number[], share: number) {
    this.which = which
    this.share = share
  }
  check(model: Readonly<Model>): boolean {
    return model.unsettled.length > 0
  }
  async run(model: Model, stores: Stores): Promise<void> {
    const held = this.which.flatMap((which) => model.unsettled[which % model.unsettled.length] ?? [])
    model.unsettled = model.unsettled.filter((each) => !held.includes(each))
    model.settled.push(...new Set(held))
    await Promise.all(held.map((each) => settleAll(each, this.share, model, stores)))
  }
  toString(): string {
    return `settle #${this.which} together at ${this.share}`
  }
}

class Wait implements LimitCommand {
  readonly ms: number
  constructor(ms: number) {
    this.ms = ms
  }
  check(): boolean {
    return true
  }
  async run(model: Model, stores: Stores): Promise<void> {
    model.now += this.ms
    stores.setTime(model.now)
  }
  toString(): string {
    return `wait ${this.ms} ms`
  }
}

class Restart implements LimitCommand {
  check(): boolean {
    return true
  }
  async run(model: Model, stores: Stores): Promise<void> {
    model.reference = new ReferenceStore()
    // What was settled before is not known any more, and nothing of it is held.
    model.settled = []
    await stores.restart()
  }
  toString(): string {
    return 'restart'
  }
}

async function settleAll(held: Held, share: number, model: Model, { memory, redis }: Stores): Promise<void> {
  const entries = (result: ReserveResult): SettleEntry[] =>
    held.claims.flatMap(({ counter, caller }, index) => {
      const taken = result.claims[index]
      if (taken === undefined || taken.reserved === 0) return []
      const { key, at, epoch, reserved } = taken
      const actual = Math.round(reserved * share)
      return [{ key, ...(caller === undefined ? {} : { caller }), counter, at, epoch, reserved, actual }]
    })
  const settlement = (result: ReserveResult) => ({
    id: held.id,
    ...(result.ticket === undefined ? {} : { ticket: result.ticket }),
    entries: entries(result),
  })
  const expected = model.reference.settle({ id: held.id, entries: entries(held.memory) }, model.now)
  const settling = [memory.settle(settlement(held.memory)), redis.settle(settlement(held.redis))]
  expect(await Promise.all(settling)).toEqual([expected, expected])
}

/** What the reference knows as well. */
function visible({ admitted, clippedTo, claims }: ReserveResult) {
  return {
    admitted,
    clippedTo,
    claims: claims.map(({ at, reserved, remaining, resetMs, retryAfterMs }) => ({
      at,
      reserved,
      remaining,
      resetMs,
      retryAfterMs,
    })),
  }
}

const shape: fc.Arbitrary<ClaimShape> = fc.record({
  counter: fc.nat({ max: COUNTERS - 1 }),
  input: fc.nat({ max: 40 }),
  want: fc.nat({ max: 80 }),
  clip: fc.boolean(),
  floor: fc.integer({ min: 1, max: 30 }),
  shadow: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
})
const shapes = fc.uniqueArray(shape, { minLength: 1, maxLength: COUNTERS, selector: ({ counter }) => counter })
const share = fc.oneof(
  fc.constant(0),
  fc.constant(1),
  fc.double({ min: 0, max: 1, noNaN: true }),
  fc.double({ min: 1, max: 5, noNaN: true }),
)
const wait = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 700 }) },
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 10_000 }) },
  { weight: 2, arbitrary: fc.integer({ min: 0, max: 200_000 }) },
  { weight: 1, arbitrary: fc.integer({ min: -200, max: 0 }) },
)
const commands = fc.commands<Model, Stores, false>(
  [
    shapes.map((all) => new Reserve(all)),
    shapes.map((all) => new Reserve(all)),
    fc.tuple(fc.nat(), share).map(([which, part]) => new Settle(which, part)),
    fc.tuple(fc.nat(), share).map(([which, part]) => new SettleAgain(which, part)),
    fc
      .tuple(fc.array(fc.nat({ max: 50 }), { minLength: 2, maxLength: 10 }), share)
      .map(([which, part]) => new SettleTogether(which, part)),
    wait.map((ms) => new Wait(ms)),
    fc.constant(new Restart()),
  ],
  { maxCommands: 60, size: 'max' },
)

describe.skipIf(!haveRedisServer('model of limits'))('memory, Redis and the written rules', () => {
  let server: RedisServer
  let runs = 0
  beforeAll(async () => {
    server = await startRedis()
  })
  afterAll(() => server.close())

  it('decide alike, whatever happens in whatever order', async () => {
    await fc.assert(
      fc.asyncProperty(
        // A store may forget idle counters. Only a step back of the clock by more than a window could tell.
        fc.array(specArbitrary(undefined, [1, 7, 60]), { minLength: COUNTERS, maxLength: COUNTERS }),
        commands,
        async (specs, all) => {
          let now = START
          let opened = open()
          const stores: Stores = {
            memory: memoryStore(),
            redis: opened.store,
            setTime(t) {
              now = t
            },
            async restart() {
              await opened.store.close()
              await server.client().flushall()
              opened = open()
              stores.memory = memoryStore()
              stores.redis = opened.store
            },
          }
          function memoryStore() {
            return createMemoryStore({ clock: { now: () => now }, random: { fraction: Math.random } })
          }
          function open() {
            const redis = { port: server.port, key_prefix: `m${runs++}:`, command_timeout_ms: 10_000 }
            return openRedisStore(redis, { on_store_error: 'deny', now: () => now })
          }
          const model: Model = {
            now,
            ids: 0,
            reference: new ReferenceStore(),
            specs,
            unsettled: [],
            settled: [],
          }
          await fc.asyncModelRun(() => ({ model, real: stores }), all)
          await opened.store.close()
        },
      ),
      { numRuns: Number(process.env.MODEL_RUNS ?? 60) },
    )
  }, 120_000)
})
