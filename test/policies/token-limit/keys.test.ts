import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Caller } from '../../../policies/policy.ts'
import { addressGroup } from '../../../policies/token-limit/address.ts'
import { claimAt } from '../../../policies/token-limit/claims.ts'
import { counterName, type Facts, identityOf, tagged } from '../../../policies/token-limit/keys.ts'
import { type Part, parsePart } from '../../../policies/token-limit/parts.ts'

const CALLER: Caller = {
  consumer: { id: 'alice', tags: [], groups: [] },
  credential: { id: 'k1', tags: [] },
  claims: { org: { team: 'red', seats: 5 }, 'https://x.example/plan': 'pro' },
  address: '192.0.2.1',
}

function nameFor(
  per: readonly string[],
  parts: { caller?: Caller; model?: string; headers?: [string, string][] } = {},
) {
  const facts: Facts = {
    caller: parts.caller ?? CALLER,
    route: { id: 'route-1', serviceName: 'llm' },
    headers: new Map(parts.headers),
  }
  const plan = { rule: 'r', scope: '', kind: 's60t', parts: per.map((text) => parsePart(text) as Part) }
  return counterName(plan, facts, parts.model ?? 'gpt-4o')
}

describe('names of counters', () => {
  it('share a caller, so that its rules lie together', () => {
    const callers = [['consumer'], ['consumer', 'model'], ['consumer', 'ip'], ['consumer', 'route']].map(
      (per) => nameFor(per).caller,
    )
    expect(new Set(callers)).toEqual(new Set(['consumer=5:alice']))
    expect(nameFor(['consumer', 'model']).key.startsWith('consumer=5:alice/')).toBe(true)
    expect(nameFor(['global']).caller).toBeUndefined()
    expect(nameFor(['route', 'service']).caller).toBeUndefined()
  })

  it('fall back to the client address for a caller part that is missing', () => {
    const anonymous: Caller = { consumer: { id: 'anonymous', tags: [], groups: [] }, address: '192.0.2.9' }
    for (const per of ['consumer', 'credential', 'claim:org.team', 'ip'])
      expect(nameFor([per], { caller: anonymous }).caller).toBe('ip=9:192.0.2.9')
  })

  it('take a credential by its id or else its fingerprint', () => {
    const credential = { fingerprint: 'f00', tags: [] }
    expect(nameFor(['credential']).caller).toBe('credential=2:k1')
    expect(nameFor(['credential'], { caller: { ...CALLER, credential } }).caller).toBe('credential=3:f00')
  })

  it('take claims by path, and only those that can name somebody', () => {
    expect(nameFor(['claim:org.team']).caller).toBe('claim:org.team=3:red')
    expect(nameFor(['claim:https://x.example/plan']).caller).toBe('claim:https://x.example/plan=3:pro')
    // A number is not the text that looks like it.
    const text = { ...CALLER, claims: { org: { seats: '5' } } }
    expect(nameFor(['claim:org.seats']).caller).not.toBe(nameFor(['claim:org.seats'], { caller: text }).caller)
    for (const bad of [{}, [], null, '', undefined])
      expect(nameFor(['claim:a'], { caller: { ...CALLER, claims: { a: bad } } }).caller).toBe('ip=9:192.0.2.1')
  })

  it('write a literal for a description part that is missing', () => {
    expect(nameFor(['consumer', 'header:x-team']).key).toContain('header.x-team=1:-')
    expect(nameFor(['consumer', 'model'], { model: '' }).key).toContain('model=1:-')
  })

  it('spread what a client chooses, and only that', () => {
    expect(nameFor(['consumer', 'route']).spread).toBeUndefined()
    const { key, spread } = nameFor(['consumer', 'route', 'model', 'header:x'], { headers: [['x', 'y']] })
    expect(spread?.owner).toContain('route=7:route-1')
    expect(key).toBe(`${spread?.owner}/${spread?.member}`)
    expect(spread?.overflowKey.startsWith(`${spread.owner}/`)).toBe(true)
  })

  it('are short and printable however long a value is', () => {
    const { key } = nameFor(['consumer', 'header:x'], { headers: [['x', 'v'.repeat(1_000_000)]] })
    expect(key.length).toBeLessThan(200)
  })

  it('never mix up two values, whatever callers put into them', () => {
    const value = fc.oneof(
      fc.string({ maxLength: 12 }),
      fc.constantFrom('-', 'a/b', 'a=1:b', '1:a', 'model=1:a', '', 'other=1:*'),
      fc.string({ minLength: 120, maxLength: 140 }),
    )
    const tuple = fc.tuple(value, value, value)
    fc.assert(
      fc.property(tuple, tuple, (a, b) => {
        const key = ([id, model, header]: readonly string[]) => {
          const caller = { ...CALLER, consumer: { id: id ?? '', tags: [], groups: [] } }
          return nameFor(['consumer', 'model', 'header:h'], {
            caller,
            model: model ?? '',
            headers: [['h', header ?? '']],
          })
        }
        const seen = ([id, model, header]: readonly string[]) => [id, (model || '-').toLowerCase(), header || '-']
        const same = JSON.stringify(seen(a)) === JSON.stringify(seen(b))
        expect(key(a).key === key(b).key).toBe(same)
        // The overflow counter is nobody's own.
        expect(key(a).spread?.overflowKey).not.toBe(key(b).key)
      }),
      { numRuns: 500 },
    )
  })

  it('begin with no other caller', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 200 }), fc.string({ maxLength: 200 }), (a, b) => {
        if (a !== b) expect(tagged('consumer', a).startsWith(tagged('consumer', b))).toBe(false)
      }),
    )
    expect(tagged('consumer', 'ab').startsWith(tagged('consumer', 'a'))).toBe(false)
  })
})

describe('identity', () => {
  it('is the consumer, else the credential, else the address', () => {
    expect(identityOf(CALLER)).toBe('consumer=5:alice')
    expect(identityOf({ credential: { id: 'k', tags: [] }, address: 'x' })).toBe('credential=1:k')
    expect(identityOf({ consumer: { id: 'anonymous', tags: [], groups: [] }, address: '192.0.2.1' })).toBe(
      'ip=9:192.0.2.1',
    )
  })
})

describe('addresses', () => {
  for (const [address, group] of [
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:c000:0201', '192.0.2.1'],
    ['0:0:0:0:0:ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::', '2001:db8:1:2::/64'],
    ['2001:0DB8:0001:0002:ffff::1', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['64:ff9b::192.0.2.1', '64:ff9b:0:0::/64'],
    ['unix:', 'unix:'],
    ['1::2::3', '1::2::3'],
    ['1:2:3:4:5:6:7', '1:2:3:4:5:6:7'],
    ['1:2:3:4:5:6:7:8:9', '1:2:3:4:5:6:7:8:9'],
    ['::ffff:192.0.2.256', '::ffff:192.0.2.256'],
    ['', ''],
  ] as const) {
    it(`groups ${address || 'nothing'} as ${group || 'nothing'}`, () => {
      expect(addressGroup(address)).toBe(group)
    })
  }
})

describe('claims', () => {
  it('are found by their whole name before by path, and never in a prototype', () => {
    const claims = { 'a.b': 1, a: { b: 2, c: { d: 3 } } }
    expect(claimAt(claims, 'a.b')).toBe(1)
    expect(claimAt(claims, 'a.c.d')).toBe(3)
    expect(claimAt(claims, 'a.x.d')).toBeUndefined()
    expect(claimAt(undefined, 'a')).toBeUndefined()
    for (const path of ['constructor', 'a.constructor', '__proto__', 'a.__proto__.x', 'toString'])
      expect(claimAt(claims, path)).toBeUndefined()
  })
})

describe('parts', () => {
  it('are known by their names', () => {
    expect(parsePart('header:X-Team')).toEqual({ kind: 'header', caller: false, name: 'x-team' })
    expect(parsePart('claim:a.b')).toEqual({ kind: 'claim', caller: true, path: 'a.b' })
    for (const text of [
      '',
      'Consumer',
      'claim:',
      'claim:a b',
      'claim:a=b',
      'header:',
      'header:a b',
      'header:a:b',
      'user',
    ])
      expect(parsePart(text)).toBeUndefined()
  })
})
