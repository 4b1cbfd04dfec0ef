import { describe, expect, it } from 'vitest'
import { createRuntime } from '../../../policies/runtime.ts'
import { openLimitStore } from '../../../policies/stores/open.ts'
import { createRecentIds } from '../../../policies/stores/recent-ids.ts'
import { createSpread, MAX_MEMBERS } from '../../../policies/stores/spread.ts'
import { createTickets } from '../../../policies/stores/tickets.ts'
import { START } from '../../contract/limit-operations.ts'

describe('tickets', () => {
  it('are settled once', () => {
    const tickets = createTickets()
    const issued = Array.from({ length: 20_000 }, () => tickets.next())
    expect(new Set(issued).size).toBe(20_000)
    expect(issued.every((ticket) => tickets.settle(ticket))).toBe(true)
    expect(issued.some((ticket) => tickets.settle(ticket))).toBe(false)
  })

  it('that were never issued are settled never', () => {
    const tickets = createTickets()
    tickets.next()
    for (const ticket of [1, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 40])
      expect(tickets.settle(ticket)).toBe(false)
  })

  it('are forgotten as settled when they are too old, and their bits used again', () => {
    const tickets = createTickets(1024)
    const first = Array.from({ length: 100 }, () => tickets.next())
    for (let count = 0; count < 1024; count++) tickets.next()
    expect(first.some((ticket) => tickets.settle(ticket))).toBe(false)
    for (let round = 0; round < 5000; round++) {
      const ticket = tickets.next()
      expect(tickets.settle(ticket)).toBe(true)
      expect(tickets.settle(ticket)).toBe(false)
    }
  })

  it('may be settled in any order and late', () => {
    const tickets = createTickets(1024)
    const issued = Array.from({ length: 5000 }, () => tickets.next())
    const late = issued.slice(-1000).reverse()
    expect(late.every((ticket) => tickets.settle(ticket))).toBe(true)
    expect(late.some((ticket) => tickets.settle(ticket))).toBe(false)
  })
})

describe('recent ids', () => {
  it('are forgotten generation by generation', () => {
    const hour = 3_600_000
    const ids = createRecentIds()
    ids.add('a', START)
    ids.add('b', START + 7 * hour)
    expect([ids.has('a'), ids.has('b'), ids.has('c')]).toEqual([true, true, false])
    ids.add('c', START + 14 * hour)
    expect([ids.has('a'), ids.has('b'), ids.has('c')]).toEqual([false, true, true])
  })

  it('stay within their memory', () => {
    const ids = createRecentIds()
    for (let count = 0; count < 600_000; count++) ids.add(`id-${count}`, START)
    expect(ids.has('id-0')).toBe(false)
    expect(ids.has('id-400000')).toBe(true)
  })
})

describe('spread', () => {
  it('forgets owners whose counters are all idle', () => {
    const spread = createSpread()
    for (let owner = 0; owner < 10; owner++) spread.add(`o${owner}`, `o${owner}/k`)
    expect(spread.size).toBe(10)
    const live = (key: string) => key === 'o3/k'
    for (let sweeps = 0; sweeps < 30; sweeps++) spread.sweep(live)
    expect(spread.size).toBe(1)
  })

  it('looks for idle keys only when an owner is full', () => {
    const spread = createSpread()
    let looked = 0
    const live = () => {
      looked++
      return true
    }
    for (let key = 0; key < MAX_MEMBERS; key++) {
      expect(spread.admits('o', `k${key}`, 0, live)).toBe(true)
      spread.add('o', `k${key}`)
    }
    expect(looked).toBe(0)
    expect(spread.admits('o', 'k5', 0, live)).toBe(true)
    expect(looked).toBe(0)
    expect(spread.admits('o', 'further', 0, live)).toBe(false)
    expect(looked).toBe(MAX_MEMBERS)
  })
})

describe('opening a store', () => {
  it('gives every config the one memory of this process', () => {
    const log = () => {}
    const deps = {
      clock: { now: () => START, monotonic: () => 0, after: () => () => {} },
      random: { id: () => 'x', fraction: () => 0.5 },
      runtime: createRuntime(),
      logger: { info: log, warn: log, error: log },
    }
    const first = openLimitStore({ store: 'memory', on_store_error: 'local' }, deps)
    expect(openLimitStore({ store: 'memory' }, deps)).toBe(first)
    expect(openLimitStore({ store: 'memory' }, { ...deps, runtime: createRuntime() })).not.toBe(first)
  })
})
