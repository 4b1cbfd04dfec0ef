import { expect, test } from 'vitest'
import { createRedactor } from '../../../policies/redaction/index.ts'
import { hostileShapes } from '../../fixtures/redaction/hostile.ts'

/** Counts the work that a text causes: characters read, pieces cut, patterns run. */
function workOf(run: () => void): number {
  let work = 0
  const { charCodeAt, slice, indexOf, lastIndexOf } = String.prototype
  const { exec, test: probe } = RegExp.prototype
  String.prototype.charCodeAt = function (at) {
    work++
    return charCodeAt.call(this, at)
  }
  String.prototype.slice = function (start, end) {
    const piece = slice.call(this, start, end)
    work += 1 + piece.length / 16
    return piece
  }
  String.prototype.indexOf = function (search, from) {
    const at = indexOf.call(this, search, from)
    work += 1 + (at < 0 ? this.length - (from ?? 0) : at - (from ?? 0)) / 16
    return at
  }
  String.prototype.lastIndexOf = function (search, from) {
    const at = lastIndexOf.call(this, search, from)
    work += 1 + (Math.min(from ?? this.length, this.length) - Math.max(at, 0)) / 16
    return at
  }
  RegExp.prototype.exec = function (text) {
    work += 4
    const match = exec.call(this, text)
    work += (match?.[0].length ?? 0) / 4
    // A pattern that is not sticky reads on to the end when it fails.
    if (match === null && !this.sticky) work += text.length / 4
    return match
  }
  try {
    run()
  } finally {
    Object.assign(String.prototype, { charCodeAt, slice, indexOf, lastIndexOf })
    Object.assign(RegExp.prototype, { exec, test: probe })
  }
  return work
}

const all = createRedactor({ families: ['pii', 'national', 'secret', 'person'] })
const small = hostileShapes(50_000)
const large = hostileShapes(100_000)

test('there are at least 25 hostile shapes', () => {
  expect(large.size).toBeGreaterThanOrEqual(25)
})

test.each([...large.keys()])('work grows in step with the text: %j', (name) => {
  const half = small.get(name) ?? ''
  const whole = large.get(name) ?? ''
  all.find(half)
  const before = workOf(() => all.find(half)) / half.length
  const after = workOf(() => all.find(whole)) / whole.length
  expect(after).toBeLessThanOrEqual(before * 1.25 + 2)
  // No shape costs more than a bounded amount a character.
  expect(after).toBeLessThan(400)
})
