import fc from 'fast-check'
import { expect, it } from 'vitest'
import { readCounterName } from '../../../plugins/cli/limits/counter-name.ts'
import { duration } from '../../../plugins/cli/limits/report.ts'
import { printable } from '../../../plugins/cli/print.ts'
import { parseConfig } from '../../../policies/schema/parse.ts'
import { fields } from '../../../policies/token-limit/config.ts'
import { counterName } from '../../../policies/token-limit/keys.ts'
import { prepareRules } from '../../../policies/token-limit/rules.ts'

const value = fc.oneof(fc.string({ unit: 'binary', minLength: 1 }), fc.string({ unit: 'binary', minLength: 120 }))
const claim = fc.oneof(value, fc.integer(), fc.boolean())
const CALLER_PARTS = ['consumer', 'credential', 'ip', 'claim:org.team', 'claim:https://x.example/a/b']
const OTHER_PARTS = ['model', 'route', 'service', 'header:X-Team']

const rule = fc
  .record({
    name: fc.constantFrom('tokens', 'a-b.c_d', '9'),
    limit: fc.constant(1000),
    window_seconds: fc.constantFrom(1, 60, 86_400),
    algorithm: fc.constantFrom('sliding_window', 'fixed_window', 'token_bucket'),
    count: fc.constantFrom('total_tokens', 'input_tokens', 'output_tokens', 'requests'),
    per: fc.oneof(
      fc.constantFrom(['global'], ['route', 'service']),
      fc
        .tuple(fc.subarray(CALLER_PARTS, { minLength: 1, maxLength: 4 }), fc.subarray(OTHER_PARTS))
        .map(([callers, others]) => [...callers, ...others]),
    ),
    match: fc.record(
      {
        models: fc.uniqueArray(fc.constantFrom('gpt-*', 'a/b=3:c', '*'), { minLength: 1 }),
        routes: fc.uniqueArray(fc.constantFrom('r1', 'r/2=#'), { minLength: 1 }),
      },
      { requiredKeys: [] },
    ),
  })
  .map((config) => prepareRules(parseConfig(fields, { limits: [config] }))[0])

it('reads back every name that a rule makes', () => {
  fc.assert(
    fc.property(rule, value, value, claim, claim, value, (prepared, id, key, team, plan, model) => {
      if (prepared === undefined) throw new Error('no rule')
      const claims = { org: { team }, 'https://x.example/a/b': plan }
      const consumer = { id, tags: [], groups: [] }
      const facts = {
        caller: { consumer, credential: { id: key, tags: [] }, claims, address: '192.0.2.1' },
        route: { id: model, serviceName: key },
        headers: new Map([['x-team', id]]),
      }
      const made = counterName(prepared.plan, facts, model)
      const read = readCounterName(made.key)
      expect(read).toMatchObject({ rule: prepared.config.name, unit: prepared.unit })
      expect(read?.caller?.text).toBe(made.caller)
      const { per, match = {} } = prepared.config
      const callerParts = per.filter((part) => CALLER_PARTS.includes(part)).length
      const scopes = Object.keys(match).length
      expect(read?.parts).toHaveLength(per.length - (callerParts > 0 ? 1 : 0) + scopes)
      expect(
        [made.caller ?? '', ...(read?.parts ?? []).map(({ text }) => text)].every((text) => made.key.includes(text)),
      ).toBe(true)
      if (per.includes('model') && model.length <= 128)
        expect(read?.parts.find(({ type }) => type === 'model')?.value).toBe(model.toLowerCase())
      if (made.spread !== undefined)
        expect(readCounterName(made.spread.overflowKey)?.parts.at(-1)).toMatchObject({ type: 'other', value: '*' })
    }),
  )
})

it('takes nothing else for a name', () => {
  for (const key of [
    '',
    '/',
    'x',
    'consumer=5:al',
    '/rule=1:a',
    '/rule=1:a/x',
    '/rule=9:a/s60t',
    '/rule=1:a/s60t/',
    '/rule=1:a/s60tx',
  ])
    expect(readCounterName(key)).toBeUndefined()
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => void readCounterName(text)))
})

it.each([
  [0, '0 s'],
  [1, '1 s'],
  [59_001, '1 min'],
  [3_600_000, '1 h'],
  [3_661_000, '1 h 1 min'],
  [3_601_000, '1 h'],
  [86_400_000 * 3 + 7_200_000, '3 d 2 h'],
])('writes %d ms as %s', (ms, text) => {
  expect(duration(ms)).toBe(text)
})

it('prints nothing that a terminal obeys', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(printable(text)).not.toMatch(/[\p{Cc}\p{Cf}]/u)
    }),
  )
})
