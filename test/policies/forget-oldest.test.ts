import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { forgetOldest } from '../../policies/forget-oldest.ts'

describe('a map that holds too much', () => {
  test('loses what was inserted first, a sixteenth more than it must, and else nothing', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer()), fc.integer({ min: 0, max: 80 }), (keys, most) => {
        const map = new Map(keys.map((key) => [key, true]))
        forgetOldest(map, most)
        const kept = keys.length <= most ? keys.length : most - Math.floor(most / 16)
        expect([...map.keys()]).toEqual(keys.slice(keys.length - kept))
      }),
    )
  })
})
