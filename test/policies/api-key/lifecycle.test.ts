import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatDay, judgeAge, lifeOf, parseDate } from '../../../policies/api-key/index.ts'
import { type AgeRules, mayComeFrom } from '../../../policies/api-key/lifecycle.ts'
import type { Caller, Credential } from '../../../policies/policy.ts'
import { DAY } from './support.ts'

const NOW = Date.UTC(2026, 5, 1)
const RULES: AgeRules = { max_age_days: 60, grace_days: 7, warn_after_days: 50, on_unknown_age: 'refuse' }

describe('dates', () => {
  it.each([
    ['2026-01-31', Date.UTC(2026, 0, 31)],
    ['2024-02-29', Date.UTC(2024, 1, 29)],
    ['2026-01-31T12:30:05Z', Date.UTC(2026, 0, 31, 12, 30, 5)],
  ])('%s', (text, at) => expect(parseDate(text)).toBe(at))

  it.each([
    '',
    '2026-02-30',
    '2026-13-01',
    '2026-00-10',
    '26-01-31',
    '2026-1-31',
    '2026-01-31 ',
    '2026-01-31T12:00:00',
    '2026-01-31T24:00:00Z',
    '2026-01-31T12:00:00+02:00',
    '20260131',
    '1767225600',
    'never',
  ])('"%s" is none', (text) => expect(parseDate(text)).toBeUndefined())

  it('are read as they are written', () => {
    fc.assert(
      fc.property(fc.date({ min: new Date(0), max: new Date(Date.UTC(9999, 0)), noInvalidDate: true }), (date) => {
        const day = formatDay(date.getTime())
        expect(formatDay(parseDate(day) ?? Number.NaN)).toBe(day)
      }),
    )
  })
})

function life(
  tags: string[],
  { createdAt, owner = [] }: { createdAt?: number; owner?: string[] } = {},
  from: 'tag' | 'created_at' = 'tag',
) {
  const credential: Credential = { tags, ...(createdAt === undefined ? {} : { createdAt }) }
  const caller: Caller = { address: '', consumer: { id: 'c', tags: owner, groups: [] }, credential }
  return lifeOf(caller, credential, from)
}

describe('what is known of a credential', () => {
  it('comes from its tags', () => {
    const known = life(['gold', 'pc-issued:2026-05-01', 'pc-expires:2026-07-01', 'pc-cidr:10.0.0.0_8', 'pc-cidr:::1'])
    expect(known).toMatchObject({ issuedAt: Date.UTC(2026, 4, 1), expiresAt: Date.UTC(2026, 6, 1), unreadable: false })
    expect(known.bindings).toHaveLength(1)
    expect(known.bindings[0]).toHaveLength(2)
  })

  it('trusts the time of creation only where it is told to, and a tag before it', () => {
    const createdAt = NOW / 1_000
    expect(life([], { createdAt }).issuedAt).toBeUndefined()
    expect(life([], { createdAt }, 'created_at').issuedAt).toBe(NOW)
    expect(life(['pc-issued:2026-01-01'], { createdAt }, 'created_at').issuedAt).toBe(Date.UTC(2026, 0, 1))
    expect(life([], {}, 'created_at').issuedAt).toBeUndefined()
  })

  it('is the strictest of what tags say', () => {
    const known = life(['pc-issued:2026-05-01', 'pc-issued:2026-04-01', 'pc-expires:2026-07-01'], {
      owner: ['pc-expires:2026-06-15'],
    })
    expect(known).toMatchObject({ issuedAt: Date.UTC(2026, 3, 1), expiresAt: Date.UTC(2026, 5, 15) })
  })

  it.each(['pc-issued:', 'pc-issued:soon', 'pc-expires:2026-02-30', 'pc-cidr:', 'pc-cidr:10.0.0.0_40', 'pc-cidr:*'])(
    'is unreadable with %s',
    (tag) => {
      expect(life([tag]).unreadable).toBe(true)
      if (!tag.startsWith('pc-issued')) expect(life([], { owner: [tag] }).unreadable).toBe(true)
    },
  )

  it('takes the age from no tag of the consumer', () => {
    expect(life([], { owner: ['pc-issued:2026-05-01'] })).toMatchObject({ unreadable: false })
    expect(life([], { owner: ['pc-issued:2026-05-01'] }).issuedAt).toBeUndefined()
  })
})

describe('age', () => {
  const at = (days: number, more: Partial<AgeRules> = {}) =>
    judgeAge({ issuedAt: NOW - days * DAY }, { ...RULES, ...more }, NOW)

  it.each([
    [0, { type: 'valid' }],
    [49.9, { type: 'valid' }],
    [50, { type: 'valid', secondsLeft: 17 * 86_400 }],
    [60, { type: 'valid', secondsLeft: 7 * 86_400 }],
    [66.999, { type: 'valid', secondsLeft: 87 }],
    [67, { type: 'expired', why: 'age' }],
    [5_000, { type: 'expired', why: 'age' }],
    [-0.5, { type: 'valid' }],
    [-2, { type: 'expired', why: 'unknown_age' }],
  ])('of %d days', (days, verdict) => expect(at(days)).toEqual(verdict))

  it('that nobody knows is refused, or allowed where that is configured', () => {
    expect(judgeAge({}, RULES, NOW)).toEqual({ type: 'expired', why: 'unknown_age' })
    expect(judgeAge({}, { ...RULES, on_unknown_age: 'allow' }, NOW)).toEqual({ type: 'valid' })
    expect(at(-2, { on_unknown_age: 'allow' })).toEqual({ type: 'valid' })
  })

  it('does not outlive an expiry, whatever else is allowed', () => {
    const issuedAt = NOW - DAY
    expect(judgeAge({ issuedAt, expiresAt: NOW }, RULES, NOW)).toEqual({ type: 'expired', why: 'expiry' })
    expect(judgeAge({ expiresAt: NOW - 1 }, { ...RULES, on_unknown_age: 'allow' }, NOW)).toEqual({
      type: 'expired',
      why: 'expiry',
    })
    expect(judgeAge({ issuedAt, expiresAt: NOW + 1 }, RULES, NOW)).toEqual({ type: 'valid', secondsLeft: 1 })
    expect(judgeAge({ issuedAt, expiresAt: NOW + 40 * DAY }, RULES, NOW)).toEqual({ type: 'valid' })
    expect(judgeAge({ issuedAt, expiresAt: NOW + 17 * DAY }, RULES, NOW)).toEqual({
      type: 'valid',
      secondsLeft: 17 * 86_400,
    })
  })

  it('never gives a key more than its time', () => {
    const days = fc.double({ min: -10, max: 400, noNaN: true })
    const expiry = fc.option(days, { nil: undefined })
    fc.assert(
      fc.property(
        days,
        expiry,
        fc.integer({ min: 30, max: 90 }),
        fc.nat(30),
        fc.nat(30),
        (age, left, max, grace, warn) => {
          const rules = { ...RULES, max_age_days: max, grace_days: grace, warn_after_days: warn }
          const issuedAt = NOW - age * DAY
          const verdict = judgeAge(
            { issuedAt, ...(left === undefined ? {} : { expiresAt: NOW + left * DAY }) },
            rules,
            NOW,
          )
          if (age >= max + grace || (left !== undefined && left <= 0)) expect(verdict.type).toBe('expired')
          if (verdict.type === 'valid' && verdict.secondsLeft !== undefined)
            expect(verdict.secondsLeft).toBeGreaterThan(0)
          if (verdict.type === 'valid' && age >= warn) expect(verdict.secondsLeft).toBeDefined()
        },
      ),
      { numRuns: 1_000 },
    )
  })
})

describe('address', () => {
  const { bindings } = life(['pc-cidr:10.0.0.0_8', 'pc-cidr:192.0.2.1'], { owner: ['pc-cidr:10.1.0.0_16'] })

  it('lies in one range of the credential and in one of the consumer', () => {
    expect(mayComeFrom('10.1.2.3', bindings)).toBe(true)
    expect(mayComeFrom('::ffff:10.1.2.3', bindings)).toBe(true)
    for (const address of ['10.2.2.3', '192.0.2.1', '', 'unix:', '::1', '10.1.2.3, 10.1.2.4'])
      expect(mayComeFrom(address, bindings)).toBe(false)
  })

  it('is free where nothing binds it, and nowhere allowed where nothing readable does', () => {
    expect(mayComeFrom('', [])).toBe(true)
    expect(mayComeFrom('10.1.2.3', life(['pc-cidr:nonsense']).bindings)).toBe(false)
  })
})
