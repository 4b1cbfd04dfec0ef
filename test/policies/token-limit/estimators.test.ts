import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { CounterSpec } from '../../../policies/stores/ports.ts'
import { budgetFor } from '../../../policies/token-limit/budget.ts'
import type { RuleConfig } from '../../../policies/token-limit/config.ts'
import { expectedOutput, type OutputEstimate, observeOutput } from '../../../policies/token-limit/expected-output.ts'
import { createLearnedTable } from '../../../policies/token-limit/learned.ts'
import type { Rule } from '../../../policies/token-limit/rules.ts'

function observeAll(samples: readonly number[]): OutputEstimate | undefined {
  return samples.reduce<OutputEstimate | undefined>(observeOutput, undefined)
}

describe('expected output', () => {
  it('is the default before five samples', () => {
    expect(expectedOutput(undefined, 1024)).toBe(1024)
    expect(expectedOutput(observeAll([1, 1, 1, 1]), 1024)).toBe(1024)
    expect(expectedOutput(observeAll([1, 1, 1, 1, 1]), 1024)).not.toBe(1024)
  })

  it('is mean plus four deviations, both moving as in RFC 6298', () => {
    let m = 100
    let d = 50
    const samples = [100]
    for (const x of [140, 60, 300, 90, 100]) {
      samples.push(x)
      d += (Math.abs(x - m) - d) / 4
      m += (x - m) / 8
    }
    expect(expectedOutput(observeAll(samples), 1024)).toBe(Math.ceil(m + 4 * d))
  })

  it('is a whole number of at least one, whatever was seen', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 1_000_000 }), { minLength: 5 }), (samples) => {
        const expected = expectedOutput(observeAll(samples), 1)
        expect(Number.isInteger(expected)).toBe(true)
        expect(expected).toBeGreaterThanOrEqual(1)
        expect(expected).toBeLessThanOrEqual(5 * Math.max(1, ...samples) + 1)
      }),
    )
  })
})

describe('what was learned', () => {
  it('is kept for those who came last', () => {
    const table = createLearnedTable(3)
    for (const key of ['a', 'b', 'c']) table.set(key, { lastInput: 1 })
    table.get('a')
    table.set('d', { lastInput: 1 })
    expect(['a', 'b', 'c', 'd'].map((key) => table.get(key) !== undefined)).toEqual([true, false, true, true])
    table.set('a', { lastInput: 2 })
    expect(table.get('a')).toEqual({ lastInput: 2 })
  })
})

describe('budget', () => {
  const counter: CounterSpec = { algorithm: 'sliding_window', limit: 1000, windowSeconds: 60 }
  const rule = (parts: Partial<RuleConfig> = {}, countsOutput = true) =>
    ({ config: { reserve: 'declared', on_short_budget: 'refuse', ...parts }, countsOutput }) as Rule
  const call = (declaredOutput?: number, generates = true, candidates = 1) => ({
    candidates,
    generates,
    ...(declaredOutput === undefined ? {} : { declaredOutput }),
  })

  it('is the declared one, in full or not at all', () => {
    expect(budgetFor(rule(), counter, call(5000), 300)).toEqual({ want: 5000, clip: false, floor: 0 })
  })

  it('is what is expected when none is declared, cut to what is of use', () => {
    expect(budgetFor(rule(), counter, call(), 300)).toEqual({ want: 300, clip: true, floor: 100 })
    expect(budgetFor(rule(), { ...counter, limit: 100_000 }, call(), 300).floor).toBe(256)
    expect(budgetFor(rule(), { ...counter, limit: 3 }, call(), 300).floor).toBe(1)
  })

  it('is what is expected when less is, for a rule that says so', () => {
    expect(budgetFor(rule({ reserve: 'expected' }), counter, call(5000), 300).want).toBe(300)
    expect(budgetFor(rule({ reserve: 'expected' }), counter, call(50), 300).want).toBe(50)
  })

  it('may be clamped to the floor of the rule', () => {
    const clamp = { on_short_budget: 'clamp', clamp_floor: 40 } as const
    expect(budgetFor(rule(clamp), counter, call(500), 300)).toEqual({ want: 500, clip: true, floor: 40 })
    expect(budgetFor(rule({ on_short_budget: 'clamp' }), counter, call(500), 300).floor).toBe(100)
  })

  it('never asks for more room than is wanted', () => {
    expect(budgetFor(rule({ on_short_budget: 'clamp', clamp_floor: 400 }), counter, call(7), 300).floor).toBe(7)
    expect(budgetFor(rule(), counter, call(), 20).floor).toBe(20)
  })

  it('leaves a token for each candidate', () => {
    const clamp = { on_short_budget: 'clamp', clamp_floor: 40 } as const
    expect(budgetFor(rule(clamp), counter, call(5000, true, 70), 300).floor).toBe(70)
    expect(budgetFor(rule(), counter, call(undefined, true, 2000), 9000).floor).toBe(2000)
  })

  it('is nothing where no output is counted or made', () => {
    const nothing = { want: 0, clip: false, floor: 0 }
    expect(budgetFor(rule({}, false), counter, call(500), 300)).toEqual(nothing)
    expect(budgetFor(rule(), counter, call(undefined, false), 0)).toEqual(nothing)
  })
})
