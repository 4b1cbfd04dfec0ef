import { describe, expect, it } from 'vitest'
import { createMemoryStore } from '../../../policies/stores/memory.ts'
import { START } from '../../contract/limit-operations.ts'
import { claimWith } from '../../contract/limit-reference.ts'
import { limitStoreContract } from '../../contract/limit-store.ts'

function createClocked(maxCounters?: number) {
  let now = START
  const store = createMemoryStore({
    clock: { now: () => now },
    random: { fraction: () => 0.5 },
    ...(maxCounters === undefined ? {} : { maxCounters }),
  })
  return {
    store,
    setTime(t: number) {
      now = t
    },
    async close() {
      await store.close()
    },
  }
}

limitStoreContract('memory', async ({ now }) => {
  const harness = createClocked()
  harness.setTime(now)
  return harness
})

describe('memory store', () => {
  const counter = { algorithm: 'sliding_window', limit: 100, windowSeconds: 60 } as const
  const claim = (name: string) => claimWith({ key: `ip=1:${name}/x`, caller: `ip=1:${name}`, counter, want: 10 })

  it('drops idle counters while others are used', async () => {
    const { store, setTime } = createClocked()
    for (let index = 0; index < 1000; index++) await store.reserve({ id: `a${index}`, claims: [claim(`a${index}`)] })
    expect(store.size).toBe(1000)
    setTime(START + 125_001)
    for (let index = 0; index < 1000; index++) await store.reserve({ id: `b${index}`, claims: [claim('b')] })
    expect(store.size).toBe(1)
  })

  it('keeps no counter that counts nothing', async () => {
    const { store } = createClocked()
    await store.reserve({ id: 'a', claims: [{ ...claim('a'), want: 0 }] })
    await store.reserve({ id: 'b', claims: [{ ...claim('b'), want: 101 }] })
    await store.reserve({ id: 'c', claims: [{ ...claim('c'), want: 101, shadow: true }] })
    expect(store.size).toBe(0)
  })

  it('changes nothing by showing it', async () => {
    const { store, setTime } = createClocked()
    const asked = { ...claim('a'), want: 30 }
    for (const slot of [0, 3]) {
      setTime(START + slot * 5_000)
      await store.reserve({ id: `${slot}`, claims: [asked] })
    }
    setTime(START + 13 * 5_000)
    expect(await store.show('ip=1:a')).toMatchObject([{ used: 30, remaining: 70 }])
    expect((await store.reserve({ id: 'c', claims: [{ ...asked, want: 70 }] })).admitted).toBe(true)
  })

  it('keeps thousands of counters apart while they move between their records', async () => {
    const { store, setTime } = createClocked()
    const callers = 9_000
    const wantOf = (caller: number, slot: number) => ((caller * 7 + slot * 3) % 9) + 1
    for (const slot of [0, 2, 5]) {
      setTime(START + slot * 5_000)
      for (let caller = 0; caller < callers; caller++)
        await store.reserve({ id: 'r', claims: [{ ...claim(`${caller}`), want: wantOf(caller, slot) }] })
    }
    setTime(START + 14 * 5_000)
    for (let caller = 0; caller < callers; caller++) {
      const { claims } = await store.reserve({ id: 'r', claims: [{ ...claim(`${caller}`), want: 0 }] })
      expect(claims[0]?.remaining).toBe(100 - wantOf(caller, 2) - wantOf(caller, 5))
    }
    expect(store.size).toBe(callers)
  })

  it('keeps debts from being dropped', async () => {
    const { store, setTime } = createClocked()
    const asked = claim('a')
    const [taken] = (await store.reserve({ id: 'a', claims: [asked] })).claims
    if (taken === undefined) throw new Error('nothing taken')
    const { key, at, epoch, reserved } = taken
    await store.settle({ id: 'a', entries: [{ key, counter, at, epoch, reserved, actual: 1000 }] })
    setTime(START + 125_001)
    for (let index = 0; index < 20; index++) await store.reserve({ id: `b${index}`, claims: [claim('b')] })
    expect((await store.reserve({ id: 'c', claims: [asked] })).admitted).toBe(false)
  })

  it('ages counters whose clock was far ahead', async () => {
    const { store, setTime } = createClocked()
    setTime(START + 1e9)
    await store.reserve({ id: 'a', claims: [claim('a')] })
    setTime(START)
    for (let index = 0; index < 50; index++) await store.reserve({ id: `b${index}`, claims: [claim('b')] })
    setTime(START + 125_001)
    for (let index = 0; index < 50; index++) await store.reserve({ id: `c${index}`, claims: [claim('c')] })
    expect(store.size).toBe(1)
  })

  it('refuses new counters when full rather than forget old ones', async () => {
    const { store } = createClocked(2)
    await store.reserve({ id: 'a', claims: [claim('a')] })
    await store.reserve({ id: 'b', claims: [claim('b')] })
    expect(() => store.reserve({ id: 'c', claims: [claim('c')] })).toThrow(
      expect.objectContaining({ code: 'store_full' }),
    )
    expect((await store.reserve({ id: 'd', claims: [claim('a')] })).admitted).toBe(true)
  })

  it('finds room again although only new counters are asked for', async () => {
    const { store, setTime } = createClocked(20)
    for (let index = 0; index < 20; index++) await store.reserve({ id: `a${index}`, claims: [claim(`a${index}`)] })
    setTime(START + 125_001)
    expect(() => store.reserve({ id: 'b', claims: [claim('b')] })).toThrow(
      expect.objectContaining({ code: 'store_full' }),
    )
    expect(store.reserve({ id: 'c', claims: [claim('b')] }).admitted).toBe(true)
  })

  it('gives nothing back to a store that never held the reservation', async () => {
    const before = createMemoryStore({ clock: { now: () => START }, random: { fraction: () => 0.25 } })
    const after = createMemoryStore({ clock: { now: () => START }, random: { fraction: () => 0.75 } })
    const [taken] = (await before.reserve({ id: 'a', claims: [claim('a')] })).claims
    if (taken === undefined) throw new Error('nothing taken')
    await after.reserve({ id: 'b', claims: [{ ...claim('a'), want: 95 }] })
    const { key, at, epoch, reserved } = taken
    await after.settle({ id: 'a', entries: [{ key, counter, at, epoch, reserved, actual: 0 }] })
    expect((await after.reserve({ id: 'c', claims: [claim('a')] })).admitted).toBe(false)
  })
})
