/** Every backend, killed between any two steps. */

import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openDeckFile } from '../../../../plugins/cli/keys/backends/deck-file.ts'
import { createKongBackend } from '../../../../plugins/cli/keys/backends/kong.ts'
import { createKongAdmin } from '../../../../plugins/cli/keys/backends/kong-admin.ts'
import { createRegistryBackend } from '../../../../plugins/cli/keys/backends/registry.ts'
import { createMint } from '../../../../plugins/cli/keys/minting.ts'
import type { KeyBackend, ManagedKey, SecretOutput, StagedSecret } from '../../../../plugins/cli/keys/ports.ts'
import { findEnded } from '../../../../plugins/cli/keys/pruning.ts'
import { currentOf, planRotation, runRotation } from '../../../../plugins/cli/keys/rotation.ts'
import { createMemoryRegistry, generateKey, hashKey, newKeyId } from '../../../../policies/api-key/index.ts'
import { startKongAdmin } from '../../../support/kong-admin/server.ts'
import { DAY, START, temporaryFolder, testWorld } from './support.ts'

const PEPPER = 'pepper '.repeat(6)
const GRACE = 7 * DAY
const OLD = START - 100 * DAY

/** Counts steps, and ends a run at one of them as a kill would. */
interface Fuse {
  tick(): void
}

class Killed extends Error {}

function fuseAt(step: number): Fuse & { readonly ticks: number } {
  let ticks = 0
  return {
    get ticks() {
      return ticks
    },
    tick() {
      if (ticks === step) throw new Killed()
      ticks += 1
    },
  }
}

/** Ticks before and after every call of an async method. */
function fused<T extends object>(target: T, fuse: Fuse): T {
  return new Proxy(target, {
    get(object, name, receiver) {
      const member: unknown = Reflect.get(object, name, receiver)
      if (typeof member !== 'function') return member
      return (...args: unknown[]) => {
        fuse.tick()
        const result: unknown = Reflect.apply(member, object, args)
        if (!(result instanceof Promise)) return result
        return result.then((value: unknown) => {
          fuse.tick()
          return value
        })
      }
    },
  })
}

interface Place {
  open(fuse: Fuse): Promise<KeyBackend>
  /** Whether a caller with this secret gets in. */
  accepts(secret: string): Promise<boolean>
  readonly first: readonly string[]
}

interface Kind {
  readonly name: string
  make(world: ReturnType<typeof testWorld>): Promise<Place>
}

const tag = `pc-issued:${new Date(OLD).toISOString().slice(0, 10)}`
const names = ['ann', 'bea', 'cid']

const kinds: readonly Kind[] = [
  {
    name: 'a declarative file',
    async make({ clock, random }) {
      const path = join(temporaryFolder(), 'kong.yml')
      const lines = names.flatMap((name) => [
        `- username: ${name} # ${name}`,
        '  keyauth_credentials:',
        `  - {key: key-of-${name}, tags: ["${tag}", mine]}`,
      ])
      writeFileSync(path, ['consumers:', ...lines, ''].join('\n'), { mode: 0o640 })
      return {
        open: async (fuse) => fused(await openDeckFile({ path, clock, mint: createMint('live', random) }), fuse),
        accepts: async (secret) => readFileSync(path, 'utf8').includes(secret),
        first: names.map((name) => `key-of-${name}`),
      }
    },
  },
  {
    name: 'the Admin API (a stand-in)',
    async make({ clock, random }) {
      const kong = await startKongAdmin()
      onTestFinished(() => kong.close())
      for (const name of names) kong.addCredential(kong.addConsumer(name), `key-of-${name}`, [tag, 'mine'], OLD / 1000)
      return {
        async open(fuse) {
          const admin = createKongAdmin({ address: kong.url, tokenHeader: 'kong-admin-token', allowHttp: false })
          return createKongBackend({ admin: fused(admin, fuse), clock, mint: createMint('live', random) })
        },
        accepts: async (secret) => [...kong.credentials.values()].some(({ key }) => key === secret),
        first: names.map((name) => `key-of-${name}`),
      }
    },
  },
  {
    name: 'the registry',
    async make({ clock, random }) {
      const registry = createMemoryRegistry()
      const first: string[] = []
      for (const name of names) {
        const id = newKeyId(random)
        const key = generateKey('live', id, random)
        first.push(key)
        await registry.issue({
          id,
          env: 'live',
          consumer: { id: name },
          tags: ['mine'],
          createdAt: OLD,
          secrets: [{ hash: hashKey(PEPPER, key), issuedAt: OLD }],
        })
      }
      return {
        async open(fuse) {
          const mint = createMint('live', random)
          const options = { pepper: () => PEPPER, env: 'live', mint, clock, random }
          return createRegistryBackend({ registry: fused(registry, fuse), ...options })
        },
        async accepts(secret) {
          const now = clock.now()
          for await (const { secrets } of registry.list())
            for (const { hash, validUntil = now + 1 } of secrets)
              if (hash === hashKey(PEPPER, secret) && validUntil > now) return true
          return false
        },
        first,
      }
    },
  },
]

/** What was delivered, in order. A second delivery of a secret is none. */
function shelf(): { readonly secrets: StagedSecret[]; readonly output: SecretOutput } {
  const secrets: StagedSecret[] = []
  return {
    secrets,
    output: {
      name: 'a shelf',
      isStdout: false,
      async deliver(secret) {
        secrets.push(secret)
      },
      async flush() {},
      async close() {},
    },
  }
}

async function rotate(place: Place, output: SecretOutput, now: number, fuse: Fuse): Promise<readonly StagedSecret[]> {
  const backend = await place.open(fuse)
  const keys = await backend.list()
  const steps = planRotation(keys, { issuedBefore: now - 60 * DAY, unknownAge: false, now })
  return runRotation({ backend, output: fused(output, fuse), steps, retireAt: now + GRACE, progress() {} })
}

async function listed(place: Place): Promise<readonly ManagedKey[]> {
  return (await place.open(fuseAt(-1))).list()
}

describe.each(kinds)('$name', ({ make }) => {
  it('rotates what is old, and nothing the second time', async () => {
    const world = testWorld()
    const place = await make(world)
    const { output, secrets } = shelf()
    expect(await rotate(place, output, world.now, fuseAt(-1))).toHaveLength(3)
    expect(await rotate(place, output, world.now, fuseAt(-1))).toHaveLength(0)
    expect(secrets).toHaveLength(3)
    for (const key of await listed(place)) {
      expect(key.versions.map(({ state }) => state).toSorted()).toEqual(['current', 'retired'])
      expect(key.tags).toEqual(['mine'])
      expect(key.versions.find(({ state }) => state === 'retired')?.expiresAt).toBe(world.now + GRACE)
    }
    for (const secret of [...place.first, ...secrets.map(({ reveal }) => reveal())])
      expect(await place.accepts(secret)).toBe(true)
  })

  it('keeps the stable id through rotations, and removes what was replaced only after its grace time', async () => {
    const world = testWorld()
    const place = await make(world)
    await rotate(place, shelf().output, world.now, fuseAt(-1))
    const ids = (await listed(place)).map(({ id }) => id)
    world.now += GRACE - 1000
    expect(findEnded(await listed(place), world.now)).toEqual([])
    world.now += 1000
    const backend = await place.open(fuseAt(-1))
    await backend.prune(findEnded(await backend.list(), world.now))
    for (const { versions } of await listed(place)) expect(versions.map(({ state }) => state)).toEqual(['current'])
    for (const secret of place.first) expect(await place.accepts(secret)).toBe(false)
    world.now += 90 * DAY
    await rotate(place, shelf().output, world.now, fuseAt(-1))
    expect((await listed(place)).map(({ id }) => id)).toEqual(ids)
    expect(new Set(ids).size).toBe(3)
  })

  it('loses nothing when it is killed between any two steps', async () => {
    const whole = fuseAt(-1)
    const measured = testWorld()
    await rotate(await make(measured), shelf().output, measured.now, whole)
    expect(whole.ticks).toBeGreaterThan(4)
    for (let step = 0; step < whole.ticks; step++) {
      const world = testWorld()
      const place = await make(world)
      const { output, secrets } = shelf()
      await expect(rotate(place, output, world.now, fuseAt(step))).rejects.toThrow(Killed)
      for (const secret of place.first) expect(await place.accepts(secret)).toBe(true)
      await rotate(place, output, world.now, fuseAt(-1))
      expect(await rotate(place, output, world.now, fuseAt(-1))).toHaveLength(0)
      const keys = await listed(place)
      expect(keys.map(({ owner }) => owner).toSorted()).toEqual(names)
      for (const key of keys) {
        expect(key.versions.map(({ state }) => state).toSorted()).toEqual(['current', 'retired'])
        const last = secrets.findLast(({ id }) => id === key.id)?.reveal() ?? ''
        expect(await place.accepts(last)).toBe(true)
        const reveal = currentOf(key)?.reveal
        if (reveal !== undefined) expect(last).toBe(reveal())
      }
    }
  })

  it('takes up a key whose issuing was cut short', async () => {
    const world = testWorld()
    const place = await make(world)
    const backend = await place.open(fuseAt(-1))
    const secret = await backend.issue({ owner: 'ann', tags: ['fresh'], lifetimeMs: 30 * DAY })
    expect(secret.expiresAt).toBe(world.now + 30 * DAY)
    const { output, secrets } = shelf()
    await rotate(place, output, world.now, fuseAt(-1))
    const found = (await listed(place)).find(({ id }) => id === secret.id)
    // The registry knows nothing of a key before it is confirmed.
    if (found === undefined) expect(await place.accepts(secret.reveal())).toBe(false)
    else {
      expect(found.versions.map(({ state }) => state)).toEqual(['current'])
      expect(secrets.map(({ reveal }) => reveal())).toContain(secret.reveal())
    }
  })

  it('keeps the lifetime a key was issued with', async () => {
    const world = testWorld()
    const place = await make(world)
    const backend = await place.open(fuseAt(-1))
    const issued = await backend.issue({ owner: 'ann', tags: [], lifetimeMs: 80 * DAY })
    await backend.confirm([issued], world.now)
    world.now += 61 * DAY
    const { output, secrets } = shelf()
    await rotate(place, output, world.now, fuseAt(-1))
    expect(secrets.find(({ id }) => id === issued.id)?.expiresAt).toBe(world.now + 80 * DAY)
  })

  it('revokes a key with all its secrets', async () => {
    const world = testWorld()
    const place = await make(world)
    const { output, secrets } = shelf()
    await rotate(place, output, world.now, fuseAt(-1))
    const backend = await place.open(fuseAt(-1))
    const [key] = (await backend.list()).filter(({ owner }) => owner === 'bea')
    if (key === undefined) throw new Error('no key')
    await backend.revoke(key, 'leaked')
    const left = (await listed(place)).filter(({ owner }) => owner === 'bea')
    expect(left.every(({ revoked }) => revoked === true)).toBe(true)
    expect(secrets.filter(({ owner }) => owner === 'ann')).toHaveLength(1)
    const plan = planRotation(await listed(place), { issuedBefore: Infinity, unknownAge: true, now: world.now })
    expect(plan.map(({ key }) => key.owner).toSorted()).toEqual(['ann', 'cid'])
  })
})

it('keeps the mode of a file', async () => {
  const world = testWorld()
  const path = join(temporaryFolder(), 'kong.yml')
  writeFileSync(path, 'consumers: [{username: a}]\n', { mode: 0o640 })
  const backend = await openDeckFile({ path, clock: world.clock, mint: createMint('live', world.random) })
  await backend.issue({ owner: 'a', tags: [] })
  expect(statSync(path).mode & 0o777).toBe(0o640)
})

it('refuses a file that somebody changed meanwhile', async () => {
  const world = testWorld()
  const path = join(temporaryFolder(), 'kong.yml')
  writeFileSync(path, 'consumers: [{username: a}]\n')
  const backend = await openDeckFile({ path, clock: world.clock, mint: createMint('live', world.random) })
  writeFileSync(path, 'consumers: [{username: a}, {username: b}]\n')
  await expect(backend.issue({ owner: 'a', tags: [] })).rejects.toMatchObject({ code: 'file_changed' })
  expect(readFileSync(path, 'utf8')).toBe('consumers: [{username: a}, {username: b}]\n')
})

it('lets only one of two runs at a time rotate a key of Kong', async () => {
  const [, kind] = kinds
  const world = testWorld()
  const place = await kind?.make(world)
  if (place === undefined) throw new Error('no stand-in')
  const shelves = [shelf(), shelf(), shelf()]
  await Promise.all(shelves.map(({ output }) => rotate(place, output, world.now, fuseAt(-1)).catch(() => [])))
  await rotate(place, shelf().output, world.now, fuseAt(-1))
  for (const { versions } of await listed(place))
    expect(versions.map(({ state }) => state).toSorted()).toEqual(['current', 'retired'])
  for (const { secrets } of shelves) for (const { reveal } of secrets) expect(await place.accepts(reveal())).toBe(true)
})

it('leaves a key of Kong as it is that another run has rotated since it looked', async () => {
  const world = testWorld()
  const place = await kinds[1]?.make(world)
  if (place === undefined) throw new Error('no stand-in')
  const slow = await place.open(fuseAt(-1))
  const steps = planRotation(await slow.list(), { issuedBefore: world.now, unknownAge: false, now: world.now })
  await rotate(place, shelf().output, world.now, fuseAt(-1))
  const before = await listed(place)
  const { output, secrets } = shelf()
  await runRotation({ backend: slow, output, steps, retireAt: world.now + GRACE, progress() {} })
  expect(secrets).toEqual([])
  const plain = (keys: readonly ManagedKey[]) => JSON.stringify(keys)
  expect(plain(await listed(place))).toBe(plain(before))
})

it('says that a secret of the registry is not valid when somebody else was faster', async () => {
  const world = testWorld()
  const place = await kinds[2]?.make(world)
  if (place === undefined) throw new Error('no registry')
  const slow = await place.open(fuseAt(-1))
  const staged = await slow.stage(await slow.list())
  world.now += 1000
  await rotate(place, shelf().output, world.now, fuseAt(-1))
  await expect(slow.confirm(staged, world.now + GRACE)).rejects.toMatchObject({ code: 'rotated_meanwhile' })
  for (const { reveal } of staged) expect(await place.accepts(reveal())).toBe(false)
})
