import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { oldestOf } from '../../policies/oldest.ts'

const key = fc.integer({ min: 0, max: 20 })

describe('the oldest key of a map', () => {
  test('is the one inserted first of all that are there, whatever came and went', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('set' as const), key }),
      fc.record({ kind: fc.constant('delete' as const), key }),
      fc.record({ kind: fc.constant('touch' as const), key }),
      fc.record({ kind: fc.constant('evict' as const), key }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const map = new Map<number, number>()
        const nextOldest = oldestOf(map)
        for (const { kind, key } of steps) {
          if (kind === 'set') map.set(key, 1)
          else if (kind === 'delete') map.delete(key)
          else if (kind === 'touch' && map.delete(key)) map.set(key, 1)
          else if (kind === 'evict') {
            const [expected] = map.keys()
            const oldest = nextOldest()
            expect(oldest).toBe(expected)
            if (oldest !== undefined) map.delete(oldest)
          }
        }
      }),
    )
  })
})
