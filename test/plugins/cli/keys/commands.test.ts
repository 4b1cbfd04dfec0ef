/** The command line as an operator types it, on a file and on a real Redis. */

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { keysIn } from '../../../../plugins/cli/commands/keys/index.ts'
import { EXIT } from '../../../../plugins/cli/io.ts'
import { run } from '../../../../plugins/cli/program.ts'
import { createDeps } from '../../../../plugins/deps.ts'
import {
  createRedisRegistry,
  fingerprintOf,
  generateKey,
  hashKey,
  parseKey,
} from '../../../../policies/api-key/index.ts'
import { PortcullisError } from '../../../../policies/errors.ts'
import { createRedisRevocations } from '../../../../policies/revocation/redis.ts'
import { createRuntime } from '../../../../policies/runtime.ts'
import { parseConfig } from '../../../../policies/schema/parse.ts'
import { redisFields } from '../../../../policies/stores/redis/config.ts'
import { haveRedisServer } from '../../../support/redis/backends.ts'
import { type RedisServer, startRedis } from '../../../support/redis/server.ts'
import { startVault, VAULT_TOKEN } from '../../../support/vault/server.ts'
import { DAY, type Recording, type RecordingOptions, recording, START, temporaryFolder, testWorld } from './support.ts'

const ROOT = new URL('../../../..', import.meta.url).pathname
const MAIN = ['--import', 'tsx', join(ROOT, 'plugins/cli/main.ts'), 'keys']

async function keys(
  args: readonly string[],
  options: RecordingOptions & { readonly now?: number } = {},
): Promise<Recording & { code: number }> {
  const io = recording(options)
  const code = await run(['keys', ...args], io, [keysIn(async () => testWorld(options.now ?? START))])
  return Object.assign(io, { code })
}

interface Listed {
  readonly id: string | null
  readonly consumer: string
  readonly tags: readonly string[]
  readonly versions: readonly {
    readonly state: string
    readonly fingerprint: string | null
    readonly expires_at: string | null
  }[]
}

const listedIn = ({ outText }: Recording) => (JSON.parse(outText) as { keys: readonly Listed[] }).keys

const FILE = `consumers:
  - username: alice # first
    keyauth_credentials:
      - key: canary-alice-000000000000000000000001
        tags: [gold, pc-issued:2026-01-01]
  - username: bob
    keyauth_credentials:
      - key: canary-bob-0000000000000000000000002
`

function kongFile(text = FILE): string {
  const path = join(temporaryFolder(), 'kong.yml')
  writeFileSync(path, text, { mode: 0o640 })
  return path
}

const secretsOf = (path: string) =>
  [...readFileSync(path, 'utf8').matchAll(/key: "?([\w-]{20,})/g)].map(([, key]) => key ?? '')

describe('on a declarative file', () => {
  it('lets no name of a consumer command the terminal', async () => {
    const file = kongFile(FILE.replace('username: bob', 'username: "bob\\e[2J\\u202e"'))
    const args = ['rotate', '--older-than', '1d', '--file', file]
    for (const more of [[], ['--dry-run', '--unknown-age']]) {
      const { errText } = await keys([...args, ...more])
      expect(errText).toContain('bob\\u{1b}[2J\\u{202e}')
      expect(errText.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u)
    }
  })

  it('rotates what is old, once, and shows each new secret once', async () => {
    const file = kongFile()
    const first = await keys(['rotate', '--older-than', '60d', '--file', file])
    expect(first.code).toBe(EXIT.findings)
    expect(first.errText).toContain('of bob: nobody knows its age')
    const { key, id } = JSON.parse(first.outText) as Record<string, string>
    expect(parseKey(key ?? '')).toEqual({ env: 'live', id })
    expect(first.errText).not.toContain(key)
    const again = await keys(['rotate', '--older-than', '60d', '--file', file, '--json'])
    expect(JSON.parse(again.outText)).toMatchObject({ rotated: [], skipped: [{ consumer: 'bob' }] })
    expect(parse(readFileSync(file, 'utf8'))).toEqual({
      consumers: [
        {
          username: 'alice',
          keyauth_credentials: [
            {
              key: 'canary-alice-000000000000000000000001',
              tags: [
                'gold',
                `pc-id:${id}`,
                'pc-issued:2026-01-01T00:00:00Z',
                'pc-expires:2026-06-08T12:00:00Z',
                'pc-retired',
              ],
            },
            { key, tags: ['gold', `pc-id:${id}`, 'pc-issued:2026-06-01T12:00:00Z'] },
          ],
        },
        { username: 'bob', keyauth_credentials: [{ key: 'canary-bob-0000000000000000000000002' }] },
      ],
    })
    const later = await keys(['prune', '--file', file, '--json'], { now: START + 8 * DAY })
    expect((JSON.parse(later.outText) as { removed: unknown[] }).removed).toHaveLength(1)
    expect(secretsOf(file)).toEqual([key, 'canary-bob-0000000000000000000000002'])
    expect(readFileSync(file, 'utf8')).toContain('# first')
  })

  it('says what it would do, and does nothing', async () => {
    const file = kongFile()
    const dry = await keys(['rotate', '--older-than', '60d', '--unknown-age', '--dry-run', '--json', '--file', file])
    expect(dry.code).toBe(EXIT.ok)
    expect(JSON.parse(dry.outText)).toMatchObject({
      dry_run: true,
      would_rotate: [{ consumer: 'alice' }, { consumer: 'bob' }],
      rotated: [],
    })
    expect(readFileSync(file, 'utf8')).toBe(FILE)
  })

  it('writes new secrets to a file, and JSON without them', async () => {
    const [file, out] = [kongFile(), join(temporaryFolder(), 'new')]
    const done = await keys(['rotate', '--older-than', '1d', '--unknown-age', '--out', out, '--json', '--file', file])
    const delivered = readFileSync(out, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { key: string })
    expect(statSync(out).mode & 0o777).toBe(0o600)
    expect(delivered).toHaveLength(2)
    for (const { key } of delivered) {
      expect(secretsOf(file)).toContain(key)
      expect(done.outText + done.errText).not.toContain(key)
    }
    const refused = await keys(['rotate', '--older-than', '1d', '--unknown-age', '--out', out, '--file', kongFile()])
    expect(refused).toMatchObject({ code: EXIT.failed, outText: '' })
  })

  it('never shows a secret but the new one', async () => {
    const file = kongFile()
    const all: string[] = []
    for (const args of [
      ['list'],
      ['list', '--json'],
      ['audit'],
      ['audit', '--json'],
      ['prune', '--json'],
      ['revoke', 'nobody'],
    ]) {
      const { outText, errText } = await keys([...args, '--file', file])
      all.push(outText, errText)
    }
    const broken = kongFile(`${FILE}  - username: [canary-broken`)
    all.push((await keys(['list', '--file', broken])).errText)
    expect(all.join('')).not.toContain('canary')
    expect(all.join('')).toContain('line 9')
  })

  it('ends with 1 when a key breaks the policy, and with 0 when none does', async () => {
    const bad = await keys(['audit', '--json', '--file', kongFile()])
    expect(bad.code).toBe(EXIT.findings)
    const { findings } = JSON.parse(bad.outText) as { findings: { consumer: string; finding: string }[] }
    const found = (name: string) => findings.filter(({ consumer }) => consumer === name).map(({ finding }) => finding)
    expect(found('alice')).toEqual(['no_stable_id', 'too_old'])
    expect(found('bob')).toEqual(['no_stable_id', 'unknown_age'])
    const file = kongFile()
    await keys(['rotate', '--older-than', '1d', '--unknown-age', '--file', file])
    const good = await keys(['audit', '--file', file])
    expect(good).toMatchObject({ code: EXIT.ok })
    expect((await keys(['audit', '--file', file], { now: START + 10 * DAY })).outText).toContain('overdue')
    expect((await keys(['audit', '--file', file, '--warn-age', '1d'], { now: START + 5 * DAY })).code).toBe(EXIT.ok)
  })

  it('issues a key with an end, and revokes it by its text alone', async () => {
    const file = kongFile()
    const issued = await keys(['issue', '--consumer', 'bob', '--env', 'test', '--expires-in', '30d', '--file', file])
    const key = issued.outText.trim()
    expect(parseKey(key)?.env).toBe('test')
    expect(issued.errText).toContain('load the file into Kong')
    const [, , found] = listedIn(await keys(['list', '--json', '--file', file]))
    expect(found?.versions).toMatchObject([{ state: 'current', expires_at: '2026-07-01T12:00:00.000Z' }])
    const revoked = await keys(['revoke', '--key', '--file', file], { input: `${key}\n` })
    expect(revoked.code).toBe(EXIT.ok)
    expect(readFileSync(file, 'utf8')).toBe(FILE)
    expect((await keys(['revoke', '--key', '--file', file], { input: key })).code).toBe(EXIT.failed)
  })

  it.each([
    [['rotate'], 'name ids'],
    [['rotate', '--older-than', 'soon'], '--older-than'],
    [['rotate', 'nobody'], 'nobody'],
    [['issue', '--consumer', 'zoe'], 'no such consumer'],
    [['issue', '--consumer', 'bob', '--env', 'Live!'], '--env'],
    [['issue', '--consumer', 'bob', '--scope', 'everything'], '--scope'],
    [['issue', '--consumer', 'bob', '--cidr', '10.0.0.0/99'], '--cidr'],
    [['issue', '--consumer', 'bob', '--tag', 'pc-id:x'], '--tag'],
    [['issue', '--consumer', 'bob', '--tag', 'a/b'], 'slash'],
    [['issue', '--consumer', 'bob', '--vault-path', 'x/{id}'], 'VAULT_ADDR'],
    [['revoke'], 'name ids'],
    [['audit', '--min-length', 'x'], '--min-length'],
    [['list', '--kong-admin', 'http://127.0.0.1:1'], 'not both'],
    [['list', '--file', '/nowhere/kong.yml'], 'is not there'],
    [['list', '--file', '/dev/zero'], 'no regular file'],
  ])('refuses %j', async (args, message) => {
    const file = kongFile()
    const refused = await keys(
      ['--file', file].length > 0 && args.includes('--file') ? args : [...args, '--file', file],
    )
    expect(refused).toMatchObject({ code: EXIT.failed, outText: '' })
    expect(refused.errText).toContain(message)
    expect(readFileSync(file, 'utf8')).toBe(FILE)
  })
})

describe('with many keys', () => {
  const MANY = 200
  const lines = Array.from(
    { length: MANY },
    (_, index) => `  - {username: u${index}, keyauth_credentials: [{key: k${index}}]}`,
  )
  const rotateAll = ['rotate', '--older-than', '1d', '--unknown-age', '--file']
  const fileOfMany = () => kongFile(['consumers:', ...lines, ''].join('\n'))
  const intoFile = () => ['--out', join(temporaryFolder(), 'o')]
  /** What a terminal shows of its last line. */
  const shown = (line: string) => line.slice(line.lastIndexOf('\r') + 1).replace('\u001b[K', '')

  it('shows how far it is now and then', async () => {
    const done = await keys([...rotateAll, fileOfMany(), ...intoFile()])
    expect(done.errText).toContain('Rotated 100 of 200 keys')
    expect(done.errText.split('\n').length).toBeLessThan(20)
    expect(done.errText).not.toContain('\r')
  })

  it('shows how far it is in one line of a terminal', async () => {
    const done = await keys([...rotateAll, fileOfMany(), ...intoFile()], { terminals: { out: true, err: true } })
    expect(done.code).toBe(EXIT.ok)
    const [progress = '', summary] = done.errText.split('\n')
    const counts = progress
      .split('\r')
      .slice(1)
      .map((text) => Number(/^Rotated (\d+) of 200 keys/.exec(text)?.[1]))
    expect(counts[0]).toBe(1)
    expect(counts).toEqual(counts.toSorted((a, b) => a - b))
    expect(new Set(counts).size).toBeGreaterThan(90)
    expect(shown(progress)).toBe('Rotated 200 of 200 keys')
    expect(summary).toBe('Rotated 200 keys; removed 0 whose grace time was over.')
  })

  it('mixes with no secret on a terminal that shows both', async () => {
    const done = await keys([...rotateAll, fileOfMany()], { terminals: { out: true, err: true } })
    expect(done.errText).toContain('Rotated 100 of 200 keys\n')
    expect(done.errText).not.toContain('\r')
    expect(done.outText.trim().split('\n')).toHaveLength(MANY)
  })

  it('leaves its line before it says what went wrong', async () => {
    const io = recording({ terminals: { out: false, err: true } })
    let taken = 0
    const deliver = async (text: string) => {
      if (++taken > 50) throw new PortcullisError('output_closed', 'nobody reads any more')
      io.out(text)
    }
    const broken = Object.defineProperties({ deliver }, Object.getOwnPropertyDescriptors(io)) as Recording
    const code = await run(['keys', ...rotateAll, fileOfMany()], broken, [keysIn(async () => testWorld())])
    expect(code).toBe(EXIT.failed)
    const [progress = '', cut] = broken.errText.split('\n')
    expect(shown(progress)).toBe('Rotated 50 of 200 keys')
    expect(cut).toMatch(/^The rotation was cut short\. Run it again/)
  })

  it('says nothing of the way when there are few', async () => {
    const done = await keys([...rotateAll, kongFile(), ...intoFile()], { terminals: { out: true, err: true } })
    expect(done.errText).not.toContain('\r')
    expect(done.errText).toMatch(/^Rotated 2 keys; /)
  })
})

describe.skipIf(!haveRedisServer('keys in Redis'))('on a real Redis', () => {
  let redis: RedisServer
  let url: string
  const PEPPER = 'p'.repeat(40)
  beforeAll(async () => {
    redis = await startRedis()
    url = `redis://127.0.0.1:${redis.port}`
  })
  afterAll(() => redis.close())

  const env = (more: Readonly<Record<string, string>> = {}) => ({ PORTCULLIS_KEY_PEPPER: PEPPER, ...more })
  const inRedis = (args: readonly string[], options: RecordingOptions & { now?: number } = {}) =>
    keys([...args, '--redis', url, '--key-prefix', 'k:'], { ...options, env: options.env ?? env() })

  const config = () => parseConfig(redisFields, { url, key_prefix: 'k:' })
  const deps = () => createDeps({ runtime: createRuntime(), logger: { info() {}, warn() {}, error() {} } })

  it('issues, rotates once, keeps the id, and revokes', async () => {
    const issued = await inRedis(['issue', '--consumer', 'ann', '--scope', 'llm:chat', '--cidr', '10.0.0.0/8'])
    const first = issued.outText.trim()
    const id = parseKey(first)?.id ?? ''
    const registry = createRedisRegistry(config(), deps())
    try {
      const record = await registry.find(id)
      expect(record).toMatchObject({ consumer: { username: 'ann' }, scopes: ['llm:chat'], cidrs: ['10.0.0.0/8'] })
      expect(record?.secrets[0].hash).toBe(hashKey(PEPPER, first))
      expect(JSON.stringify(record)).not.toContain(first)
      const now = START + 61 * DAY
      const rotated = await inRedis(['rotate', '--older-than', '60d'], { now })
      const second = (JSON.parse(rotated.outText) as { key: string }).key
      expect(parseKey(second)?.id).toBe(id)
      expect((await inRedis(['rotate', '--older-than', '60d'], { now })).outText).toBe('')
      expect((await registry.find(id))?.secrets.map(({ hash }) => hash)).toEqual(
        [second, first].map((key) => hashKey(PEPPER, key)),
      )
      const [listed] = listedIn(await inRedis(['list', '--json'], { now }))
      expect(listed?.versions.map(({ state }) => state)).toEqual(['current', 'retired'])
      const forged = generateKey('live', id, deps().random)
      expect((await inRedis(['revoke', '--key'], { input: forged, now })).errText).toContain('no such key')
      expect((await registry.find(id))?.revoked).toBeUndefined()
      const revoked = await inRedis(['revoke', '--key', '--deny-list', '--reason', 'leaked'], { input: first, now })
      expect(revoked.code).toBe(EXIT.ok)
      expect((await registry.find(id))?.revoked).toEqual({ at: now, reason: 'leaked' })
      const revocations = createRedisRevocations(config(), deps())
      const denied = await revocations.list()
      await revocations.close()
      expect(denied).toMatchObject([{ kind: 'credential', value: fingerprintOf(first), reason: 'leaked' }])
      expect((await inRedis(['audit'], { now: now + 300 * DAY })).code).toBe(EXIT.ok)
    } finally {
      await registry.close()
    }
  })

  it('delivers to Vault (a stand-in) what the registry then takes', async () => {
    const vault = await startVault()
    try {
      const vaultEnv = env({ VAULT_ADDR: vault.url, VAULT_TOKEN })
      const done = await inRedis(['issue', '--consumer', 'vic', '--vault-path', 'llm/{consumer}/{id}', '--json'], {
        env: vaultEnv,
      })
      const [[path, versions] = []] = [...vault.secrets]
      const key = String(versions?.[0]?.data?.key)
      expect(path).toBe(`llm/vic/${parseKey(key)?.id}`)
      expect(done.outText + done.errText).not.toContain(key)
      expect(JSON.parse(done.outText)).toMatchObject({ consumer: 'vic', id: parseKey(key)?.id })
      vault.intercept = () => ({ status: 403, body: { errors: ['permission denied'] } })
      const refused = await inRedis(['rotate', parseKey(key)?.id ?? '', '--vault-path', 'llm/{consumer}/{id}'], {
        env: vaultEnv,
        now: START + DAY,
      })
      expect(refused.code).toBe(EXIT.failed)
      const [listed] = listedIn(await inRedis(['list', '--json', '--consumer', 'vic']))
      expect(listed?.versions.map(({ state }) => state)).toEqual(['current'])
    } finally {
      await vault.close()
    }
  })

  it.each([
    ['no pepper', {}, 'PORTCULLIS_KEY_PEPPER'],
    ['a short pepper', { PORTCULLIS_KEY_PEPPER: 'hunter2' }, 'at least 32'],
  ])('needs a pepper: %s', async (_, peppers, message) => {
    const refused = await inRedis(['issue', '--consumer', 'ann'], { env: peppers })
    expect(refused.code).toBe(EXIT.failed)
    expect(refused.errText).toContain(message)
    expect(refused.errText).not.toContain('hunter2')
    expect((await inRedis(['list'], { env: peppers })).code).toBe(EXIT.ok)
  })
})

describe('as a process', () => {
  it('is killed over and over, and finishes all the same', { timeout: 90_000 }, async () => {
    const many = 60
    const lines = Array.from({ length: many }, (_, index) => [
      `  - username: u${index} # ${index}`,
      '    keyauth_credentials:',
      `      - key: first-${index}`,
    ])
    const file = kongFile(['consumers:', ...lines.flat(), ''].join('\n'))
    const folder = temporaryFolder()
    const args = (out: string) => [
      ...MAIN,
      'rotate',
      '--older-than',
      '1d',
      '--unknown-age',
      '--file',
      file,
      '--out',
      out,
    ]
    const outs: string[] = []
    for (let round = 0; round < 4; round++) {
      const out = join(folder, `out-${round}`)
      const child = spawn(process.execPath, args(out), { cwd: ROOT, stdio: 'ignore' })
      const over = once(child, 'exit')
      const size = () => (existsSync(out) ? statSync(out).size : 0)
      // Each round a little further: before, and in the middle of, what it delivers.
      while (child.exitCode === null && size() < round * 2_000) await new Promise((resolve) => setTimeout(resolve, 2))
      child.kill('SIGKILL')
      await over
      outs.push(out)
    }
    const last = join(folder, 'out-last')
    const done = spawnSync(process.execPath, args(last), { cwd: ROOT, encoding: 'utf8' })
    expect(done.status).toBe(EXIT.ok)
    outs.push(last)
    const delivered = new Map<string, Set<string>>()
    for (const out of outs.filter((path) => existsSync(path)))
      for (const line of readFileSync(out, 'utf8')
        .split('\n')
        .filter((text) => text.endsWith('}'))) {
        const { consumer, key } = JSON.parse(line) as { consumer: string; key: string }
        delivered.set(consumer, (delivered.get(consumer) ?? new Set()).add(key))
      }
    const { consumers } = parse(readFileSync(file, 'utf8')) as {
      consumers: { username: string; keyauth_credentials: { key: string; tags: string[] }[] }[]
    }
    expect(consumers).toHaveLength(many)
    for (const [index, { username, keyauth_credentials: found }] of consumers.entries()) {
      expect(found.map(({ key }) => key)).toEqual([`first-${index}`, ...(delivered.get(username) ?? [])])
      expect(found.map(({ tags }) => tags.includes('pc-retired'))).toEqual([true, false])
      expect(found.some(({ tags }) => tags.includes('pc-staged'))).toBe(false)
    }
    expect(readFileSync(file, 'utf8').match(/# \d+$/gm)).toHaveLength(many)
  })

  it.each([
    ['a full disk', '>/dev/full'],
    ['a reader that has left', '| :'],
  ])('keeps a key that %s did not take for the next run', { timeout: 90_000 }, (_, where) => {
    const file = kongFile()
    const command = `"$0" ${MAIN.map((part) => `'${part}'`).join(' ')} issue --consumer bob --file '${file}'`
    const script = `{ sleep 0.2; ${command}; echo "status $?" >&2; } ${where}`
    const { stderr } = spawnSync('sh', ['-c', script, process.execPath], { cwd: ROOT, encoding: 'utf8' })
    expect(stderr).toContain(`status ${EXIT.failed}`)
    const id = /The key (\w+) was not confirmed/.exec(stderr)?.[1] ?? 'none'
    expect(readFileSync(file, 'utf8')).toContain('pc-staged')
    const taken = spawnSync(process.execPath, [...MAIN, 'rotate', id, '--file', file], { cwd: ROOT, encoding: 'utf8' })
    expect(taken.status).toBe(EXIT.ok)
    expect(secretsOf(file)).toContain((JSON.parse(taken.stdout) as { key: string }).key)
    expect(readFileSync(file, 'utf8')).not.toContain('pc-staged')
    expect(readFileSync(file, 'utf8').match(/pc-id:/g)).toHaveLength(1)
  })
})
