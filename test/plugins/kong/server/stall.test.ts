import { expect, test } from 'vitest'
import { createStallWatch } from '../../../../plugins/kong/server/stall.ts'

test('a stall is recent while it lasts and for as long afterwards, and then it is over', () => {
  let now = 0
  const watch = createStallWatch(() => now, 500)
  const pass = (ms: number) => {
    now += ms
    watch.tick()
  }
  for (let n = 0; n < 20; n++) {
    expect(watch.recent).toBe(false)
    pass(100)
  }
  now += 501
  // What was read first after the stall comes before the tick.
  expect(watch.recent).toBe(true)
  watch.tick()
  for (let n = 0; n < 5; n++) {
    expect(watch.recent).toBe(true)
    pass(100)
  }
  expect(watch.recent).toBe(false)
})
