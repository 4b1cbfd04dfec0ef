import { describe, expect, it } from 'vitest'
import { systemRandom } from '../../../plugins/deps.ts'
import { createKeyIssuer, fingerprintOf, generateKey, newKeyId, useName } from '../../../policies/api-key/index.ts'
import { PortcullisError } from '../../../policies/errors.ts'
import { createPipeline } from '../../../policies/pipeline.ts'
import type { Caller } from '../../../policies/policy.ts'
import { refusalReply } from '../../../policies/reply.ts'
import { DAY } from './support.ts'
import { bearer, createWorld, exchange, OWN, PEPPER, START, setUp } from './world.ts'

const stranger = () => generateKey('live', newKeyId(systemRandom), systemRandom)

describe('a good key', () => {
  it('makes its bearer the consumer it was issued to', async () => {
    const { passed, issue } = setUp(OWN)
    const consumer = { id: 'c-1', username: 'ada', customId: 'a@b', tags: ['gold'] }
    const { id, key } = await issue({ consumer, tags: ['team-a'], scopes: ['llm:chat'] })
    expect(await passed(bearer(key))).toEqual({
      type: 'pass',
      identity: {
        consumer: { ...consumer, groups: [] },
        credential: {
          id,
          createdAt: START / 1_000,
          tags: ['team-a'],
          scopes: ['llm:chat'],
          fingerprint: fingerprintOf(key),
        },
      },
      request: { removeHeaders: ['authorization'] },
    })
  })

  it.each(['x-api-key', 'api-key', 'x-goog-api-key', 'apikey'])(
    'is taken from %s, and travels no further',
    async (name) => {
      const { passed, issue } = setUp(OWN)
      const { key } = await issue()
      expect(await passed({ headers: { [name]: ` ${key} ` } })).toMatchObject({ request: { removeHeaders: [name] } })
    },
  )

  it.each(['Bearer', 'bearer', 'apiKey'])('is taken from Authorization after %s', async (scheme) => {
    const { passed, issue } = setUp(OWN)
    const { key } = await issue()
    await passed({ headers: { authorization: `  ${scheme}   ${key} ` } })
  })

  it('may be sent twice, but no two different ones', async () => {
    const { passed, refused, issue } = setUp(OWN)
    const [{ key }, other] = [await issue(), await issue()]
    const headers = { authorization: `Bearer ${key}`, 'x-api-key': key }
    expect((await passed({ headers })).request?.removeHeaders).toEqual(['authorization', 'x-api-key'])
    expect(await refused({ headers: { ...headers, 'api-key': other.key } })).toMatchObject({
      code: 'invalid_key',
      message: 'The request carries two different API keys.',
    })
  })

  it('never makes a frequent caller wait for the registry', async () => {
    const { decide, issue, meddler, wait } = setUp(OWN)
    const { key } = await issue()
    await decide(bearer(key))
    let release = () => {}
    await wait(250)
    meddler.hold = new Promise((done) => {
      release = done
    })
    // The answer is not there yet, and nobody waits for it.
    for (let times = 0; times < 5; times++) expect((await decide(bearer(key))).type).toBe('pass')
    expect(meddler.finds).toBe(2)
    release()
    await wait(250)
    meddler.hold = new Promise(() => {})
    expect((await decide(bearer(key))).type).toBe('pass')
  })

  it('is looked for only where the config says', async () => {
    const { refused, issue } = setUp({ own_keys: { pepper: PEPPER, headers: ['apikey'] } })
    const { key } = await issue()
    expect((await refused(bearer(key))).message).toContain('no API key')
  })

  it('counts under an old pepper too', async () => {
    const { passed, refused, issue } = setUp({ own_keys: { pepper: 'x'.repeat(32), old_peppers: [PEPPER] } })
    await passed(bearer((await issue()).key))
    expect((await refused(bearer((await issue({}, 'y'.repeat(32))).key))).code).toBe('invalid_key')
  })

  it('is what the policies after it see', async () => {
    const { deps, instance, issue } = setUp(OWN)
    const { key } = await issue({ consumer: { id: 'c-1' } })
    const seen: Caller[] = []
    const spy = {
      decide: async ({ caller }: { caller(): Caller | Promise<Caller> }) => {
        seen.push(await caller())
        return { type: 'pass' } as const
      },
    }
    const named = [
      { name: 'llm-api-key', instance },
      { name: 'spy', instance: spy },
    ]
    const verdict = await createPipeline(named, deps.logger).decide(exchange(bearer(key)))
    expect(seen).toMatchObject([{ consumer: { id: 'c-1' }, credential: { tags: [] }, address: '192.0.2.1' }])
    expect(verdict).toMatchObject({ type: 'pass', identity: { consumer: { id: 'c-1' } } })
  })
})

describe('a wrong key', () => {
  it.each<readonly [string, (key: string) => string]>([
    ['unknown', stranger],
    ['with a wrong checksum', (key) => `${key.slice(0, -1)}${key.endsWith('0') ? '1' : '0'}`],
    ['with another secret', (key) => generateKey('live', key.split('_')[2] ?? '', systemRandom)],
    ['with another environment', (key) => generateKey('test', key.split('_')[2] ?? '', systemRandom)],
    ['of somebody else', () => 'sk-proj-abcdefghijklmnop'],
    ['too long', (key) => key.repeat(100)],
    ['empty but for its prefix', () => 'pc_'],
    ['in pieces', (key) => `${key}, ${key}`],
  ])('%s is refused, and not repeated', async (_, make) => {
    const { refused, issue, lines } = setUp(OWN)
    const { key } = await issue()
    const wrong = make(key)
    const refusal = await refused({ headers: { 'x-api-key': wrong } })
    expect(refusal).toMatchObject({ status: 401, code: 'invalid_key', message: 'The API key is unknown.' })
    expect(JSON.stringify([refusal, lines])).not.toContain(wrong.slice(-20))
  })

  it('of another environment is refused where only some are taken', async () => {
    const { passed, refused, issue } = setUp({ own_keys: { pepper: PEPPER, environments: ['live'] } })
    await passed(bearer((await issue()).key))
    expect((await refused(bearer((await issue({ env: 'test' })).key))).code).toBe('invalid_key')
  })

  it('costs one read, however many ask at once and again', async () => {
    const { decide, meddler, wait } = setUp({ ...OWN, lockout: { failures: 1_000 } })
    const wrong = stranger()
    let release = () => {}
    meddler.hold = new Promise((done) => {
      release = done
    })
    const asked = Array.from({ length: 100 }, () => decide(bearer(wrong)))
    release()
    for (const decision of await Promise.all(asked)) expect(decision).toMatchObject({ code: 'invalid_key' })
    await decide(bearer(wrong))
    expect(meddler.finds).toBe(1)
    await wait(500)
    await decide(bearer(wrong))
    expect(meddler.finds).toBe(2)
  })

  it('costs none when its checksum is wrong', async () => {
    const { refused, meddler } = setUp(OWN)
    await refused(bearer(`pc_live_${'a'.repeat(16)}_${'b'.repeat(49)}`))
    expect(meddler.finds).toBe(0)
  })

  it('is missing: no credential, or a token for somebody else', async () => {
    const { refused } = setUp(OWN)
    const jwt = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln'
    for (const headers of [{}, { authorization: '' }, { authorization: `Bearer ${jwt}` }])
      expect((await refused({ headers })).message).toBe('The request carries no API key that is known here.')
    const { passed, refused: strictly } = setUp({ ...OWN, on_missing_key: 'pass' })
    expect(await passed({ headers: { authorization: `Bearer ${jwt}` } })).toEqual({ type: 'pass' })
    expect((await strictly(bearer('sk-other'))).code).toBe('invalid_key')
  })
})

describe('the life of a key', () => {
  it('ends within a moment of its revocation', async () => {
    const { passed, refused, issue, registry, wait } = setUp(OWN)
    const { id, key } = await issue()
    await passed(bearer(key))
    await registry.revoke(id, { at: START, reason: 'canary' })
    await wait(500)
    const refusal = await refused(bearer(key))
    expect(refusal).toMatchObject({ status: 401, code: 'key_revoked' })
    expect(JSON.stringify(refusal)).not.toContain('canary')
  })

  it('is said to nobody who has only its id', async () => {
    const { refused, issue, registry } = setUp(OWN)
    const { id } = await issue()
    await registry.revoke(id, { at: START, reason: 'leaked' })
    expect((await refused(bearer(generateKey('live', id, systemRandom)))).code).toBe('invalid_key')
  })

  it('overlaps with its successor, which has the same id', async () => {
    const { passed, refused, issue, registry, deps, wait } = setUp(OWN)
    const { id, key } = await issue()
    const issuer = createKeyIssuer({ registry, pepper: PEPPER, clock: deps.clock, random: deps.random })
    const done = await issuer.rotate(id, { overlapMs: DAY })
    const next = done.type === 'rotated' ? done.key : ''
    for (const one of [key, next]) expect((await passed(bearer(one))).identity?.credential.id).toBe(id)
    await wait(DAY)
    expect(await refused(bearer(key))).toMatchObject({
      code: 'key_expired',
      message: expect.stringContaining('replaced'),
    })
    await passed(bearer(next))
  })

  it('counts anew with each rotation', async () => {
    const { passed, refused, issue, registry, wait } = setUp(OWN)
    const { id, key } = await issue()
    await wait(96 * DAY)
    expect((await passed(bearer(key))).replyHeaders).toEqual({ 'x-api-key-expires-in': '86400' })
    await wait(DAY)
    expect(await refused(bearer(key))).toMatchObject({ code: 'key_expired', message: expect.stringContaining('older') })
    const next = generateKey('live', id, systemRandom)
    const { hashKey } = await import('../../../policies/api-key/index.ts')
    await registry.rotate(id, { hash: hashKey(PEPPER, next), at: START + 97 * DAY, overlapMs: DAY })
    await wait(500)
    await passed(bearer(next))
    expect((await refused(bearer(key))).code).toBe('key_expired')
  })

  it('ends with its expiry', async () => {
    const { passed, refused, issue, wait } = setUp(OWN)
    const { key } = await issue({ expiresAt: START + 2 * DAY })
    expect((await passed(bearer(key))).replyHeaders).toEqual({ 'x-api-key-expires-in': String(2 * 86_400) })
    await wait(2 * DAY)
    expect(await refused(bearer(key))).toMatchObject({
      code: 'key_expired',
      message: expect.stringContaining('expiry'),
    })
  })

  it('is bound to its addresses, and to those of its owner', async () => {
    const { passed, refused, issue } = setUp({ ...OWN, addresses: { ada: ['10.0.0.0/8', '::1'] } })
    const { key } = await issue({ cidrs: ['10.1.0.0/16', '::/0'] })
    for (const address of ['10.1.2.3', '::1']) await passed(bearer(key, { address }))
    for (const address of ['10.2.2.3', '::2', '192.0.2.1', ''])
      expect((await refused(bearer(key, { address }))).code).toBe('address_not_allowed')
  })

  it('is over with a range that cannot be read, or with none at all', async () => {
    const { refused, issue } = setUp(OWN)
    expect((await refused(bearer((await issue({ cidrs: ['nonsense'] })).key))).message).toContain('cannot be read')
    expect((await refused(bearer((await issue({ cidrs: [] })).key))).code).toBe('address_not_allowed')
  })

  it('is noted, each secret by itself', async () => {
    const { passed, issue, registry } = setUp(OWN)
    const { id, key, record } = await issue()
    await passed(bearer(key))
    expect(await registry.lastUses([useName(id, record.secrets[0].hash), useName(id, 'other')])).toEqual([
      START,
      undefined,
    ])
  })

  it('ends by the deny list: by id, fingerprint or consumer', async () => {
    const { passed, refused, issue, revocations, wait } = setUp({ ...OWN, revocation: { poll_ms: 100 } })
    const keys = [await issue(), await issue(), await issue({ consumer: { id: 'eve' } })] as const
    for (const { key } of keys) await passed(bearer(key))
    const base = { reason: 'leaked', revokedAt: START }
    await revocations.revoke({ ...base, kind: 'credential', value: keys[0].id })
    await revocations.revoke({ ...base, kind: 'credential', value: fingerprintOf(keys[1].key) })
    await revocations.revoke({ ...base, kind: 'consumer', value: 'eve' })
    await wait(100)
    for (const { key } of keys) expect((await refused(bearer(key))).code).toBe('key_revoked')
    await passed(bearer((await issue()).key))
  })
})

it('says whose key it refused, to those who watch and not to the caller', async () => {
  const { refused, issue, registry, wait, revocations } = setUp({ ...OWN, revocation: { poll_ms: 100 } })
  const owner = (id: string) => ({ consumer: { id } })
  const revoked = await issue(owner('revoked'))
  await registry.revoke(revoked.id, { at: START, reason: 'leaked' })
  const now = START - 1
  const [replaced, expired, far, denied] = [
    await issue(owner('replaced')),
    await issue({ ...owner('expired'), expiresAt: now }),
    await issue({ ...owner('far'), cidrs: ['10.0.0.0/8'] }),
    await issue(owner('denied')),
  ]
  await registry.rotate(replaced.id, { hash: 'next', at: START, overlapMs: 1 })
  await revocations.revoke({ kind: 'consumer', value: 'denied', reason: 'left', revokedAt: START })
  await wait(600)
  for (const { key, id, record } of [revoked, replaced, expired, far, denied]) {
    const refusal = await refused(bearer(key))
    expect(refusal.identity).toMatchObject({ consumer: { id: record.consumer.id }, credential: { id } })
    const reply = refusalReply(refusal, { requestId: 'r' })
    expect(JSON.stringify(reply)).not.toContain(id)
    expect(JSON.stringify(refusal)).not.toContain(key.slice(-40))
  }
  for (const parts of [{}, bearer(stranger())]) expect((await refused(parts)).identity).toBeUndefined()
})

describe('a credential of the gateway', () => {
  it('goes before an own key', async () => {
    const { passed, issue, meddler } = setUp({ ...OWN, rotation: { age_from: 'created_at' } })
    const { key } = await issue()
    const caller: Caller = { credential: { id: 'k', createdAt: START / 1_000, tags: [] }, address: '192.0.2.1' }
    // Nor does anything that looks like a key travel on; a token may be for somebody else.
    expect(await passed(bearer(key, { caller }))).toEqual({
      type: 'pass',
      request: { removeHeaders: ['authorization'] },
    })
    const headers = { apikey: 'k', 'x-api-key': key, authorization: 'Bearer eyJhIjoxfQ.e30.c2ln' }
    expect((await passed({ caller, headers })).request?.removeHeaders).toEqual(['x-api-key', 'apikey'])
    expect(meddler.finds).toBe(0)
  })
})

describe('lockout', () => {
  const strict = { ...OWN, lockout: { failures: 3, within_seconds: 10, lock_seconds: 60 } }

  it('keeps an address out after too many wrong keys, without a read for each', async () => {
    const { refused, meddler, wait, issue, passed } = setUp(strict)
    for (let times = 0; times < 3; times++)
      expect((await refused(bearer(stranger()))).headers).not.toHaveProperty('retry-after')
    const reads = meddler.finds
    const { key } = await issue()
    for (const one of [stranger(), 'nonsense', key]) {
      const refusal = await refused(bearer(one))
      expect(refusal).toMatchObject({ status: 401, code: 'invalid_key', headers: { 'retry-after': '60' } })
    }
    expect(meddler.finds).toBe(reads)
    await passed(bearer(key, { address: '192.0.2.2' }))
    await wait(60_000)
    await passed(bearer(key))
  })

  it('leaves keys alone that were good just before', async () => {
    const { passed, refused, issue, wait } = setUp(strict)
    const { id, key } = await issue()
    await passed(bearer(key))
    for (let times = 0; times < 3; times++) await refused(bearer(stranger()))
    await wait(5_000)
    await passed(bearer(key))
    expect((await refused(bearer(generateKey('live', id, systemRandom)))).headers).toHaveProperty('retry-after')
  })

  it('counts IPv6 by /64, mapped addresses as IPv4, and nothing that is long ago', async () => {
    const { refused, wait } = setUp(strict)
    const locked = async (address: string) => 'retry-after' in ((await refused(bearer('x', { address }))).headers ?? {})
    for (const host of ['::1', '::2', '::3']) await locked(`2001:db8:0:1${host}`)
    expect(await locked('2001:db8:0:1:ffff::9')).toBe(true)
    expect(await locked('2001:db8:0:2::1')).toBe(false)
    for (const address of ['10.0.0.1', '::ffff:10.0.0.1', '10.0.0.1']) await locked(address)
    expect(await locked('10.0.0.1')).toBe(true)
    for (let times = 0; times < 5; times++) {
      await wait(5_000)
      expect(await locked('10.0.0.9')).toBe(false)
    }
  })

  it('begins to count anew once it is over', async () => {
    const { refused, wait } = setUp({ ...OWN, lockout: { failures: 3, within_seconds: 600, lock_seconds: 5 } })
    for (let times = 0; times < 3; times++) await refused(bearer(stranger()))
    await wait(5_000)
    for (let times = 0; times < 3; times++)
      expect((await refused(bearer(stranger()))).headers).not.toHaveProperty('retry-after')
    expect((await refused(bearer(stranger()))).headers).toHaveProperty('retry-after')
  })

  it('counts neither missing nor expired keys', async () => {
    const { refused, issue } = setUp(strict)
    const { key } = await issue({ expiresAt: START })
    for (let times = 0; times < 5; times++) {
      expect((await refused({})).message).toContain('no API key')
      expect((await refused(bearer(key))).code).toBe('key_expired')
    }
  })

  it('outlives the instance', async () => {
    const { refused, ...world } = setUp(strict)
    for (let times = 0; times < 3; times++) await refused(bearer(stranger()))
    expect((await setUp(strict, world).refused(bearer(stranger()))).headers).toHaveProperty('retry-after')
  })
})

describe('while the registry does not answer', () => {
  async function down(onError: string, more: object = {}) {
    const world = setUp({ ...OWN, on_store_error: onError, ...more })
    const known = await world.issue()
    await world.passed(bearer(known.key))
    await world.wait(1_000)
    world.meddler.failing = true
    return { ...world, known: known.key, unseen: (await world.issue()).key }
  }

  it('local: goes on with keys as last seen, and refuses others', async () => {
    const { passed, refused, known, unseen, wait } = await down('local')
    await passed(bearer(known))
    expect(await refused(bearer(unseen))).toMatchObject({ status: 503, code: 'policy_unavailable' })
    await wait(300_000)
    expect((await refused(bearer(known))).status).toBe(503)
  })

  it('deny: refuses all but what was just seen', async () => {
    const { refused, known, unseen } = await down('deny')
    for (const key of [known, unseen]) expect((await refused(bearer(key))).status).toBe(503)
  })

  it('allow: lets well-formed keys through as nobody', async () => {
    const { passed, refused, known, unseen } = await down('allow')
    expect((await passed(bearer(known))).identity).toBeDefined()
    const pass = await passed(bearer(unseen))
    expect(pass).toEqual({ type: 'pass', request: { removeHeaders: ['authorization'] } })
    expect((await refused(bearer('pc_nonsense'))).code).toBe('invalid_key')
  })

  it('stops asking, says so once, and goes on by itself', async () => {
    const { decide, passed, known, unseen, meddler, wait, lines, issue } = await down('local')
    for (let times = 0; times < 50; times++) await decide(bearer(stranger(), { address: `10.0.0.${times}` }))
    expect(meddler.finds).toBeLessThan(10)
    expect(lines.filter(({ message }) => message.includes('does not answer'))).toHaveLength(1)
    meddler.failing = false
    await wait(1_000)
    await passed(bearer(unseen))
    await passed(bearer(known))
    for (let times = 0; times < 3; times++) await passed(bearer((await issue()).key))
    expect(lines.at(-1)?.message).toBe('the key registry answers again')
  })

  it('forgets a key that the registry lost', async () => {
    const { refused, known, meddler, wait, registry } = await down('local')
    meddler.failing = false
    const { find } = registry
    Object.assign(registry, { find: async () => undefined })
    await wait(1_000)
    expect((await refused(bearer(known))).code).toBe('invalid_key')
    Object.assign(registry, { find })
    meddler.failing = true
    await wait(1_000)
    expect((await refused(bearer(known))).status).toBe(503)
  })

  it('shuts the door to a key that cannot be read, and to no other', async () => {
    const { decide, passed, issue, registry, wait } = setUp({ ...OWN, on_store_error: 'allow' })
    const [broken, whole] = [await issue(), await issue()]
    const { find } = registry
    const fault = new PortcullisError('store_fault', 'The key registry holds what is no key.')
    const findOrFail = (id: string) => (id === broken.id ? Promise.reject(fault) : find(id))
    Object.assign(registry, { find: findOrFail })
    for (let times = 0; times < 10; times++) await expect(decide(bearer(broken.key))).rejects.toBe(fault)
    await passed(bearer(whole.key))
    await wait(1_000)
    expect((await passed(bearer(whole.key))).identity).toBeDefined()
  })

  it('locks nobody out for keys that nobody could judge', async () => {
    const { refused, unseen, meddler, passed, wait } = await down('local', { lockout: { failures: 2 } })
    for (let times = 0; times < 4; times++) await refused(bearer(unseen))
    meddler.failing = false
    await wait(1_000)
    await passed(bearer(unseen))
  })
})

describe('in shadow', () => {
  it('lets everybody through, knows who is good, and sends no key upstream', async () => {
    const { passed, issue, meddler, wait } = setUp({ ...OWN, mode: 'shadow' })
    const { key } = await issue({ expiresAt: START + DAY })
    const good = await passed(bearer(key))
    expect(good).toMatchObject({ identity: { consumer: { id: 'ada' } }, request: { removeHeaders: ['authorization'] } })
    expect(good.replyHeaders).toBeUndefined()
    const bad = await passed(bearer(stranger()))
    expect(bad).toMatchObject({ wouldReject: { code: 'invalid_key' }, request: { removeHeaders: ['authorization'] } })
    expect(bad.identity).toBeUndefined()
    meddler.failing = true
    await wait(DAY)
    expect(await passed(bearer(stranger()))).toMatchObject({ wouldReject: { code: 'policy_unavailable' } })
  })

  it('takes keys away when it fails, and only those where it knows them', async () => {
    const { instance, registry, issue, passed, lines } = setUp({ ...OWN, mode: 'shadow' })
    const fault = new PortcullisError('store_fault', 'The key registry holds what is no key.')
    Object.assign(registry, { find: () => Promise.reject(fault) })
    const { key } = await issue()
    const refusal = { wouldReject: { code: 'policy_unavailable' } }
    expect(await passed(bearer(key))).toMatchObject({ ...refusal, request: { removeHeaders: ['authorization'] } })
    const caller = () => Promise.reject(new Error('gone'))
    const blind = await instance.decide({ ...exchange(bearer(key)), caller })
    expect(blind).toMatchObject({ ...refusal, request: { removeHeaders: expect.arrayContaining(['x-api-key']) } })
    expect(lines.map(({ message }) => message)).toContain('policy fault in shadow mode')
  })
})

it('remembers a bounded number of keys, and keeps good ones through a flood', async () => {
  const { createKeyLookup } = await import('../../../policies/api-key/lookup.ts')
  const world = createWorld()
  const { id } = await world.issue()
  const { deps, registry, meddler } = world
  const lookup = createKeyLookup({ registry, clock: deps.clock, logger: deps.logger, cacheMs: 500 })
  await lookup.find(id)
  for (let index = 0; index < 100_000; index++) await lookup.find(`wrong-${index}`)
  expect(meddler.finds).toBe(100_001)
  expect(lookup.size).toBeLessThanOrEqual(40_001)
  expect(await lookup.find(id)).toMatchObject({ type: 'found' })
  expect(meddler.finds).toBe(100_001)
})
