import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { EXIT, type Io } from '../../../plugins/cli/io.ts'
import { run } from '../../../plugins/cli/program.ts'
import type { Caller } from '../../../policies/policy.ts'
import type { Claim } from '../../../policies/stores/ports.ts'
import { counterName } from '../../../policies/token-limit/keys.ts'
import { type Part, parsePart } from '../../../policies/token-limit/parts.ts'
import { claimWith } from '../../contract/limit-reference.ts'
import { haveRedisServer } from '../../support/redis/backends.ts'
import { startCluster } from '../../support/redis/cluster.ts'
import { startSentinels } from '../../support/redis/sentinel.ts'
import { freePort, type RedisServer, startRedis } from '../../support/redis/server.ts'
import { type OpenedStore, openRedisStore } from '../../support/redis/store.ts'

const ROOT = new URL('../../..', import.meta.url).pathname
const DAY = 86_400
const ALICE: Caller = {
  consumer: { id: 'alice', tags: [], groups: [] },
  credential: { id: 'key-1', tags: [] },
  claims: { org: { team: 'red', seats: 5, paid: true } },
  address: '2001:db8:1:2:3::4',
}

/** A claim as the policy makes it for a rule. */
function claimFor(
  rule: string,
  per: readonly string[],
  want: number,
  more: { model?: string; unit?: 'r' } = {},
): Claim {
  const parts = per.map((text) => parsePart(text) as Part)
  const plan = { rule, scope: '', kind: `f${DAY}${more.unit ?? 't'}`, parts }
  const facts = { caller: ALICE, route: { id: 'chat' }, headers: new Map([['x-team', 'red']]) }
  const counter = { algorithm: 'fixed_window', limit: 1000, windowSeconds: DAY } as const
  return claimWith({ ...counterName(plan, facts, more.model ?? 'gpt-4o'), rule, counter, want })
}

async function portcullis(args: readonly string[]) {
  const out: string[] = []
  const err: string[] = []
  const io: Io = { out: (text) => void out.push(text), err: (text) => void err.push(text), env: {} }
  const code = await run(['limits', ...args], io)
  return { code, out: out.join(''), err: err.join('') }
}

interface Shown {
  readonly key: string
  readonly rule: string
  readonly caller: string | null
  readonly parts: Readonly<Record<string, string>>
  readonly unit: string
  readonly used: number
  readonly remaining: number
  readonly limit: number
  readonly reset_ms: number
}

describe.skipIf(!haveRedisServer('portcullis limits'))('portcullis limits', { timeout: 60_000 }, () => {
  let server: RedisServer
  let opened: OpenedStore
  let redis: readonly string[]
  let ids = 0

  beforeAll(async () => {
    server = await startRedis()
    opened = openRedisStore({ port: server.port })
    await opened.store.ready()
    redis = ['--redis', `redis://127.0.0.1:${server.port}`]
  })
  afterAll(async () => {
    await opened.store.close()
    await server.close()
  })
  afterEach(() => server.client().flushall())

  async function use({ store }: OpenedStore, ...claims: Claim[]): Promise<void> {
    const result = await store.reserve({ id: `cli-${ids++}`, claims })
    expect(result.admitted).toBe(true)
  }

  async function shown(...args: readonly string[]): Promise<Shown[]> {
    const { code, out, err } = await portcullis(['show', ...args, ...redis, '--json'])
    expect([code, err]).toEqual([EXIT.ok, ''])
    return (JSON.parse(out) as { counters: Shown[] }).counters
  }

  it('shows every counter of a caller over all rules, in a table', async () => {
    await use(
      opened,
      claimFor('tokens', ['consumer'], 800),
      claimFor('calls', ['consumer'], 1, { unit: 'r' }),
      claimFor('models', ['consumer', 'model', 'header:x-team'], 300),
      claimFor('everyone', ['global'], 5),
    )
    const { code, out, err } = await portcullis(['show', 'alice', ...redis])
    expect([code, err]).toEqual([EXIT.ok, ''])
    const [head, ...rows] = out.split('\n').map((line) => line.split(/ {2,}/))
    expect(head).toEqual(['RULE', 'COUNTS', 'FOR', 'WINDOW', 'USED', 'LIMIT', 'REMAINING', 'WHOLE AGAIN'])
    expect(rows.slice(0, 3).map((row) => row.slice(0, 7))).toEqual([
      ['calls', 'requests', 'everything', '1 d fixed', '1', '1000', '999'],
      ['models', 'total tokens', 'model gpt-4o, header x-team red', '1 d fixed', '300', '1000', '700'],
      ['tokens', 'total tokens', 'everything', '1 d fixed', '800', '1000', '200'],
    ])
    expect(rows[0]?.[7]).toMatch(/^in \d+ (h|min|s)( \d+ (min|s))?$/)
    expect(await shown('alice', '--rule', 'models')).toMatchObject([
      { rule: 'models', unit: 'total_tokens', caller: 'consumer=5:alice', used: 300, remaining: 700, limit: 1000 },
    ])
    expect(await shown('bob')).toEqual([])
  })

  it.each([
    ['alice', 'consumer'],
    ['consumer:alice', 'consumer'],
    ['credential:key-1', 'credential'],
    ['2001:db8:1:2::99', 'ip'],
    ['ip:2001:db8:1:2::/64', 'ip'],
    ['claim:org.team=red', 'claim:org.team'],
    ['claim:org.seats=5', 'claim:org.seats'],
    ['claim:org.paid=true', 'claim:org.paid'],
    ['shared', 'route'],
  ])('knows the caller %s', async (text, part) => {
    await use(opened, claimFor('tokens', [part], 70))
    await use(opened, claimFor('other', [part === 'consumer' ? 'ip' : 'consumer'], 5))
    expect(await shown(text, '--rule', 'tokens')).toMatchObject([{ rule: 'tokens', used: 70 }])
    expect((await shown(text)).map(({ rule }) => rule)).toEqual(['tokens'])
  })

  it('finds rules that name another caller part first only when told to look everywhere', async () => {
    await use(opened, claimFor('mixed', ['ip', 'consumer'], 70))
    await use(opened, claimFor('tokens', ['consumer'], 10))
    await use(opened, claimFor('address', ['ip'], 10))
    expect((await shown('alice')).map(({ rule }) => rule)).toEqual(['tokens'])
    expect((await shown('alice', '--everywhere')).map(({ rule }) => rule)).toEqual(['tokens', 'mixed'])
    expect((await portcullis(['reset', 'alice', '--everywhere', ...redis])).code).toBe(EXIT.ok)
    expect((await shown('ip:2001:db8:1:2::', '--everywhere')).map(({ rule }) => rule)).toEqual(['address'])
  })

  it('finds each counter once among thousands', async () => {
    const claims = Array.from({ length: 3000 }, (_, index) => claimFor(`r${index}`, ['global'], 1))
    for (let from = 0; from < claims.length; from += 50) await use(opened, ...claims.slice(from, from + 50))
    const rules = (await shown('shared')).map(({ rule }) => rule)
    expect(rules).toHaveLength(3000)
    expect(new Set(rules).size).toBe(3000)
  })

  it('looks a user name up at the gateway', async () => {
    const asked: (string | undefined)[] = []
    const admin = createServer(({ url }, reply) => {
      asked.push(url)
      const known = url === '/consumers/al%20ice' || url === '/users/al%20ice'
      reply.writeHead(known ? 200 : 404, { 'content-type': 'application/json' })
      reply.end(JSON.stringify(known ? { id: 'alice', username: 'al ice' } : { message: 'Not found' }))
    })
    await new Promise<void>((listening) => admin.listen(0, '127.0.0.1', listening))
    const url = `http://127.0.0.1:${(admin.address() as AddressInfo).port}`
    try {
      await use(opened, claimFor('tokens', ['consumer'], 70))
      expect(await shown('al ice', '--kong-admin', url)).toMatchObject([{ used: 70 }])
      expect(await shown('consumer:al ice', '--eg-admin', `${url}/`)).toMatchObject([{ used: 70 }])
      expect(asked).toEqual(['/consumers/al%20ice', '/users/al%20ice'])
      const unknown = await portcullis(['show', '../secret', '--kong-admin', url, ...redis])
      expect([unknown.code, unknown.out]).toEqual([EXIT.failed, ''])
      expect(unknown.err).toContain('status 404')
      expect(asked.at(-1)).toBe('/consumers/..%2Fsecret')
    } finally {
      admin.close()
    }
  })

  it('forgets what a caller used, of one rule or of all', async () => {
    const both = [claimFor('tokens', ['consumer'], 800), claimFor('calls', ['consumer'], 1, { unit: 'r' })]
    await use(opened, ...both)
    const one = await portcullis(['reset', 'alice', '--rule', 'tokens', ...redis])
    expect([one.code, one.err]).toEqual([EXIT.ok, ''])
    expect(one.out).toMatch(
      /^Nothing of this counts any more; it is what had been used until now:\nRULE .*\ntokens .* 800 /,
    )
    expect((await shown('alice')).map(({ rule }) => rule)).toEqual(['calls'])
    await use(opened, ...both)
    const all = await portcullis(['reset', 'alice', '--json', ...redis])
    expect((JSON.parse(all.out) as { reset: Shown[] }).reset.map(({ rule, used }) => [rule, used])).toEqual([
      ['calls', 2],
      ['tokens', 800],
    ])
    expect(await shown('alice')).toEqual([])
    const again = await portcullis(['reset', 'alice', ...redis])
    expect(again.code).toBe(EXIT.findings)
    expect(again.err).toContain('"alice" has used nothing.')
  })

  it('grants tokens under the rules that count tokens, and requests only by name', async () => {
    await use(
      opened,
      claimFor('tokens', ['consumer'], 800),
      claimFor('few', ['consumer', 'model'], 100),
      claimFor('calls', ['consumer'], 7, { unit: 'r' }),
    )
    const { code, out } = await portcullis(['grant', 'alice', '300', '--json', ...redis])
    expect(code).toBe(EXIT.ok)
    const granted = JSON.parse(out) as { granted: number; counters: Shown[] }
    expect(granted.granted).toBe(300)
    expect(granted.counters.map(({ rule, used, remaining }) => [rule, used, remaining])).toEqual([
      ['few', 0, 1000],
      ['tokens', 500, 500],
    ])
    expect((await portcullis(['grant', 'alice', '2', '--rule', 'calls', ...redis])).out).toMatch(/\ncalls .* 5 /)
    expect((await shown('alice')).map(({ rule, used }) => [rule, used])).toEqual([
      ['calls', 5],
      ['tokens', 500],
    ])
    expect((await portcullis(['grant', 'alice', '1', '--rule', 'nobody', ...redis])).code).toBe(EXIT.findings)
  })

  it.each([['0'], ['1.5'], ['1e3'], ['9007199254740993'], ['all']])('refuses to grant %s tokens', async (tokens) => {
    const { code, err } = await portcullis(['grant', 'alice', tokens, ...redis])
    expect(code).toBe(EXIT.failed)
    expect(err).toContain('positive whole number')
  })

  it.each([
    [[]],
    [['show', '']],
    [['show', 'consumer:']],
    [['show', 'ip:10.0.0']],
    [['show', 'claim:org.team']],
    [['show', 'alice', '--kong-admin', 'file:///etc/passwd']],
    [['show', 'alice', 'bob']],
  ])('refuses %j', async (args) => {
    const { code, out, err } = await portcullis([...args, ...redis])
    expect([code, out]).toEqual([EXIT.failed, ''])
    expect(err).not.toBe('')
  })

  it('hands no terminal what a client put into a name', async () => {
    await use(opened, claimFor('models', ['consumer', 'model'], 3, { model: '\u001b[2Jgpt\r\n\u009b31m\u202e' }))
    for (const json of [[], ['--json']]) {
      const { out } = await portcullis(['show', 'alice', ...json, ...redis])
      expect(out).toContain('gpt')
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
      expect(out.replaceAll('\n', '')).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/)
    }
  })

  describe('never says that a caller used nothing when the store did not say so', () => {
    it.each(['show', 'reset', 'grant'])('%s fails with a Redis that is not there', async (command) => {
      const port = await freePort()
      const tokens = command === 'grant' ? ['5'] : []
      const { code, out, err } = await portcullis([
        command,
        'alice',
        ...tokens,
        '--redis',
        `redis://:canary-pass@127.0.0.1:${port}`,
      ])
      expect([code, out]).toEqual([EXIT.failed, ''])
      expect(err).toBe('portcullis: Redis does not answer: ECONNREFUSED.\n')
    })

    it('fails with a wrong password, and does not repeat it', async () => {
      const locked = await startRedis({ args: ['--requirepass', 'right'], clientOptions: { password: 'right' } })
      try {
        const url = `redis://:canary-pass@127.0.0.1:${locked.port}`
        const { code, err } = await portcullis(['show', 'alice', '--redis', url])
        expect(code).toBe(EXIT.failed)
        expect(err).toContain('refuses the user or password')
        expect(err).not.toContain('canary-pass')
      } finally {
        await locked.close()
      }
    })

    it('fails without the name of a Redis', async () => {
      const { code, err } = await portcullis(['show', 'alice'])
      expect(code).toBe(EXIT.failed)
      expect(err).toContain('--redis')
    })

    it('fails when one server of a cluster is away', async () => {
      const cluster = await startCluster()
      const directory = mkdtempSync(join(tmpdir(), 'portcullis-cli-'))
      const file = join(directory, 'redis.yml')
      writeFileSync(file, JSON.stringify({ redis: { cluster_nodes: cluster.nodes, command_timeout_ms: 500 } }))
      const store = openRedisStore({ cluster_nodes: cluster.nodes })
      try {
        await store.store.ready()
        await use(store, claimFor('tokens', ['consumer'], 70), claimFor('everyone', ['global'], 70))
        const named = ['--redis-config', file]
        const found = async (...args: string[]) => {
          const { code, out, err } = await portcullis([...args, '--json', ...named])
          expect([code, err]).toEqual([EXIT.ok, ''])
          return (JSON.parse(out) as { counters: Shown[] }).counters
        }
        expect(await found('show', 'alice')).toMatchObject([{ rule: 'tokens', used: 70 }])
        expect(await found('show', 'alice', '--everywhere')).toMatchObject([{ rule: 'tokens', used: 70 }])
        expect(await found('show', 'shared')).toMatchObject([{ rule: 'everyone', used: 70 }])
        expect(await found('grant', 'shared', '30')).toMatchObject([{ rule: 'everyone', used: 40 }])
        expect((await portcullis(['reset', 'alice', ...named])).code).toBe(EXIT.ok)
        expect(await found('show', 'alice')).toEqual([])
        const [dead] = cluster.servers
        await dead?.freeze()
        const { code, out } = await portcullis(['show', 'shared', ...named])
        expect([code, out]).toEqual([EXIT.failed, ''])
        await dead?.thaw()
      } finally {
        await store.store.close()
        await cluster.close()
        rmSync(directory, { recursive: true })
      }
    })
  })

  it('works through sentinels', async () => {
    const sentinels = await startSentinels(1)
    const directory = mkdtempSync(join(tmpdir(), 'portcullis-cli-'))
    const file = join(directory, 'redis.yml')
    const nodes = sentinels.sentinels.map(({ host, port }) => ({ host, port }))
    const named = { sentinel_master: sentinels.name, sentinel_nodes: nodes }
    // As the plugins' config has it, a whole one or only its part.
    writeFileSync(file, JSON.stringify(named))
    const store = openRedisStore(named)
    try {
      await store.store.ready()
      await use(store, claimFor('tokens', ['consumer'], 70))
      const { code, out } = await portcullis(['grant', 'alice', '50', '--redis-config', file, '--json'])
      expect(code).toBe(EXIT.ok)
      expect((JSON.parse(out) as { counters: Shown[] }).counters).toMatchObject([{ rule: 'tokens', used: 20 }])
    } finally {
      await store.store.close()
      await sentinels.close()
      rmSync(directory, { recursive: true })
    }
  })

  it('is a command of its own', async () => {
    await use(opened, claimFor('tokens', ['consumer'], 70))
    const portcullisCommand = (...args: string[]) =>
      spawnSync(process.execPath, ['--import', 'tsx', 'plugins/cli/main.ts', 'limits', ...args], {
        cwd: ROOT,
        encoding: 'utf8',
        env: { ...process.env, PORTCULLIS_REDIS_URL: `redis://127.0.0.1:${server.port}` },
        timeout: 30_000,
      })
    const { status, stdout, stderr } = portcullisCommand('show', 'alice', '--json')
    expect([status, stderr]).toEqual([0, ''])
    expect(JSON.parse(stdout)).toMatchObject({ caller: 'alice', counters: [{ rule: 'tokens', used: 70 }] })
    const port = await freePort()
    const down = portcullisCommand('show', 'alice', '--redis', `redis://127.0.0.1:${port}`)
    expect([down.status, down.stdout, down.stderr]).toEqual([
      2,
      '',
      'portcullis: Redis does not answer: ECONNREFUSED.\n',
    ])
  })

  it('releases what a crashed node holds reserved until the day ends', async () => {
    const built = mkdtempSync(join(tmpdir(), 'portcullis-cli-'))
    const { startServer, llmRequest, tokenLimitConfig } = await import('../kong/process-harness.ts')
    const { createWorker } = await import('../../support/kong-client/worker.ts')
    const { bundle } = await import('../../../plugins/kong/bundle.ts')
    await bundle(built)
    const node = await startServer(join(built, 'portcullis-kong.cjs'), join(built, 's'))
    const next = await startServer(join(built, 'portcullis-kong.cjs'), join(built, 't'))
    const daily = { name: 'daily', limit: 100, window_seconds: DAY, algorithm: 'fixed_window' }
    const plugin = tokenLimitConfig('p', 100, {
      store: 'redis',
      redis: { host: server.host, port: server.port, command_timeout_ms: 2_000 },
      limits: [{ ...daily, match: null, burst: null }],
    })
    const workers = [node, next].map((_, index) => createWorker({ socket: join(built, index === 0 ? 's' : 't') }))
    const [first, second] = workers
    if (first === undefined || second === undefined) throw new Error('two workers')
    const ask = async (worker: typeof first) => {
      const request = llmRequest()
      const end = await worker.access(request, plugin)
      return end === 'exited' ? request.reply?.status : end
    }
    try {
      expect(await ask(first)).toBe('done')
      node.child.kill('SIGKILL')
      await node.exit
      // What the dead node holds leaves no room for the rest of the day, and nobody will settle it.
      expect(await ask(second)).toBe(429)
      const held = (await shown('alice'))[0]?.used ?? 0
      expect(held).toBeGreaterThan(50)
      expect((await portcullis(['grant', 'alice', String(held), '--rule', 'daily', ...redis])).code).toBe(EXIT.ok)
      expect(await ask(second)).toBe('done')
      expect(await ask(second)).toBe(429)
      expect((await portcullis(['reset', 'alice', ...redis])).code).toBe(EXIT.ok)
      expect(await ask(second)).toBe('done')
    } finally {
      for (const worker of workers) worker.close()
      next.child.kill('SIGKILL')
      await next.exit
      rmSync(built, { recursive: true })
    }
  })
})
