/** What every {@link LimitStore} must do. */

import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import type { Claim, CounterSpec, LimitStore, ReserveResult, SettleEntry } from '../../policies/stores/ports.ts'
import {
  claimsOf,
  entriesOf,
  keyOf,
  type Operation,
  operationsArbitrary,
  START,
  specArbitrary,
  type Unsettled,
} from './limit-operations.ts'
import { claimWith, ReferenceStore } from './limit-reference.ts'

export interface StoreHarness {
  readonly store: LimitStore
  /** Sets the store's clock, epoch milliseconds. */
  setTime(t: number): void
  close(): Promise<void>
}

export interface ContractOptions {
  /** How often each property is tried; fewer over a network. */
  readonly runs?: number
}

/** @param makeStore an empty store whose clock stands at `now` */
export function limitStoreContract(
  name: string,
  makeStore: (options: { readonly now: number }) => Promise<StoreHarness>,
  { runs = 150 }: ContractOptions = {},
): void {
  describe(`${name}: limit store contract`, () => {
    const open: StoreHarness[] = []
    afterEach(async () => {
      for (const harness of open.splice(0)) await harness.close()
    })

    async function start() {
      let now = START
      const harness = await makeStore({ now })
      open.push(harness)
      let ids = 0
      const { store } = harness
      return {
        store,
        now: () => now,
        wait(ms: number) {
          now += ms
          harness.setTime(now)
        },
        async reserve(...claims: Claim[]) {
          const id = `r${ids++}`
          return { id, ...(await store.reserve({ id, claims })) }
        },
        settle: ({ id, ticket }: { readonly id: string; readonly ticket?: number }, ...entries: SettleEntry[]) =>
          store.settle({ id, ...(ticket === undefined ? {} : { ticket }), entries }),
      }
    }

    const sliding: CounterSpec = { algorithm: 'sliding_window', limit: 100, windowSeconds: 60 }
    const fixed: CounterSpec = { algorithm: 'fixed_window', limit: 100, windowSeconds: 60 }
    const bucket: CounterSpec = { algorithm: 'token_bucket', limit: 100, windowSeconds: 60 }
    const caller = 'consumer=1:a'

    function claim(counter: CounterSpec, want: number, parts: Partial<Claim> = {}): Claim {
      return claimWith({ key: `${caller}/${counter.algorithm}`, caller, counter, want, ...parts })
    }

    function entry(asked: Claim, result: ReserveResult, actual: number, index = 0): SettleEntry {
      const taken = result.claims[index]
      if (taken === undefined) throw new Error('no such claim')
      const { key, at, epoch, reserved } = taken
      return { key, caller, counter: asked.counter, at, epoch, reserved, actual }
    }

    for (const counter of [sliding, fixed, bucket]) {
      describe(counter.algorithm, () => {
        it('admits exactly what fits when nobody settles', async () => {
          const { reserve } = await start()
          const results = await Promise.all(Array.from({ length: 50 }, () => reserve(claim(counter, 7))))
          expect(results.filter(({ admitted }) => admitted)).toHaveLength(14)
        })

        it('says what is left after the request itself', async () => {
          const { reserve } = await start()
          const { claims } = await reserve(claim(counter, 20, { input: 10 }))
          expect(claims[0]).toMatchObject({ reserved: 30, remaining: 70, at: START })
          expect(claims[0]?.retryAfterMs).toBeUndefined()
        })

        it('takes nothing for a refused request', async () => {
          const { reserve } = await start()
          await reserve(claim(counter, 60))
          const refused = await reserve(claim(counter, 41))
          expect(refused).toMatchObject({ admitted: false, claims: [{ reserved: 0, remaining: 40 }] })
          expect((await reserve(claim(counter, 40))).admitted).toBe(true)
        })

        it('never admits what is larger than the limit', async () => {
          const { reserve } = await start()
          const { admitted, claims } = await reserve(claim(counter, 101))
          expect(admitted).toBe(false)
          expect(claims[0]?.retryAfterMs).toBe(Number.POSITIVE_INFINITY)
        })

        it('gives back what was not used, once', async () => {
          const { reserve, settle } = await start()
          const asked = claim(counter, 80)
          const result = await reserve(asked)
          expect(await settle(result, entry(asked, result, 30))).toBe(true)
          expect(await settle(result, entry(asked, result, 30))).toBe(false)
          expect((await reserve(claim(counter, 0))).claims[0]?.remaining).toBe(70)
        })

        it('carries what was used beyond the reservation', async () => {
          const { reserve, settle, wait } = await start()
          const asked = claim(counter, 50)
          const result = await reserve(asked)
          await settle(result, entry(asked, result, 250))
          expect((await reserve(claim(counter, 1))).admitted).toBe(false)
          wait(60_000)
          expect((await reserve(claim(counter, 51))).admitted).toBe(false)
          wait(240_000)
          expect((await reserve(claim(counter, 100))).admitted).toBe(true)
        })

        it('gives nothing back to a counter that was forgotten since', async () => {
          const { reserve, settle, store } = await start()
          const asked = claim(counter, 80)
          const before = await reserve(asked)
          await store.reset(asked.key, caller)
          const after = await reserve(claim(counter, 90))
          expect(after.admitted).toBe(true)
          await settle(before, entry(asked, before, 0))
          expect((await reserve(claim(counter, 11))).admitted).toBe(false)
        })

        it('charges a counter that was forgotten since', async () => {
          const { reserve, settle, store } = await start()
          const asked = claim(counter, 50)
          const before = await reserve(asked)
          await store.reset(asked.key, caller)
          await settle(before, entry(asked, before, 130))
          expect((await reserve(claim(counter, 21))).admitted).toBe(false)
          expect((await reserve(claim(counter, 20))).admitted).toBe(true)
        })

        it('says a long wait where a provider reports what nobody could have used', async () => {
          const { reserve, settle } = await start()
          const year = { ...counter, limit: 1, windowSeconds: 31_622_400 }
          const asked = claim(year, 1)
          const result = await reserve(asked)
          await settle(result, entry(asked, result, Number.MAX_SAFE_INTEGER))
          const refused = await reserve(asked)
          expect(refused.admitted).toBe(false)
          expect(refused.claims[0]?.remaining).toBe(0)
          expect(refused.claims[0]?.retryAfterMs).toBeGreaterThan(1e15)
          expect(refused.claims[0]?.resetMs).toBeGreaterThan(1e15)
        })

        it('drops a refund that comes too late', async () => {
          const { reserve, settle, wait } = await start()
          const asked = claim(counter, 80)
          const old = await reserve(asked)
          wait(65_001)
          await reserve(claim(counter, 100))
          await settle(old, entry(asked, old, 0))
          expect((await reserve(claim(counter, 10))).admitted).toBe(false)
        })

        it('does not turn a clock that steps back into room', async () => {
          const { reserve, wait } = await start()
          await reserve(claim(counter, 100))
          wait(-59_000)
          expect((await reserve(claim(counter, 1))).admitted).toBe(false)
          wait(59_000)
          expect((await reserve(claim(counter, 1))).admitted).toBe(false)
        })

        it('recovers from a clock that was far ahead, forgiving nothing', async () => {
          const { reserve, settle, wait } = await start()
          wait(86_400_000)
          const asked = claim(counter, 100)
          const ahead = await reserve(asked)
          wait(-86_400_000)
          expect((await reserve(claim(counter, 1))).admitted).toBe(false)
          await settle(ahead, entry(asked, ahead, 0))
          expect((await reserve(claim(counter, 1))).admitted).toBe(false)
          wait(65_001)
          expect((await reserve(claim(counter, 100))).admitted).toBe(true)
        })

        it('says exactly how long to wait', async () => {
          await fc.assert(
            fc.asyncProperty(
              specArbitrary(counter.algorithm),
              fc.array(fc.tuple(fc.nat({ max: 80 }), fc.nat({ max: 20_000 })), { maxLength: 12 }),
              fc.integer({ min: 1, max: 200 }),
              async (spec, past, want) => {
                const { reserve, wait } = await start()
                for (const [amount, pause] of past) {
                  await reserve(claim(spec, amount))
                  wait(pause)
                }
                const asked = claim(spec, want)
                const { admitted, claims } = await reserve(asked)
                const retry = claims[0]?.retryAfterMs
                expect(admitted).toBe(retry === undefined)
                if (retry === undefined) return
                expect(retry === Number.POSITIVE_INFINITY).toBe(want > (spec.burst ?? spec.limit))
                if (retry === Number.POSITIVE_INFINITY) return
                wait(retry - 1)
                expect((await reserve(asked)).admitted).toBe(false)
                wait(1)
                expect((await reserve(asked)).admitted).toBe(true)
              },
            ),
            { numRuns: runs },
          )
        })
      })
    }

    describe('the last moment for a refund', () => {
      /** What a refund of 10, that long after the reservation, adds to a counter that counts 10 more by then. */
      async function refundedAfter(counter: CounterSpec, ms: number): Promise<number> {
        const { reserve, settle, wait } = await start()
        const remaining = async () => (await reserve(claim(counter, 0))).claims[0]?.remaining ?? Number.NaN
        const asked = claim(counter, 40)
        const result = await reserve(asked)
        wait(ms)
        await reserve(claim(counter, 10))
        const before = await remaining()
        await settle(result, entry(asked, result, 30))
        return (await remaining()) - before
      }

      for (const [counter, latest] of [
        // START is the first millisecond of a slot, and 20 s into an aligned minute.
        [sliding, 64_999],
        [fixed, 39_999],
        [{ ...bucket, burst: 50 }, 30_000],
      ] as const) {
        it(`is ${latest} ms after the reservation (${counter.algorithm})`, async () => {
          expect(await refundedAfter(counter, latest)).toBe(10)
          expect(await refundedAfter(counter, latest + 1)).toBe(0)
        })
      }
    })

    describe('several counters in one step', () => {
      it('takes from all or from none', async () => {
        const { reserve } = await start()
        await reserve(claim(fixed, 95))
        const refused = await reserve(claim(sliding, 10), claim(fixed, 10), claim(bucket, 10))
        expect(refused.admitted).toBe(false)
        expect(refused.claims.map(({ reserved }) => reserved)).toEqual([0, 0, 0])
        expect(refused.claims.map(({ retryAfterMs }) => retryAfterMs === undefined)).toEqual([true, false, true])
        const { claims } = await reserve(claim(sliding, 0), claim(bucket, 0))
        expect(claims.map(({ remaining }) => remaining)).toEqual([100, 100])
      })

      it('cuts the output to the least room, for every counter', async () => {
        const { reserve } = await start()
        await reserve(claim(sliding, 60), claim(fixed, 30))
        const clip = { clip: true, floor: 5, input: 10 }
        const result = await reserve(claim(sliding, 80, clip), claim(fixed, 80, clip), claim(bucket, 50, { input: 10 }))
        expect(result).toMatchObject({ admitted: true, clippedTo: 30 })
        expect(result.claims.map(({ reserved }) => reserved)).toEqual([40, 40, 40])
      })

      it('refuses when less fits than anybody can use', async () => {
        const { reserve } = await start()
        await reserve(claim(sliding, 90))
        const result = await reserve(
          claim(sliding, 50, { clip: true, floor: 5 }),
          claim(fixed, 150, { clip: true, floor: 20 }),
        )
        expect(result.admitted).toBe(false)
        expect(result.claims.map(({ retryAfterMs }) => retryAfterMs === undefined)).toEqual([false, true])
        expect(result.clippedTo).toBeUndefined()
      })

      it('lets an input or requests rule refuse by itself', async () => {
        const { reserve } = await start()
        const requests: CounterSpec = { ...fixed, limit: 1 }
        const one = () => claim(requests, 0, { input: 1, unit: 'requests', key: `${caller}/requests` })
        expect((await reserve(claim(sliding, 10), one())).admitted).toBe(true)
        const refused = await reserve(claim(sliding, 10), one())
        expect(refused.admitted).toBe(false)
        expect(refused.claims[0]?.remaining).toBe(90)
      })
    })

    describe('shadow', () => {
      it('counts by itself and never decides', async () => {
        const { reserve } = await start()
        const shadow = { shadow: true, key: `${caller}/shadow` }
        const small: CounterSpec = { ...sliding, limit: 50 }
        const first = await reserve(claim(sliding, 30), claim(small, 30, shadow))
        expect(first.claims.map(({ reserved }) => reserved)).toEqual([30, 30])
        const second = await reserve(claim(sliding, 30), claim(small, 30, shadow))
        expect(second.admitted).toBe(true)
        expect(second.clippedTo).toBeUndefined()
        expect(second.claims.map(({ reserved }) => reserved)).toEqual([30, 0])
        expect(second.claims[1]?.retryAfterMs).toBeGreaterThan(0)
      })

      it('takes nothing when an enforced rule refuses', async () => {
        const { reserve } = await start()
        const shadow = { shadow: true, key: `${caller}/shadow` }
        const refused = await reserve(
          claim(sliding, 101),
          claim(fixed, 101, shadow),
          claim(bucket, 10, { ...shadow, key: `${caller}/s2` }),
        )
        expect(refused.admitted).toBe(false)
        expect(refused.claims.map(({ reserved }) => reserved)).toEqual([0, 0, 0])
      })

      it('takes no more than the request may produce', async () => {
        const { reserve } = await start()
        await reserve(claim(sliding, 70))
        const result = await reserve(
          claim(sliding, 80, { clip: true, floor: 5 }),
          claim(fixed, 80, { shadow: true, key: `${caller}/shadow` }),
        )
        expect(result).toMatchObject({ admitted: true, clippedTo: 30 })
        expect(result.claims[1]?.reserved).toBe(30)
      })
    })

    describe('client-chosen parts', () => {
      function spreadClaim(member: string, counter = sliding): Claim {
        const owner = `${caller}/owner`
        return claim(counter, 10, {
          key: `${owner}/${member}`,
          spread: { owner, member, overflowKey: `${owner}/other` },
        })
      }

      it('gives a caller 64 counters, and one for all further values', async () => {
        const { reserve } = await start()
        for (let index = 0; index < 64; index++) {
          const { claims } = await reserve(spreadClaim(`m${index}`))
          expect(claims[0]).toMatchObject({ key: `${caller}/owner/m${index}`, remaining: 90 })
        }
        const further = await reserve(spreadClaim('m64'))
        expect(further.claims[0]).toMatchObject({ key: `${caller}/owner/other`, remaining: 90 })
        const another = await reserve(spreadClaim('m65'))
        expect(another.claims[0]).toMatchObject({ key: `${caller}/owner/other`, remaining: 80 })
        const known = await reserve(spreadClaim('m63'))
        expect(known.claims[0]).toMatchObject({ key: `${caller}/owner/m63`, remaining: 80 })
      })

      it('frees a value once its counter is idle', async () => {
        const { reserve, wait } = await start()
        for (let index = 0; index < 64; index++) await reserve(spreadClaim(`m${index}`))
        wait(65_001)
        const { claims } = await reserve(spreadClaim('m64'))
        expect(claims[0]).toMatchObject({ key: `${caller}/owner/m64`, remaining: 90 })
      })

      it('gives no place to a refused request', async () => {
        const { reserve } = await start()
        for (let index = 0; index < 80; index++) {
          const refused = await reserve({ ...spreadClaim(`big${index}`), want: 101 })
          expect(refused.admitted).toBe(false)
        }
        expect((await reserve(spreadClaim('m'))).claims[0]?.key).toBe(`${caller}/owner/m`)
      })

      it('counts every value of one request among the 64', async () => {
        const { reserve } = await start()
        for (let request = 0; request < 6; request++)
          await reserve(...Array.from({ length: 10 }, (_, index) => spreadClaim(`m${request * 10 + index}`)))
        const { claims } = await reserve(...Array.from({ length: 8 }, (_, index) => spreadClaim(`n${index}`)))
        const keys = ['n0', 'n1', 'n2', 'n3', 'other', 'other', 'other', 'other'].map(
          (name) => `${caller}/owner/${name}`,
        )
        expect(claims.map(({ key }) => key)).toEqual(keys)
        expect((await reserve(spreadClaim('o'))).claims[0]?.key).toBe(`${caller}/owner/other`)
        expect((await reserve(spreadClaim('n3'))).claims[0]?.remaining).toBe(80)
      })

      it.each([sliding, fixed, bucket])(
        'takes once where several of a request share a counter: $algorithm',
        async (counter) => {
          const { reserve, settle, wait } = await start()
          const slot = 5_000
          const all = Array.from({ length: 64 }, (_, index) => ({ ...spreadClaim(`m${index}`, counter), want: 2 }))
          await reserve(...all)
          const three = ['a', 'b', 'c'].map((member) => spreadClaim(member, counter))
          expect((await reserve(...three)).claims.map(({ reserved, remaining }) => [reserved, remaining])).toEqual(
            Array(3).fill([10, 90]),
          )
          // Again once it has booked in several slots.
          wait(slot)
          await reserve(...all)
          const before = (await reserve(spreadClaim('d', counter))).claims[0]?.remaining ?? Number.NaN
          const result = await reserve(...three)
          expect(result.claims.map(({ remaining }) => remaining)).toEqual(Array(3).fill(before - 10))
          await settle(result, entry(three[0] as Claim, result, 4))
          expect((await reserve({ ...spreadClaim('e', counter), want: 0 })).claims[0]?.remaining).toBe(before - 4)
          let most = 0
          for (let step = 0; step < 26; step++) {
            wait(slot)
            await reserve(...all)
            most = Math.max(most, (await reserve({ ...spreadClaim('f', counter), want: 0 })).claims[0]?.remaining ?? 0)
          }
          expect(most).toBe(100)
        },
      )
    })

    describe('operators', () => {
      it('sees the counters of one caller only', async () => {
        const { reserve, store } = await start()
        await reserve(claim(sliding, 30), claim(bucket, 10))
        await reserve(claim(fixed, 5, { key: 'consumer=2:ab/x', caller: 'consumer=2:ab' }))
        const views = [...(await store.show(caller))].sort((a, b) => (a.key < b.key ? -1 : 1))
        expect(views).toMatchObject([
          { key: `${caller}/sliding_window`, caller, counter: sliding, used: 30, remaining: 70 },
          { key: `${caller}/token_bucket`, caller, counter: bucket, used: 10, remaining: 90 },
        ])
        expect(views.every(({ resetMs }) => resetMs > 0)).toBe(true)
        expect(await store.show('consumer=3:abc')).toEqual([])
      })

      it('forgets a counter on request', async () => {
        const { reserve, store } = await start()
        await reserve(claim(fixed, 100))
        await store.reset(`${caller}/fixed_window`, caller)
        expect((await reserve(claim(fixed, 100))).admitted).toBe(true)
      })

      for (const counter of [sliding, fixed, bucket]) {
        it(`gives back at most the limit (${counter.algorithm})`, async () => {
          const { reserve, store } = await start()
          const asked = claim(counter, 100)
          await reserve(asked)
          await store.grant(asked.key, caller, 30)
          expect((await reserve(claim(counter, 31))).admitted).toBe(false)
          expect((await reserve(claim(counter, 30))).admitted).toBe(true)
          await store.grant(asked.key, caller, 1_000_000)
          expect((await reserve(claim(counter, 101))).admitted).toBe(false)
          expect((await reserve(claim(counter, 100))).admitted).toBe(true)
        })
      }

      it('refuses a grant that is no positive whole number', async () => {
        const { store } = await start()
        for (const tokens of [0, -5, 1.5, Number.NaN])
          await expect(store.grant('k', undefined, tokens)).rejects.toThrow()
      })
    })

    describe('decides as the written rules do', () => {
      async function compare(counters: readonly CounterSpec[], operations: readonly Operation[]): Promise<void> {
        const reference = new ReferenceStore()
        const harness = await start()
        await play(harness, counters, operations, {
          reserved: ({ id, claims, result }) =>
            expect(visible(result)).toEqual(reference.reserve({ id, claims }, harness.now())),
          settled: (id, entries, counted) => expect(counted).toBe(reference.settle({ id, entries }, harness.now())),
          reset: (key) => reference.reset(key),
        })
      }

      it('for one counter, whatever happens in whatever order', async () => {
        await fc.assert(
          fc.asyncProperty(specArbitrary(), operationsArbitrary(1, 1, 200_000), (counter, operations) =>
            compare([counter], operations),
          ),
          { numRuns: runs },
        )
      })

      // A store may forget idle counters. Only a step back of the clock by more than a window could tell.
      it('for several counters, whatever happens in whatever order', async () => {
        const counters = fc
          .constantFrom(1, 7, 60)
          .chain((seconds) => fc.array(specArbitrary(undefined, [seconds]), { minLength: 3, maxLength: 3 }))
          .map((specs) => ({ specs, back: ((specs[0]?.windowSeconds ?? 1) * 1000) / 4 }))
        await fc.assert(
          fc.asyncProperty(
            counters.chain(({ specs, back }) => fc.tuple(fc.constant(specs), operationsArbitrary(3, 3, back))),
            ([specs, operations]) => compare(specs, operations),
          ),
          { numRuns: runs },
        )
      })
    })

    describe('bounds, for any interleaving of reserve, settle, refund and time', () => {
      it('sliding_window: never more than the limit booked in any interval of a window', async () => {
        await checkBound('sliding_window', (spec, bookings) => {
          const window = spec.windowSeconds * 1000
          for (const { at } of bookings) {
            const within = bookings.filter((booking) => booking.at >= at && booking.at <= at + window)
            expect(sum(within.map(({ kept }) => kept))).toBeLessThanOrEqual(spec.limit)
          }
        })
      })

      it('fixed_window: never more than the limit in an aligned window', async () => {
        await checkBound('fixed_window', (spec, bookings) => {
          for (const { window } of bookings) {
            const within = bookings.filter((booking) => booking.window === window)
            expect(sum(within.map(({ kept }) => kept))).toBeLessThanOrEqual(spec.limit)
          }
        })
      })

      it('token_bucket: never more than the burst, the refill and the refunds of the interval', async () => {
        await checkBound('token_bucket', (spec, bookings, refunds) => {
          for (const { at: from } of bookings) {
            for (const { at: to } of bookings) {
              if (to < from) continue
              const admitted = sum(bookings.filter(({ at }) => at >= from && at <= to).map(({ amount }) => amount))
              const refunded = sum(refunds.filter(({ at }) => at >= from && at <= to).map(({ amount }) => amount))
              const refill = ((to - from) * spec.limit) / (spec.windowSeconds * 1000)
              expect(admitted).toBeLessThanOrEqual((spec.burst ?? spec.limit) + refill + refunded + 1e-6)
            }
          }
        })
      })

      interface Booking {
        /** On the counter's own clock with its steps back taken out. */
        readonly at: number
        /** The aligned window, counted anew when the counter's clock was set back. */
        readonly window: string
        readonly amount: number
        /** What is left of it after refunds that were in time or not. */
        kept: number
      }

      async function checkBound(
        algorithm: CounterSpec['algorithm'],
        check: (
          spec: CounterSpec,
          bookings: readonly Booking[],
          refunds: readonly { readonly at: number; readonly amount: number }[],
        ) => void,
      ): Promise<void> {
        await fc.assert(
          fc.asyncProperty(specArbitrary(algorithm), operationsArbitrary(1, 1, 200_000), async (spec, history) => {
            // An operator's reset is meant to break the bound.
            const operations = history.filter(({ type }) => type !== 'reset')
            const harness = await start()
            const bookings: Booking[] = []
            const refunds: { at: number; amount: number }[] = []
            const byId = new Map<string, Booking>()
            let virtual = 0
            let restarts = 0
            let last: number | undefined
            const tick = (at: number) => {
              if (last === undefined) virtual = at
              else if (at >= last) virtual += at - last
              else restarts++
              last = at
              return virtual
            }
            await play(harness, [spec], operations, {
              reserved: ({ id, result }) => {
                const taken = result.claims[0]
                if (taken === undefined) return
                const at = tick(taken.at)
                if (taken.reserved === 0) return
                const window = `${restarts} ${Math.floor(taken.at / (spec.windowSeconds * 1000))}`
                const booking = { at, window, amount: taken.reserved, kept: taken.reserved }
                bookings.push(booking)
                byId.set(id, booking)
              },
              settled: async (id, entries, counted) => {
                const seen = await harness.reserve(claimWith({ key: keyOf(0), counter: spec }))
                const now = tick(seen.claims[0]?.at ?? Number.NaN)
                const booking = byId.get(id)
                const [settled] = entries
                if (!counted || booking === undefined || settled === undefined) return
                booking.kept = Math.min(settled.reserved, settled.actual)
                if (settled.actual < settled.reserved)
                  refunds.push({ at: now, amount: settled.reserved - settled.actual })
              },
              reset: () => undefined,
            })
            check(spec, bookings, refunds)
          }),
          { numRuns: runs },
        )
      }
    })
  })
}

interface Listener {
  reserved(reservation: Unsettled): void
  settled(id: string, entries: readonly SettleEntry[], counted: boolean): void | Promise<void>
  reset(key: string): void
}

interface Played {
  readonly store: LimitStore
  wait(ms: number): void
}

async function play(
  { store, wait }: Played,
  specs: readonly CounterSpec[],
  operations: readonly Operation[],
  listener: Listener,
): Promise<void> {
  const unsettled: Unsettled[] = []
  let ids = 0
  for (const operation of operations) {
    if (operation.type === 'wait') wait(operation.ms)
    if (operation.type === 'reset') {
      const key = keyOf(operation.counter)
      await store.reset(key, 'consumer=1:a')
      listener.reset(key)
    }
    if (operation.type === 'reserve') {
      const id = `reservation-${ids++}`
      const claims = claimsOf(operation.claims, specs)
      const reservation = { id, claims, result: await store.reserve({ id, claims }) }
      unsettled.push(reservation)
      listener.reserved(reservation)
    }
    if (operation.type === 'settle' && unsettled.length > 0) {
      const [reservation] = unsettled.splice(operation.which % unsettled.length, 1)
      if (reservation === undefined) continue
      const entries = entriesOf(reservation, operation.actual)
      for (let times = operation.twice ? 2 : 1; times > 0; times--) {
        const { ticket } = reservation.result
        const counted = await store.settle({ id: reservation.id, ...(ticket === undefined ? {} : { ticket }), entries })
        await listener.settled(reservation.id, entries, counted)
      }
    }
  }
}

/** What the reference knows as well. */
function visible(result: ReserveResult) {
  return {
    admitted: result.admitted,
    clippedTo: result.clippedTo,
    claims: result.claims.map(({ at, reserved, remaining, resetMs, retryAfterMs }) => ({
      at,
      reserved,
      remaining,
      resetMs,
      retryAfterMs,
    })),
  }
}

function sum(amounts: readonly number[]): number {
  return amounts.reduce((total, amount) => total + amount, 0)
}
