import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { apiKey } from '../../../policies/api-key/index.ts'
import type { Caller, Deps, Policy } from '../../../policies/policy.ts'
import { openRevocationStore, type RevocationKey, revocationFields } from '../../../policies/revocation/index.ts'
import type { Fields } from '../../../policies/schema/fields.ts'
import { parseConfig, parsePolicyConfig } from '../../../policies/schema/parse.ts'
import { scope } from '../../../policies/scope/index.ts'
import { tokenLimit } from '../../../policies/token-limit/index.ts'
import { loadPolicies } from '../../support/policies.ts'
import { haveRedisServer } from '../../support/redis/backends.ts'
import { freePort, type RedisServer, startRedis } from '../../support/redis/server.ts'
import { exchange } from '../scope/support.ts'
import { createNode } from './support.ts'

const CALLER: Caller = {
  consumer: { id: 'c-1', username: 'ada', customId: 'x-1', tags: [], groups: [] },
  credential: { id: 'k-1', fingerprint: 'f00d', tags: ['llm:*'] },
  claims: { iss: 'https://idp', jti: 't-1', sub: 'ada@idp', scope: 'llm:*' },
  address: '192.0.2.1',
}

interface Candidate {
  readonly policy: Policy<Fields>
  readonly config: Readonly<Record<string, unknown>>
}

/** Every policy that honours the deny list. */
const POLICIES: readonly (readonly [name: string, candidate: Candidate])[] = [
  ['llm-scope', { policy: scope as unknown as Policy<Fields>, config: {} }],
  ['llm-api-key', { policy: apiKey as unknown as Policy<Fields>, config: { rotation: { on_unknown_age: 'allow' } } }],
  [
    'llm-token-limit',
    {
      policy: tokenLimit as unknown as Policy<Fields>,
      config: { limits: [{ name: 'tokens', limit: 1_000_000, window_seconds: 60 }] },
    },
  ],
]

function make({ policy, config }: Candidate, deps: Deps, revocation: object, more: object = {}) {
  const instance = policy.create(parsePolicyConfig(policy, { ...config, ...more, revocation }), deps)
  const ask = async (caller: Caller = CALLER) => {
    const decision = await instance.decide(exchange({ caller }))
    return decision.type === 'pass'
      ? `pass${decision.wouldReject ? ` ${decision.wouldReject.code}` : ''}`
      : decision.code
  }
  return { instance, ask }
}

const MEMORY = { store: 'memory', poll_ms: 20 }

async function revoke(deps: Deps, revocation: object, key: RevocationKey): Promise<void> {
  const store = openRevocationStore(parseConfig(revocationFields, revocation), deps)
  await store.revoke({ ...key, reason: 'left the company', revokedAt: deps.clock.now() })
}

it('is honoured by every policy that decides: the audit log does not', async () => {
  const all = (await loadPolicies()).map(({ name, fields }) => [name, 'revocation' in fields] as const)
  const honoured = all.filter(([, takes]) => takes).map(([name]) => name)
  expect(honoured.toSorted()).toEqual([...POLICIES.map(([name]) => name), 'llm-gateway'].toSorted())
  expect(all.filter(([, takes]) => !takes).map(([name]) => name)).toEqual(['llm-audit-log'])
})

describe.each(POLICIES)('%s', (_, candidate) => {
  it.each<[RevocationKey, string]>([
    [{ kind: 'jti', value: 't-1' }, 'invalid_token'],
    [{ kind: 'jti', value: 't-1', issuer: 'https://idp' }, 'invalid_token'],
    [{ kind: 'sub', value: 'ada@idp' }, 'invalid_token'],
    [{ kind: 'credential', value: 'k-1' }, 'key_revoked'],
    [{ kind: 'credential', value: 'f00d' }, 'key_revoked'],
    [{ kind: 'consumer', value: 'c-1' }, 'key_revoked'],
    [{ kind: 'consumer', value: 'ada' }, 'key_revoked'],
    [{ kind: 'consumer', value: 'x-1' }, 'key_revoked'],
  ])('%j ends it', async (key, code) => {
    const { deps } = createNode()
    const { ask, instance } = make(candidate, deps, MEMORY)
    expect(await ask()).toBe('pass')
    await revoke(deps, MEMORY, key)
    await vi.waitFor(async () => expect(await ask()).toBe(code))
    const decision = await instance.decide(exchange({ caller: CALLER }))
    expect(decision).toMatchObject({ type: 'reject', status: 401 })
    expect(JSON.stringify(decision)).not.toContain('company')
  })

  it('a subject that is a number is revoked by how it is written', async () => {
    const { deps } = createNode()
    const { ask } = make(candidate, deps, MEMORY)
    const caller = { ...CALLER, claims: { ...CALLER.claims, sub: 42 } }
    expect(await ask(caller)).toBe('pass')
    await revoke(deps, MEMORY, { kind: 'sub', value: '42' })
    await vi.waitFor(async () => expect(await ask(caller)).toBe('invalid_token'))
  })

  it('somebody else is not hit', async () => {
    const { deps } = createNode()
    const { ask } = make(candidate, deps, MEMORY)
    await revoke(deps, MEMORY, { kind: 'consumer', value: 'ada' })
    await vi.waitFor(async () => expect(await ask()).toBe('key_revoked'))
    expect(await ask({ credential: { id: 'k-2', tags: ['llm:*'] }, address: '192.0.2.1' })).toBe('pass')
  })

  it('shadow says what it would have refused', async () => {
    const { deps } = createNode()
    const { ask } = make(candidate, deps, MEMORY, { mode: 'shadow' })
    await revoke(deps, MEMORY, { kind: 'consumer', value: 'ada' })
    await vi.waitFor(async () => expect(await ask()).toBe('pass key_revoked'))
  })

  it('bad fields are refused at start', () => {
    const { deps } = createNode()
    expect(() => make(candidate, deps, { store: 'redis' })).toThrow('revocation.redis')
  })

  it.each([
    ['local', 'policy_unavailable'],
    ['deny', 'policy_unavailable'],
    ['allow', 'pass'],
  ])('a store that never answered, on_store_error %s: %s', async (on_store_error, expected) => {
    const redis = { port: await freePort(), connect_timeout_ms: 200 }
    const { deps } = createNode()
    const { ask } = make(candidate, deps, { store: 'redis', redis, on_store_error })
    expect(await ask()).toBe(expected)
  })
})

describe.skipIf(!haveRedisServer('revocation over Redis'))('over Redis', () => {
  let redis: RedisServer
  beforeAll(async () => {
    // Nothing may hang on messages between nodes.
    const blocked = ['SUBSCRIBE', 'PSUBSCRIBE', 'PUBLISH'].flatMap((name) => ['--rename-command', name, ''])
    redis = await startRedis({ args: blocked })
  })
  afterAll(() => redis?.close())

  let prefixes = 0
  const config = (on_store_error: string) => ({
    store: 'redis',
    redis: { host: redis.host, port: redis.port, key_prefix: `r${prefixes++}:` },
    poll_ms: 50,
    on_store_error,
  })

  it('one node revokes, both refuse, without pub/sub', async () => {
    const where = config('deny')
    const nodes = [createNode(), createNode()]
    const policies = nodes.flatMap(({ deps }) => POLICIES.map(([, candidate]) => make(candidate, deps, where)))
    for (const { ask } of policies) expect(await ask()).toBe('pass')
    const [first] = nodes
    if (first === undefined) throw new Error('no node')
    await revoke(first.deps, where, { kind: 'sub', value: 'ada@idp' })
    for (const { ask } of policies) await vi.waitFor(async () => expect(await ask()).toBe('invalid_token'))
    // A node that starts now knows it from its first request on.
    const late = make(POLICIES[0]?.[1] as Candidate, createNode().deps, where)
    expect(await late.ask()).toBe('invalid_token')
  })

  it.each([
    ['local', 'pass'],
    ['deny', 'policy_unavailable'],
    ['allow', 'pass'],
  ])('a store that freezes, on_store_error %s: %s for others, and the revoked stay out', async (mode, expected) => {
    const where = config(mode)
    const { deps } = createNode()
    const { ask } = make(POLICIES[0]?.[1] as Candidate, deps, where)
    await revoke(deps, where, { kind: 'consumer', value: 'ada' })
    await vi.waitFor(async () => expect(await ask()).toBe('key_revoked'))
    const other = { credential: { id: 'k-2', tags: ['llm:*'] }, address: '192.0.2.1' }
    expect(await ask(other)).toBe('pass')
    redis.freeze()
    onTestFinished(() => redis.thaw())
    // Longer than a copy counts as fresh.
    await new Promise((done) => setTimeout(done, 1_500))
    expect(await ask(other)).toBe(expected)
    expect(await ask()).toBe('key_revoked')
    redis.thaw()
    await vi.waitFor(async () => expect(await ask(other)).toBe('pass'), { timeout: 5_000 })
  })
})
