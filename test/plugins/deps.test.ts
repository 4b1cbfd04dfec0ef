import { describe, expect, it } from 'vitest'
import { createDeps, createJsonLogger, systemClock, systemRandom } from '../../plugins/deps.ts'
import { createRuntime } from '../../policies/runtime.ts'

describe('deps', () => {
  it('share one runtime, and so one memory store, in a process', () => {
    const store = createDeps().openLimitStore({ store: 'memory' })
    expect(createDeps().openLimitStore({ store: 'memory' })).toBe(store)
    const other = createDeps({ runtime: createRuntime() })
    expect(other.openLimitStore({ store: 'memory' })).not.toBe(store)
  })

  it('draw ids that nobody guesses and fractions below one', () => {
    const ids = new Set(Array.from({ length: 1000 }, () => systemRandom.id()))
    expect(ids.size).toBe(1000)
    for (const id of ids) expect(id).toMatch(/^[A-Za-z0-9_-]{22}$/)
    const fractions = Array.from({ length: 1000 }, () => systemRandom.fraction())
    expect(fractions.every((fraction) => fraction >= 0 && fraction < 1)).toBe(true)
    expect(new Set(fractions).size).toBe(1000)
  })

  it('run a task once, unless it is cancelled', async () => {
    let ran = 0
    systemClock.after(1, () => ran++)
    const cancel = systemClock.after(1, () => ran++)
    cancel()
    await new Promise((resolve) => setTimeout(resolve, 30))
    expect(ran).toBe(1)
  })

  it('log one JSON object a line', () => {
    const lines: string[] = []
    const logger = createJsonLogger((line) => lines.push(line))
    logger.warn('two\nlines', { level: 'forged', message: 'forged', code: 'x' })
    expect(lines).toHaveLength(1)
    expect(lines[0]?.match(/\n/g)).toHaveLength(1)
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ level: 'warn', message: 'two\nlines', code: 'x' })
  })
})
