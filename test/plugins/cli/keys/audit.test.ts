import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { auditKeys, FINDINGS } from '../../../../plugins/cli/keys/audit.ts'
import { type Credential, groupCredentials } from '../../../../plugins/cli/keys/backends/credentials.ts'
import { parseDuration } from '../../../../plugins/cli/keys/duration.ts'
import { isTag, readTags, writeTags } from '../../../../plugins/cli/keys/tags.ts'
import { systemRandom } from '../../../../plugins/deps.ts'
import { generateKey, newKeyId } from '../../../../policies/api-key/index.ts'
import { DAY, START } from './support.ts'

const RULES = { maxAgeMs: 90 * DAY, warnAgeMs: 60 * DAY, minLength: 32, allowUnknownAge: false }
const STRONG = 'q8Zr2nW0xK5vT1yB7mC4dF9gH3jL6pSa'
const day = (ago: number) => new Date(START - ago * DAY).toISOString().slice(0, 10)
const good = ['pc-id:a', `pc-issued:${day(1)}`]

let refs = 0
function credential(parts: Partial<Credential> = {}): Credential {
  refs += 1
  return { ref: `r${refs}`, owner: 'ann', key: STRONG, tags: good, ...parts }
}

function found(...credentials: Credential[]): string[] {
  return auditKeys(groupCredentials(credentials), RULES, START).map(({ code }) => code)
}

const own = () => generateKey('live', newKeyId(systemRandom), systemRandom)

describe('audit', () => {
  it.each<[string, Credential[], string[]]>([
    ['a good key', [credential()], []],
    ['an own key', [credential({ key: own() })], []],
    ['an old one', [credential({ tags: ['pc-id:a', `pc-issued:${day(91)}`] })], ['too_old']],
    ['one at the limit', [credential({ tags: ['pc-id:a', `pc-issued:${day(89)}`] })], ['ageing']],
    ['one of unknown age', [credential({ tags: ['pc-id:a'] })], ['unknown_age']],
    ['one with the time of its creation', [credential({ tags: ['pc-id:a'], createdAt: START - DAY })], []],
    ['one from the future', [credential({ tags: ['pc-id:a', `pc-issued:${day(-3)}`] })], ['issued_in_future']],
    ['one without an id', [credential({ tags: [`pc-issued:${day(1)}`] })], ['no_stable_id']],
    ['a date that is none', [credential({ tags: ['pc-id:a', 'pc-issued:2026-02-30'] })], ['malformed', 'unknown_age']],
    ['two dates', [credential({ tags: [...good, `pc-issued:${day(2)}`] })], ['malformed', 'unknown_age']],
    ['an expired one', [credential({ tags: [...good, `pc-expires:${day(1)}`] })], ['expired']],
    ['one that was never delivered', [credential({ tags: [...good, 'pc-staged'] })], ['undelivered']],
    [
      'one in its grace time',
      [credential(), credential({ key: own(), tags: [...good, 'pc-retired', `pc-expires:${day(-2)}`] })],
      [],
    ],
    [
      'one past it',
      [credential(), credential({ key: own(), tags: [...good, 'pc-retired', `pc-expires:${day(2)}`] })],
      ['overdue'],
    ],
    [
      'one without a grace time',
      [credential(), credential({ key: own(), tags: [...good, 'pc-retired'] })],
      ['endless'],
    ],
    ['two current ones', [credential(), credential({ key: own() })], ['ambiguous']],
    [
      'a secret twice',
      [credential(), credential({ tags: ['pc-id:b', `pc-issued:${day(1)}`] })],
      ['duplicate', 'duplicate'],
    ],
    ['an id at two consumers', [credential(), credential({ owner: 'bea', key: own() })], ['shared_id', 'shared_id']],
    ['a short one', [credential({ key: 'a8Zr2nW0' })], ['weak']],
    ['one of words', [credential({ key: 'alice-production-key-number-one-2024' })], ['weak']],
    ['one of one letter', [credential({ key: 'a'.repeat(40) })], ['weak']],
    ['a reference', [credential({ key: `$${'{{ env "DECK_KEY" }}'}` })], []],
  ])('says of %s what is wrong with it', (_, credentials, codes) => {
    expect(found(...credentials)).toEqual(codes)
  })

  it('leaves revoked keys alone, and holds them to no policy', () => {
    const [key] = groupCredentials([credential({ tags: [] })])
    if (key === undefined) throw new Error('no key')
    expect(auditKeys([{ ...key, revoked: true }], RULES, START)).toEqual([])
  })

  it('calls only what the policy allows a warning', () => {
    const warnings = Object.entries(FINDINGS).filter(([, { level }]) => level === 'warn')
    expect(warnings.map(([code]) => code).toSorted()).toEqual(['ageing', 'expired', 'no_stable_id'])
  })
})

describe('tags', () => {
  const seconds = fc.integer({ min: 0, max: 4_000_000_000 }).map((time) => time * 1_000)
  it('say what was written, and keep the operator’s own', () => {
    fc.assert(
      fc.property(
        fc.record({
          id: fc.stringMatching(/^[0-9A-Za-z]{16}$/),
          state: fc.constantFrom('current' as const, 'staged' as const, 'retired' as const),
          issuedAt: seconds,
          expiresAt: seconds,
          rest: fc.array(fc.stringMatching(/^[a-oq-z][ -+\-.0-~]{0,20}$/), { maxLength: 4 }),
        }),
        (facts) => {
          const tags = writeTags(facts)
          expect(readTags(tags)).toEqual({ ...facts, malformed: [] })
          expect(tags.every(isTag)).toBe(true)
        },
      ),
    )
  })

  it('reads whatever there is', () => {
    fc.assert(fc.property(fc.array(fc.string()), (tags) => readTags(tags).malformed.length >= 0))
  })
})

it.each(['', '60', 'd', '1.5d', '-1d', '60 d', '60D', '9999999999d', '4000d', '1e3d', 'sixty days'])(
  'refuses "%s" as a duration',
  (text) => {
    expect(() => parseDuration(text, '--for')).toThrow('--for')
  },
)

it('reads durations', () => {
  expect(['90s', '15m', '12h', '60d', '8w', '0d'].map((text) => parseDuration(text, '--for'))).toEqual([
    90_000,
    900_000,
    43_200_000,
    60 * DAY,
    56 * DAY,
    0,
  ])
})
