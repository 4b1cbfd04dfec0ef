import { describe, expect, it, onTestFinished } from 'vitest'
import {
  createDenyList,
  createMemoryRevocations,
  type Revocation,
  type RevocationStore,
  type Subject,
} from '../../../policies/revocation/index.ts'
import { createWorld, START } from '../scope/support.ts'

const POLL = 250

async function setUp(wrap: (store: RevocationStore) => RevocationStore = (store) => store) {
  const world = createWorld()
  const store = createMemoryRevocations(world.deps)
  const list = createDenyList({ ...world.deps, store: wrap(store), pollMs: POLL, staleMs: 1_000 })
  onTestFinished(() => list.close())
  await list.state()
  /** Lets the clock run, and what it started end. */
  async function wait(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= POLL) {
      world.wait(Math.min(left, POLL))
      await new Promise((done) => setImmediate(done))
    }
  }
  async function revoke(parts: Pick<Revocation, 'kind' | 'value'> & Partial<Revocation>): Promise<void> {
    await store.revoke({ reason: 'leaked', revokedAt: START, ...parts })
    await wait(POLL)
  }
  return { ...world, store, list, wait, revoke, hits: (subject: Subject) => list.find(subject) !== undefined }
}

describe('the deny list', () => {
  it.each<[Pick<Revocation, 'kind' | 'value'> & Partial<Revocation>, Subject, boolean]>([
    [{ kind: 'jti', value: 't' }, { jti: 't' }, true],
    [{ kind: 'jti', value: 't' }, { jti: 'u' }, false],
    [{ kind: 'jti', value: 't' }, { sub: 't' }, false],
    [{ kind: 'jti', value: 't', issuer: 'a' }, { jti: 't', issuer: 'a' }, true],
    [{ kind: 'jti', value: 't', issuer: 'a' }, { jti: 't', issuer: 'b' }, false],
    [{ kind: 'jti', value: 't', issuer: 'a' }, { jti: 't' }, false],
    [{ kind: 'sub', value: 'ada' }, { sub: 'ada', issuer: 'b' }, true],
    [{ kind: 'sub', value: 'ada' }, { sub: 'Ada' }, false],
    [{ kind: 'credential', value: 'f' }, { credential: ['id', 'f'] }, true],
    [{ kind: 'consumer', value: 'ada' }, { consumer: ['c-1', 'ada'] }, true],
    [{ kind: 'consumer', value: 'ada' }, { credential: ['ada'] }, false],
    [{ kind: 'jti', value: '__proto__' }, { jti: 'toString' }, false],
    [{ kind: 'jti', value: 't' }, {}, false],
  ])('%j and %j: %s', async (revoked, subject, expected) => {
    const { revoke, hits } = await setUp()
    await revoke(revoked)
    expect(hits(subject)).toBe(expected)
  })

  it('forgets what has expired, and nothing else', async () => {
    const { store, list, wait } = await setUp()
    const revocation = { kind: 'jti', reason: 'logout', revokedAt: START } as const
    for (let index = 0; index < 3_000; index++)
      await store.revoke({ ...revocation, value: `t${index}`, expiresAt: START + 1_000 })
    for (const issuer of ['a', 'b'])
      await store.revoke({ ...revocation, value: 't0', issuer, expiresAt: START + (issuer === 'a' ? 1_000 : 1e9) })
    await store.revoke({ ...revocation, kind: 'sub', value: 'ada' })
    await wait(POLL)
    expect(list.size).toBe(3_001)
    await wait(3_600_000 + 10 * POLL)
    expect(list.size).toBe(2)
    expect([list.find({ jti: 't0', issuer: 'b' }), list.find({ sub: 'ada' })].map((hit) => hit?.kind)).toEqual([
      'jti',
      'sub',
    ])
  })

  it('finds a revocation again when a clock that was ahead comes back', async () => {
    const { deps, store } = await setUp()
    await store.revoke({ kind: 'jti', value: 't', reason: 'leaked', revokedAt: START, expiresAt: START + 60_000 })
    let ahead = 0
    const clock = { ...deps.clock, now: () => deps.clock.now() + ahead }
    const list = createDenyList({ ...deps, clock, store, pollMs: POLL, staleMs: 1_000 })
    onTestFinished(() => list.close())
    await list.state()
    ahead = 600_000
    expect(list.find({ jti: 't' })).toBeUndefined()
    ahead = 0
    expect(list.find({ jti: 't' })).toBeDefined()
  })

  it('ends with the expiry, by the node’s own clock', async () => {
    const { revoke, hits, wait } = await setUp()
    await revoke({ kind: 'sub', value: 'ada', expiresAt: START + 1_000 })
    expect(hits({ sub: 'ada' })).toBe(true)
    await wait(1_000)
    expect(hits({ sub: 'ada' })).toBe(false)
  })

  it('ends when it is lifted', async () => {
    const { revoke, hits, store, wait } = await setUp()
    await revoke({ kind: 'sub', value: 'ada' })
    await store.lift({ kind: 'sub', value: 'ada' })
    await wait(POLL)
    expect(hits({ sub: 'ada' })).toBe(false)
  })

  it('goes stale while the store fails, says so once, and keeps what it knows', async () => {
    let broken = false
    const { revoke, hits, list, lines, wait } = await setUp((store) => ({
      ...store,
      changes: (cursor) => (broken ? Promise.reject(new Error('password=hunter2')) : store.changes(cursor)),
    }))
    await revoke({ kind: 'sub', value: 'ada' })
    broken = true
    await wait(500)
    expect(list.state()).toBe('fresh')
    await wait(2_000)
    expect(list.state()).toBe('stale')
    expect(hits({ sub: 'ada' })).toBe(true)
    broken = false
    await wait(POLL)
    expect(list.state()).toBe('fresh')
    expect(lines.map(({ level }) => level)).toEqual(['error', 'info'])
    expect(JSON.stringify(lines)).not.toContain('hunter2')
  })

  it('reads on behind what cannot be read, says so once, and reads it again until it can', async () => {
    let unreadable = false
    const asked: (string | undefined)[] = []
    const { revoke, hits, list, lines, store, wait } = await setUp((inner) => ({
      ...inner,
      async changes(cursor) {
        asked.push(cursor)
        const changes = await inner.changes(cursor)
        const hidden = changes.revoked.filter(({ value }) => unreadable && value === 'newer')
        const revoked = changes.revoked.filter((one) => !hidden.includes(one))
        return { ...changes, revoked, unreadable: hidden.length }
      },
    }))
    await revoke({ kind: 'sub', value: 'ada' })
    const before = asked.at(-1)
    unreadable = true
    await revoke({ kind: 'sub', value: 'newer' })
    expect(list.state()).toBe('stale')
    await revoke({ kind: 'sub', value: 'bob' })
    expect([hits({ sub: 'ada' }), hits({ sub: 'newer' }), hits({ sub: 'bob' })]).toEqual([true, false, true])
    await wait(20_000)
    expect(list.state()).toBe('stale')
    unreadable = false
    await wait(20_000)
    expect(list.state()).toBe('fresh')
    expect(hits({ sub: 'newer' })).toBe(true)
    expect(before).toBeDefined()
    expect(lines.map(({ level }) => level)).toEqual(['error', 'info'])
    await store.lift({ kind: 'sub', value: 'newer' })
    await wait(POLL)
    expect(hits({ sub: 'newer' })).toBe(false)
  })

  it('goes on behind the last page that came when the store fails between pages', async () => {
    const asked: (string | undefined)[] = []
    const pages = [{ cursor: '1', more: true }, undefined, { cursor: '2', more: false }]
    const { list, wait } = await setUp((store) => ({
      ...store,
      async changes(cursor) {
        asked.push(cursor)
        const page = asked.length <= pages.length ? pages[asked.length - 1] : { cursor: '2', more: false }
        if (page === undefined) throw new Error('down')
        return { ...page, revoked: [], lifted: [], unreadable: 0 }
      },
    }))
    await wait(POLL)
    expect(asked.slice(0, 3)).toEqual([undefined, '1', '1'])
    expect(list.state()).toBe('fresh')
  })

  it('is stale from the start where something cannot be read, not empty', async () => {
    const { list } = await setUp((store) => ({
      ...store,
      changes: async (cursor) => ({ ...(await store.changes(cursor)), unreadable: 1 }),
    }))
    expect(await list.state()).toBe('stale')
  })

  it('is empty before the first answer', async () => {
    const { list } = await setUp((store) => ({ ...store, changes: () => Promise.reject(new Error('down')) }))
    expect(await list.state()).toBe('empty')
  })
})
