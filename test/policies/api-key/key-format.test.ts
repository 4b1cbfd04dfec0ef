import fc from 'fast-check'
import { expect, it } from 'vitest'
import { systemRandom } from '../../../plugins/deps.ts'
import {
  fingerprintOf,
  generateKey,
  hashKey,
  KEY_PATTERN,
  newKeyId,
  parseKey,
  sameHash,
} from '../../../policies/api-key/index.ts'

const WHOLE = new RegExp(`^${KEY_PATTERN}$`)
const env = fc.stringMatching(/^[a-z0-9]{1,16}$/)
const seeded = (seed: number) => {
  let calls = 0
  return { id: () => `${seed}.${calls++}` }
}

it('reads every key it makes, and no key twice the same', () => {
  const seen = new Set<string>()
  fc.assert(
    fc.property(env, (name) => {
      const id = newKeyId(systemRandom)
      const key = generateKey(name, id, systemRandom)
      expect(key).toMatch(WHOLE)
      expect(parseKey(key)).toEqual({ env: name, id })
      expect(seen.has(key)).toBe(false)
      seen.add(key)
    }),
    { numRuns: 500 },
  )
})

it('is the same key for the same randomness, so that the form never changes unseen', () => {
  const random = seeded(7)
  const key = generateKey('live', newKeyId(random), random)
  expect(key).toBe('pc_live_hLbjomUbLdkYojmf_neInj1iJYvIFHAq6rJABqkZeEZZsreXmT9jIvQyJjaY3qQ8iW')
})

it('takes no key with one character changed, left out or added', () => {
  const key = generateKey('live', newKeyId(systemRandom), systemRandom)
  fc.assert(
    fc.property(fc.nat(key.length - 1), fc.constantFrom(...'abcXYZ019_-'), (at, other) => {
      const [before, after] = [key.slice(0, at), key.slice(at + 1)]
      if (key[at] !== other) expect(parseKey(before + other + after)).toBeUndefined()
      expect(parseKey(before + after)).toBeUndefined()
      expect(parseKey(before + other + key.slice(at))).toBeUndefined()
    }),
    { numRuns: 1_000 },
  )
})

it('takes no other text for a key', () => {
  fc.assert(fc.property(fc.string({ maxLength: 200 }), (text) => parseKey(text) === undefined))
  const key = generateKey('live', newKeyId(systemRandom), systemRandom)
  for (const text of ['', 'pc_', ` ${key}`, `${key}\n`, `${key} `, key.toUpperCase(), `${key}${key}`, `x${key}`])
    expect(parseKey(text)).toBeUndefined()
})

it('refuses to make a key of another form', () => {
  const id = newKeyId(systemRandom)
  for (const name of ['', 'Live', 'a_b', 'x'.repeat(17), 'é', 'a-b'])
    expect(() => generateKey(name, id, systemRandom)).toThrow(RangeError)
  for (const wrong of ['', 'short', `${id}x`, `${id.slice(1)}_`])
    expect(() => generateKey('live', wrong, systemRandom)).toThrow(RangeError)
})

it('hashes under a pepper, and compares whole hashes', () => {
  const key = generateKey('live', newKeyId(systemRandom), systemRandom)
  const hash = hashKey('pepper', key)
  expect(hash).toMatch(/^[0-9a-f]{64}$/)
  expect(hash).not.toBe(hashKey('other', key))
  expect(hash).not.toBe(fingerprintOf(key))
  expect(sameHash(hash, hashKey('pepper', key))).toBe(true)
  expect(sameHash(hash, `${hash.slice(0, -1)}x`)).toBe(false)
  expect(sameHash(hash, hash.slice(1))).toBe(false)
  expect(sameHash(hash, '')).toBe(false)
})
