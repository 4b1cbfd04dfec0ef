import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { canonical, createRuntime } from '../../policies/runtime.ts'

describe('runtime', () => {
  it('makes one value for one kind and config', () => {
    const runtime = createRuntime()
    let made = 0
    const share = (kind: string, config: unknown) => runtime.share(kind, config, () => ({ number: made++ }))
    const first = share('store', { url: 'a', limits: [1, 2] })
    expect(share('store', { limits: [1, 2], url: 'a' })).toBe(first)
    expect(share('other', { url: 'a', limits: [1, 2] })).not.toBe(first)
    expect(share('store', { url: 'b', limits: [1, 2] })).not.toBe(first)
    expect(share('store', { url: 'a', limits: [2, 1] })).not.toBe(first)
  })

  it('keeps a value that is undefined', () => {
    const runtime = createRuntime()
    let made = 0
    for (let again = 0; again < 3; again++) runtime.share('k', 1, () => void made++)
    expect(made).toBe(1)
  })

  it('does not keep what could not be made', () => {
    const runtime = createRuntime()
    const fail = () => {
      throw new Error('no')
    }
    expect(() => runtime.share('k', 1, fail)).toThrow('no')
    expect(runtime.share('k', 1, () => 5)).toBe(5)
  })

  it("leaves a gateway's private keys and nulls out of account", () => {
    const config = { url: 'a', nested: { port: 1 } }
    const fromKong = {
      ...config,
      __seq__: 17,
      __plugin_id: 'x',
      $refs: {},
      unset: null,
      absent: undefined,
      nested: { port: 1, __key__: 'k', other: null },
    }
    expect(canonical(fromKong)).toBe(canonical(config))
  })

  it('says all that a config says, so that different ones are apart', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(JSON.parse(canonical(value))).toEqual(withoutUnset(value))
      }),
    )
    for (const [a, b] of [
      [{ a: 'b,c:d' }, { a: 'b', c: 'd' }],
      [['1'], [1]],
      [{}, []],
      ['{}', {}],
      [true, 'true'],
    ])
      expect(canonical(a)).not.toBe(canonical(b))
  })

  it('closes what can be closed, and starts anew', async () => {
    const runtime = createRuntime()
    let closed = 0
    const open = () => ({ close: async () => void closed++ })
    const first = runtime.share('k', 1, open)
    runtime.share('k', 2, open)
    runtime.share('plain', 1, () => 5)
    runtime.share('null', 1, () => null)
    await runtime.close()
    expect(closed).toBe(2)
    expect(runtime.share('k', 1, open)).not.toBe(first)
  })
})

function withoutUnset(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutUnset)
  if (typeof value !== 'object' || value === null) return Object.is(value, -0) ? 0 : value
  const members = Object.entries(value).filter(([key, member]) => member !== null && !/^__|^\$refs$/.test(key))
  return Object.fromEntries(members.map(([key, member]) => [key, withoutUnset(member)]))
}
