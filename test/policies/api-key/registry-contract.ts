/** What every registry must do. */

import { expect, it } from 'vitest'
import { systemRandom } from '../../../plugins/deps.ts'
import {
  createKeyIssuer,
  generateKey,
  hashKey,
  type KeyRegistry,
  parseKey,
  useName,
} from '../../../policies/api-key/index.ts'
import { MAX_SECRETS } from '../../../policies/api-key/record.ts'
import { all, DAY, makeKey, PEPPER } from './support.ts'

const HOUR = 3_600_000

export function registryContract(open: () => KeyRegistry): void {
  it('finds what was issued, and nothing else', async () => {
    const registry = open()
    const { id, record } = makeKey({
      consumer: { id: 'ada', username: 'Ada "é世😀"', customId: '', tags: ['gold'] },
      tags: ['a', ''],
      scopes: [],
      cidrs: ['10.0.0.0/8'],
      expiresAt: Date.now() + DAY,
    })
    await registry.issue(record)
    expect(await registry.find(id)).toEqual(record)
    expect(await registry.find(makeKey().id)).toBeUndefined()
    expect(await registry.find('')).toBeUndefined()
    expect(await registry.find('__proto__')).toBeUndefined()
  })

  it('issues no id twice', async () => {
    const registry = open()
    const { id, record } = makeKey()
    await registry.issue(record)
    await expect(registry.issue(makeKey({ id }).record)).rejects.toMatchObject({ code: 'key_exists' })
    expect(await registry.find(id)).toEqual(record)
  })

  it('rotates under the same id, and keeps the old secret for the overlap', async () => {
    const registry = open()
    const { id, record } = makeKey()
    await registry.issue(record)
    const at = Date.now() + 60 * DAY
    const hash = hashKey(PEPPER, generateKey('live', id, systemRandom))
    const done = await registry.rotate(id, { hash, at, overlapMs: HOUR, expiresAt: at + 90 * DAY })
    const [old] = record.secrets
    const next = {
      ...record,
      expiresAt: at + 90 * DAY,
      secrets: [
        { hash, issuedAt: at },
        { ...old, validUntil: at + HOUR },
      ],
    }
    expect(done).toEqual({ type: 'rotated', record: next })
    expect(await registry.find(id)).toEqual(next)
  })

  it('drops what is past its overlap, and leaves none without one', async () => {
    const registry = open()
    const { id, record } = makeKey()
    await registry.issue(record)
    const at = Date.now()
    await registry.rotate(id, { hash: 'second', at, overlapMs: HOUR })
    await registry.rotate(id, { hash: 'third', at: at + 2 * HOUR, overlapMs: HOUR })
    expect((await registry.find(id))?.secrets.map(({ hash }) => hash)).toEqual(['third', 'second'])
    await registry.rotate(id, { hash: 'fourth', at: at + 4 * HOUR, overlapMs: 0 })
    expect((await registry.find(id))?.secrets.map(({ hash }) => hash)).toEqual(['fourth'])
  })

  it('rotates once, however often the same rotation is asked for', async () => {
    const registry = open()
    const { id, record } = makeKey()
    await registry.issue(record)
    const rotation = { hash: 'next', at: Date.now(), overlapMs: HOUR }
    const first = await registry.rotate(id, rotation)
    expect(await registry.rotate(id, { ...rotation, at: rotation.at + 5 })).toEqual(first)
    expect((await registry.find(id))?.secrets).toHaveLength(2)
  })

  it('repeats a run over all keys without rotating any twice', async () => {
    const registry = open()
    const old = Array.from({ length: 20 }, () => makeKey({ secrets: [{ hash: 'x', issuedAt: 1_000 }] }))
    for (const { record } of old) await registry.issue(record)
    const issuer = createKeyIssuer({ registry, pepper: PEPPER, clock: { now: () => 5_000 }, random: systemRandom })
    const rotate = (id: string) => issuer.rotate(id, { overlapMs: HOUR, issuedBefore: 2_000 })
    // The first run is cut short.
    for (const { id } of old.slice(0, 7)) expect((await rotate(id)).type).toBe('rotated')
    const ended = await Promise.all(old.map(({ id }) => rotate(id)))
    expect(ended.filter(({ type }) => type === 'rotated')).toHaveLength(13)
    expect(ended.filter(({ type }) => type === 'not_due')).toHaveLength(7)
    for (const record of await all(registry.list())) expect(record.secrets).toHaveLength(2)
  })

  it('lets one of many rotations at once win each time, and loses none', async () => {
    const registry = open()
    const { id, record } = makeKey()
    await registry.issue(record)
    const at = Date.now()
    await Promise.all(['a', 'b', 'c'].map((hash) => registry.rotate(id, { hash, at, overlapMs: HOUR })))
    const hashes = (await registry.find(id))?.secrets.map(({ hash }) => hash)
    expect(hashes?.toSorted()).toEqual(['a', 'b', 'c', record.secrets[0].hash].toSorted())
    const due = { issuedBefore: at, overlapMs: HOUR }
    expect((await registry.rotate(id, { hash: 'd', at, ...due })).type).toBe('not_due')
  })

  it('bounds the secrets of a key', async () => {
    const registry = open()
    const { id, record } = makeKey()
    await registry.issue(record)
    const at = Date.now()
    for (let times = 1; times < MAX_SECRETS; times++)
      await registry.rotate(id, { hash: `h${times}`, at: at + times, overlapMs: HOUR })
    const more = { hash: 'more', at: at + 10, overlapMs: HOUR }
    await expect(registry.rotate(id, more)).rejects.toMatchObject({ code: 'too_many_rotations' })
    expect((await registry.find(id))?.secrets).toHaveLength(MAX_SECRETS)
  })

  it('revokes for good, and keeps the first reason', async () => {
    const registry = open()
    const { id, record } = makeKey()
    await registry.issue(record)
    const revocation = { at: 5, reason: 'leaked' }
    expect(await registry.revoke(id, revocation)).toEqual({ ...record, revoked: revocation })
    expect(await registry.revoke(id, { at: 9, reason: 'again' })).toEqual({ ...record, revoked: revocation })
    expect((await registry.rotate(id, { hash: 'n', at: 9, overlapMs: 0 })).type).toBe('revoked')
    expect(await registry.find(id)).toEqual({ ...record, revoked: revocation })
    expect(await registry.revoke(makeKey().id, revocation)).toBeUndefined()
    expect(await registry.rotate(makeKey().id, { hash: 'n', at: 9, overlapMs: 0 })).toEqual({ type: 'unknown' })
  })

  it('lists thousands, each once', async () => {
    const registry = open()
    expect(await all(registry.list())).toEqual([])
    const keys = Array.from({ length: 3_000 }, () => makeKey())
    await Promise.all(keys.map(({ record }) => registry.issue(record)))
    const found = await all(registry.list())
    expect(found.map(({ id }) => id).toSorted()).toEqual(keys.map(({ id }) => id).toSorted())
  })

  it('knows when a secret was last used, and never goes back', async () => {
    const registry = open()
    const { id, record } = makeKey()
    const name = useName(id, record.secrets[0].hash)
    expect(await registry.lastUses([name])).toEqual([undefined])
    await registry.noteUse(name, 1_700_000_000_123)
    await registry.noteUse(name, 1_600_000_000_000)
    expect(await registry.lastUses([useName(id, 'other'), name])).toEqual([undefined, 1_700_000_000_123])
    expect(await registry.lastUses(Array.from({ length: 250 }, () => name))).toHaveLength(250)
  })

  it('issues keys that the registry knows by their hash only', async () => {
    const registry = open()
    const issuer = createKeyIssuer({ registry, pepper: PEPPER, clock: { now: () => 7 }, random: systemRandom })
    const { key, record } = await issuer.issue({ env: 'test', consumer: { id: 'ada' }, expiresAt: 9 })
    expect(parseKey(key)).toEqual({ env: 'test', id: record.id })
    expect(await registry.find(record.id)).toEqual(record)
    expect(record.secrets).toEqual([{ hash: hashKey(PEPPER, key), issuedAt: 7 }])
    expect(JSON.stringify(await registry.find(record.id))).not.toContain(key.slice(-49))
  })

  it('keeps nothing of a key that could not be handed over', async () => {
    const registry = open()
    const issuer = createKeyIssuer({ registry, pepper: PEPPER, clock: { now: () => 7 }, random: systemRandom })
    const full = () => Promise.reject(new Error('disk full'))
    await expect(issuer.issue({ env: 'test', consumer: { id: 'ada' } }, full)).rejects.toThrow('disk full')
    expect(await all(registry.list())).toEqual([])
    const { record } = await issuer.issue({ env: 'test', consumer: { id: 'ada' } })
    await expect(issuer.rotate(record.id, { overlapMs: 0 }, full)).rejects.toThrow('disk full')
    expect(await registry.find(record.id)).toEqual(record)
  })
}
