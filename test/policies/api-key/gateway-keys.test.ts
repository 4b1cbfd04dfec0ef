import { describe, expect, it } from 'vitest'
import { gatewayUseName } from '../../../policies/api-key/index.ts'
import type { Caller } from '../../../policies/policy.ts'
import { DAY } from './support.ts'
import { START, setUp } from './world.ts'

const DAYS_AGO = (days: number) => new Date(START - days * DAY).toISOString().slice(0, 10)

function caller(tags: readonly string[] = [], more: Partial<Caller> = {}): Caller {
  return {
    consumer: { id: 'c-1', username: 'ada', customId: 'ada@example', tags: [], groups: [] },
    credential: { id: 'k-1', createdAt: START / 1_000 - 10 * 86_400, tags, fingerprint: 'f'.repeat(64) },
    address: '192.0.2.1',
    ...more,
  }
}

const KNOWN = { rotation: { age_from: 'created_at' } }

describe('age', () => {
  it('counts from the tag, where the gateway is not to be believed', async () => {
    const { passed, refused } = setUp()
    expect(await passed({ caller: caller([`pc-issued:${DAYS_AGO(3)}`]) })).toEqual({ type: 'pass' })
    expect(await refused({ caller: caller() })).toMatchObject({
      status: 401,
      code: 'key_expired',
      message: 'Nobody can tell how old the API key is: have it rotated.',
      headers: { 'www-authenticate': 'Bearer realm="llm"' },
    })
    expect(await refused({ caller: caller([`pc-issued:${DAYS_AGO(97)}`]) })).toMatchObject({
      code: 'key_expired',
      message: 'The API key is older than allowed: rotate it.',
    })
  })

  it('is announced before it ends', async () => {
    const { passed } = setUp()
    const pass = await passed({ caller: caller([`pc-issued:${DAYS_AGO(80)}`]) })
    expect(pass.replyHeaders).toEqual({ 'x-api-key-expires-in': String(17 * 86_400) })
  })

  it('counts from the creation where that is configured', async () => {
    const { passed, refused } = setUp(KNOWN)
    expect(await passed({ caller: caller() })).toEqual({ type: 'pass' })
    const old = { id: 'k-1', createdAt: START / 1_000 - 98 * 86_400, tags: [] }
    expect((await refused({ caller: caller([], { credential: old }) })).code).toBe('key_expired')
    expect((await refused({ caller: caller([], { credential: { tags: [] } }) })).code).toBe('key_expired')
  })

  it('that nobody knows passes where that is configured, but not what cannot be read', async () => {
    const { passed, refused } = setUp({ rotation: { on_unknown_age: 'allow' } })
    expect(await passed({ caller: caller() })).toEqual({ type: 'pass' })
    for (const tag of ['pc-issued:soon', 'pc-expires:2026-02-30', 'pc-cidr:*'])
      expect((await refused({ caller: caller([tag]) })).message).toContain('cannot be read')
  })

  it('ends with the expiry', async () => {
    const { passed, refused, wait } = setUp(KNOWN)
    const soon = { caller: caller(['pc-expires:2026-06-02']) }
    expect((await passed(soon)).replyHeaders).toEqual({ 'x-api-key-expires-in': '86400' })
    await wait(DAY)
    expect(await refused(soon)).toMatchObject({ code: 'key_expired', message: expect.stringContaining('expiry') })
  })
})

describe('addresses', () => {
  it('bind by tag, for IPv4 and IPv6', async () => {
    const { passed, refused } = setUp(KNOWN)
    const at = (address: string) => ({ caller: caller(['pc-cidr:10.0.0.0_8', 'pc-cidr:2001:db8::_32'], { address }) })
    for (const address of ['10.1.2.3', '::ffff:10.1.2.3', '2001:db8::1']) await passed(at(address))
    for (const address of ['11.1.2.3', '2001:db9::1', '', 'unix:/tmp/x'])
      expect(await refused(at(address))).toEqual({
        type: 'reject',
        status: 403,
        code: 'address_not_allowed',
        message: 'The API key may not be used from this address.',
        headers: {},
      })
  })

  it.each(['c-1', 'ada', 'ada@example', 'k-1'])('bind by the map, named by %s', async (name) => {
    const { passed, refused } = setUp({
      ...KNOWN,
      addresses: { [name]: ['10.0.0.0/8', '::1'], other: ['192.0.2.0/24'] },
    })
    await passed({ caller: caller([], { address: '10.9.9.9' }) })
    expect((await refused({ caller: caller() })).code).toBe('address_not_allowed')
  })

  it('must satisfy the map and the tags', async () => {
    const { passed, refused } = setUp({ ...KNOWN, addresses: { ada: ['10.0.0.0/8'] } })
    await passed({ caller: caller(['pc-cidr:10.1.0.0_16'], { address: '10.1.0.1' }) })
    expect((await refused({ caller: caller(['pc-cidr:10.1.0.0_16'], { address: '10.2.0.1' }) })).status).toBe(403)
  })

  it('are nothing a client can say', async () => {
    const { refused } = setUp({ ...KNOWN, addresses: { ada: ['10.0.0.0/8'] } })
    const headers = { 'x-forwarded-for': '10.1.1.1', 'x-real-ip': '10.1.1.1', forwarded: 'for=10.1.1.1' }
    expect((await refused({ caller: caller(), headers })).status).toBe(403)
  })
})

describe('nobody', () => {
  const anonymous: Caller = { consumer: { id: 'anonymous', tags: [], groups: [] }, address: '192.0.2.1' }

  it('is refused, the anonymous consumer too', async () => {
    const { refused } = setUp()
    for (const one of [anonymous, { address: '192.0.2.1' }])
      expect(await refused({ caller: one })).toMatchObject({ status: 401, code: 'invalid_key' })
  })

  it('is left to later policies where that is configured', async () => {
    const { passed } = setUp({ on_missing_key: 'pass' })
    expect(await passed({ caller: anonymous })).toEqual({ type: 'pass' })
  })

  it('becomes somebody by no own key while none are taken', async () => {
    const { refused, issue, meddler } = setUp()
    const { key } = await issue()
    expect((await refused({ headers: { authorization: `Bearer ${key}` } })).code).toBe('invalid_key')
    expect(meddler.finds).toBe(0)
  })
})

it('honours the deny list, and says no reason', async () => {
  const { passed, refused, revocations, wait } = setUp({ ...KNOWN, revocation: { poll_ms: 100 } })
  await passed({ caller: caller() })
  await revocations.revoke({ kind: 'credential', value: 'f'.repeat(64), reason: 'canary', revokedAt: START })
  await wait(100)
  const refusal = await refused({ caller: caller() })
  expect(refusal).toMatchObject({ status: 401, code: 'key_revoked' })
  expect(JSON.stringify(refusal)).not.toContain('canary')
})

it('notes the last use once a minute, and only of who gets in', async () => {
  const { passed, refused, registry, wait } = setUp(KNOWN)
  const used = async () => (await registry.lastUses([gatewayUseName('k-1')]))[0]
  await refused({ caller: caller(['pc-expires:2026-01-01']) })
  expect(await used()).toBeUndefined()
  await passed({ caller: caller() })
  expect(await used()).toBe(START)
  await wait(59_000)
  await passed({ caller: caller() })
  expect(await used()).toBe(START)
  await wait(1_000)
  await passed({ caller: caller() })
  expect(await used()).toBe(START + 60_000)
})

it('notes none where that is switched off', async () => {
  const { passed, registry } = setUp({ ...KNOWN, last_use: false })
  await passed({ caller: caller() })
  expect(await registry.lastUses([gatewayUseName('k-1')])).toEqual([undefined])
})

it('refuses nothing in shadow, but says what it would have', async () => {
  const { passed } = setUp({ mode: 'shadow' })
  expect(await passed({ caller: caller() })).toMatchObject({ wouldReject: { code: 'key_expired' } })
  expect(await passed({})).toMatchObject({ wouldReject: { code: 'invalid_key' } })
  expect(await passed({ caller: caller([`pc-issued:${DAYS_AGO(80)}`]) })).toEqual({ type: 'pass' })
})
