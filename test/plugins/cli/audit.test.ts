import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { EXIT } from '../../../plugins/cli/io.ts'
import { run } from '../../../plugins/cli/program.ts'
import { systemOutputs } from '../../../plugins/outputs.ts'
import { fileTarget } from '../../../policies/audit/sinks/file.ts'
import { CHAIN_KEY, createDice, makeRecord } from '../../policies/audit/support.ts'

const ROOT = new URL('../../..', import.meta.url).pathname
let folder: string
let path: string

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'portcullis-verify-'))
  path = join(folder, 'audit.ndjson')
  await write(0, 12)
})
afterEach(() => rmSync(folder, { recursive: true }))

async function write(from: number, count: number): Promise<void> {
  const target = fileTarget(
    { path, maxBytes: 4_096, daily: false, keep: 0, chainKey: CHAIN_KEY },
    { outputs: systemOutputs, now: () => Date.now(), warn: () => undefined },
  )
  let lines = Array.from({ length: count }, (_, index) => JSON.stringify(makeRecord(from + index)))
  while (lines.length > 0) lines = lines.slice(await target.deliver(lines))
  await target.idle?.()
}

async function verify(
  args: readonly string[],
  env: Readonly<Record<string, string>> = { PORTCULLIS_AUDIT_KEY: CHAIN_KEY },
) {
  return call(['audit', 'verify', ...args], env)
}

async function call(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const out: string[] = []
  const err: string[] = []
  const io = { out: (text: string) => void out.push(text), err: (text: string) => void err.push(text), env }
  return { code: await run(args, io), out: out.join(''), err: err.join('') }
}

function files(): string[] {
  const { stdout } = spawnSync('ls', [folder], { encoding: 'utf8' })
  return stdout
    .split('\n')
    .filter((name) => name !== '' && !name.endsWith('.chain'))
    .map((name) => join(folder, name))
}

describe('portcullis audit verify', () => {
  it('finds files as they were written whole, and tells the head', async () => {
    expect(files().length).toBeGreaterThan(1)
    const { code, out } = await verify(files())
    expect([code, out]).toEqual([EXIT.ok, expect.stringMatching(/^12 records, whole, head 12:[0-9a-f]{64}\n$/)])
  })

  it('says where a byte was changed, as text and as JSON', async () => {
    const bytes = readFileSync(path)
    bytes[10] = 0x58
    writeFileSync(path, bytes)
    const text = await verify(files())
    expect(text.code).toBe(EXIT.findings)
    expect(text.out).toContain(`${path}: line 1 (byte 0): edited: this line is not what was written\n`)
    const json = await verify([...files(), '--json'])
    expect(json.code).toBe(EXIT.findings)
    expect(JSON.parse(json.out).faults[0]).toMatchObject({ file: path, line: 1, offset: 0, kind: 'edited' })
  })

  it('finds 1,000 of 1,000 random edits of a single byte, and says where', async () => {
    const dice = createDice(20_261_123)
    const all = files()
    const wrong: string[] = []
    for (let edit = 0; edit < 1_000; edit += 1) {
      const file = all[dice(all.length)] ?? path
      const whole = readFileSync(file)
      const bytes = Buffer.from(whole)
      const at = dice(bytes.length)
      bytes[at] = ((bytes[at] ?? 0) + 1 + dice(255)) % 256
      writeFileSync(file, bytes)
      const { code, out } = await verify(all)
      writeFileSync(file, whole)
      const line = whole.subarray(0, at).toString('latin1').split('\n').length
      if (code !== EXIT.findings || !out.startsWith(`${file}: line ${line} (byte `))
        wrong.push(`${file} at ${at}: ${out}`)
    }
    expect(wrong).toEqual([])
    expect((await verify(all)).code).toBe(EXIT.ok)
  }, 60_000)

  it('finds a missing file, and a rollback by a head that was noted', async () => {
    expect((await verify(files().filter((name) => name !== path))).out).toContain('no_end')
    expect((await verify(files().slice(0, 1))).code).toBe(EXIT.findings)
    const [, noted = ''] = /head (\S+)/.exec((await verify(files())).out) ?? []
    const before = new Map([...files(), `${path}.chain`].map((name) => [name, readFileSync(name)]))
    await write(12, 3)
    const [, later = ''] = /head (\S+)/.exec((await verify(files())).out) ?? []
    expect((await verify([...files(), '--at-least', noted])).code).toBe(EXIT.ok)
    for (const name of files()) rmSync(name)
    for (const [name, bytes] of before) writeFileSync(name, bytes)
    expect((await verify(files())).code).toBe(EXIT.ok)
    expect((await verify([...files(), '--at-least', later])).code).toBe(EXIT.findings)
  })

  it('finds the seal of a rotated file whatever its number', async () => {
    const [, oldest = ''] = files()
    const renamed = `${path}.20261123T100000Z-10000`
    renameSync(oldest, renamed)
    const { out } = await verify([renamed])
    expect(out).toContain('no_end')
    expect(out).not.toContain('seal:')
  })

  it('takes the key from a file or another variable, and the seal from elsewhere', async () => {
    const keyFile = join(folder, '..', `${Date.now()}.key`)
    writeFileSync(keyFile, `${CHAIN_KEY}\n`, { mode: 0o600 })
    try {
      expect((await verify([...files(), '--key-file', keyFile], {})).code).toBe(EXIT.ok)
    } finally {
      rmSync(keyFile)
    }
    expect((await verify([...files(), '--key-env', 'MINE'], { MINE: CHAIN_KEY })).code).toBe(EXIT.ok)
    expect((await verify([...files(), '--seal', `${path}.chain`])).code).toBe(EXIT.ok)
    expect((await verify([...files(), '--seal', path])).out).toContain('seal:')
  })

  it.each(['666', '644', '620'])('takes no key from a file that others may read or change: mode %s', async (mode) => {
    const all = files()
    const keyFile = join(folder, 'key')
    writeFileSync(keyFile, `${CHAIN_KEY}\n`)
    chmodSync(keyFile, Number.parseInt(mode, 8))
    const { code, err } = await verify([...all, '--key-file', keyFile], {})
    expect([code, err]).toEqual([EXIT.failed, expect.stringContaining(`chmod 600 ${keyFile}`)])
    expect(err).not.toContain(CHAIN_KEY)
  })

  it.each([
    ['no key', [], {}, /--key-file or in PORTCULLIS_AUDIT_KEY/],
    ['a key file that is not there', ['--key-file', '/no/such/key'], {}, /cannot be read/],
    ['a head that is none', ['--at-least', 'x'], { PORTCULLIS_AUDIT_KEY: CHAIN_KEY }, /--at-least/],
    [
      'a file that is not there',
      ['/no/such/file'],
      { PORTCULLIS_AUDIT_KEY: CHAIN_KEY },
      /\/no\/such\/file: cannot be read \(ENOENT\)/,
    ],
    ['a folder', [tmpdir()], { PORTCULLIS_AUDIT_KEY: CHAIN_KEY }, /cannot be read \(EISDIR\)/],
  ])('cannot do it with %s', async (_name, args, env, message) => {
    const { code, err } = await verify([path, ...args], env as Record<string, string>)
    expect([code, err]).toEqual([EXIT.failed, expect.stringMatching(message)])
    expect(err).not.toContain(CHAIN_KEY)
  })

  it('finds a fault in every record with another key', async () => {
    expect((await verify(files(), { PORTCULLIS_AUDIT_KEY: 'another-key-of-16-bytes' })).out).toMatch(
      /\n0 records, 13 faults\n$/,
    )
  })

  it('runs as a command', () => {
    const { status, stdout } = spawnSync(
      process.execPath,
      ['--import', 'tsx', 'plugins/cli/main.ts', 'audit', 'verify', ...files(), '--json'],
      {
        cwd: ROOT,
        encoding: 'utf8',
        env: { ...process.env, PORTCULLIS_AUDIT_KEY: CHAIN_KEY },
      },
    )
    expect([status, JSON.parse(stdout).records]).toEqual([0, 12])
  })
})

describe('portcullis audit checkpoint', () => {
  const env = { PORTCULLIS_AUDIT_KEY: CHAIN_KEY }
  const checkpoint = (args: readonly string[]) => call(['audit', 'checkpoint', ...args], env)
  const rotated = () => files().filter((name) => name !== path)

  beforeEach(async () => {
    await write(12, 40)
    expect(rotated().length).toBeGreaterThan(3)
  })

  it('lets whole old files be deleted by hand, and the rest verifies, also after the gateway went on', async () => {
    const old = rotated().slice(0, 2)
    const { code, out } = await checkpoint(old)
    expect([code, out]).toEqual([
      EXIT.ok,
      expect.stringMatching(/^\d+ records, whole, head \d+:[0-9a-f]{64}\n.*may be deleted\n$/),
    ])
    expect((await verify(files())).code).toBe(EXIT.ok)
    for (const name of old) rmSync(name)
    expect((await verify(files())).out).toContain(', whole, head 52:')
    await write(52, 3)
    expect((await verify(files())).out).toContain(', whole, head 55:')
    // What is not behind the checkpoint is still missed.
    expect((await verify(files().slice(1))).out).toMatch(/no_start|no_end/)
    expect(readdirSync(folder).filter((name) => /lock|tmp/.test(name))).toEqual([])
  })

  it('says so again for files that may be deleted already', async () => {
    const old = rotated().slice(0, 2)
    await checkpoint(old)
    const seal = readFileSync(`${path}.chain`, 'utf8')
    expect((await checkpoint(old.slice(0, 1))).code).toBe(EXIT.ok)
    expect(readFileSync(`${path}.chain`, 'utf8')).toBe(seal)
  })

  it('leaves the chain as it is when a file was altered, or one before it is missing', async () => {
    const seal = readFileSync(`${path}.chain`, 'utf8')
    const [oldest = '', next = ''] = rotated()
    expect((await checkpoint([next])).out).toContain('no_start')
    const bytes = readFileSync(oldest)
    bytes[20] = 0x21
    writeFileSync(oldest, bytes)
    const { code, out } = await checkpoint([oldest])
    expect([code, out]).toEqual([EXIT.findings, expect.stringContaining('edited')])
    expect(out).not.toContain('may be deleted')
    expect(readFileSync(`${path}.chain`, 'utf8')).toBe(seal)
  })

  it('waits for who writes the file, and gives up in the end', async () => {
    const release = await systemOutputs.files.lock(`${path}.lock`)
    const waiting = checkpoint(rotated().slice(0, 1))
    await new Promise((resolve) => setTimeout(resolve, 50))
    await release?.()
    expect((await waiting).code).toBe(EXIT.ok)
    const held = await systemOutputs.files.lock(`${path}.lock`)
    const { code, err } = await call(
      ['audit', 'checkpoint', '--wait-ms', '30', rotated()[1] ?? '', rotated()[0] ?? ''],
      env,
    )
    expect([code, err]).toEqual([EXIT.failed, expect.stringContaining('another process writes')])
    await held?.()
  })

  it.each<[string, () => readonly string[], RegExp]>([
    ['the file that is still written to', () => [path], /still written to/],
    ['files of several audit files', () => [...rotated(), `${path}.other.20261123T100000Z-0001`], /of one audit file/],
    ['a chain without a seal', () => ['/no/such/audit.ndjson.20261123T100000Z-0001'], /no seal/],
  ])('cannot do it with %s', async (_name, args, message) => {
    const { code, err } = await checkpoint(args())
    expect([code, err]).toEqual([EXIT.failed, expect.stringMatching(message)])
  })

  it.skipIf(process.getuid?.() !== 0)(
    'is not for another user than the gateway’s, who could not read the seal then',
    async () => {
      chownSync(`${path}.chain`, 1234, 1234)
      const { code, err } = await checkpoint(rotated().slice(0, 1))
      expect([code, err]).toEqual([EXIT.failed, expect.stringContaining('sudo -u #1234')])
    },
  )
})

it('portcullis audit schema prints the JSON Schema', async () => {
  const { code, out } = await call(['audit', 'schema'])
  expect([code, JSON.parse(out).title]).toEqual([0, 'Portcullis audit record'])
})
