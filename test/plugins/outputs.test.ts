/** The real file system, standard output and HTTP, on their bad days. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { createDeps, createJsonLogger, systemClock, systemRandom } from '../../plugins/deps.ts'
import { systemFiles, systemOutputs } from '../../plugins/outputs.ts'
import { readSeal } from '../../policies/audit/chain.ts'
import { type FileOptions, fileTarget } from '../../policies/audit/sinks/file.ts'
import { httpTarget } from '../../policies/audit/sinks/http.ts'
import { createSink } from '../../policies/audit/sinks/queue.ts'
import { verifyChain } from '../../policies/audit/verify.ts'
import { CHAIN_KEY, makeRecord } from '../policies/audit/support.ts'

const ROOT = new URL('../..', import.meta.url).pathname
const SOON = { timeout: 10_000, interval: 20 }
let folder: string
let path: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'portcullis-outputs-'))
  path = join(folder, 'audit.ndjson')
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined }

function sinkOn(target: Parameters<typeof createSink>[0]['target'], queueBytes = 16_777_216) {
  const sink = createSink({
    target,
    batchRecords: 64,
    flushMs: 1,
    queueBytes,
    clock: systemClock,
    random: systemRandom,
    logger: quiet,
  })
  onTestFinished(() => sink.close())
  return sink
}

const fileSink = (options: Partial<FileOptions> = {}) =>
  sinkOn(
    fileTarget(
      { path, maxBytes: 1_000_000, daily: true, keep: 0, ...options },
      { outputs: systemOutputs, now: () => Date.now(), warn: () => undefined },
    ),
  )

const linesIn = (file: string) => readFileSync(file, 'utf8').split('\n').filter(Boolean)
const auditFiles = () => readdirSync(folder).filter((name) => /^audit\.ndjson(\.\d{8}T\d{6}Z-\d{4})?$/.test(name))

describe('a file', () => {
  it('is for its owner only, whatever it was before, and so are rotated ones, the seal and the lock', async () => {
    writeFileSync(path, '', { mode: 0o644 })
    chmodSync(path, 0o644)
    const sink = fileSink({ chainKey: CHAIN_KEY, maxBytes: 4_096 })
    for (let number = 0; number < 40; number += 1) sink.write(makeRecord(number))
    await sink.flush(5_000)
    expect(readdirSync(folder).length).toBeGreaterThan(3)
    for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).mode & 0o777, name).toBe(0o600)
  })

  it('is not written through a symbolic link', async () => {
    const elsewhere = join(folder, 'elsewhere')
    symlinkSync(elsewhere, path)
    const sink = fileSink()
    sink.write(makeRecord(1))
    await vi.waitFor(() => expect(sink.state.down).toBe(true), SOON)
    expect(existsSync(elsewhere)).toBe(false)
  })

  it('that was moved away is left alone after SIGHUP', async () => {
    const sink = fileSink()
    sink.write(makeRecord(1))
    await sink.flush(5_000)
    const moved = join(folder, 'moved')
    renameSync(path, moved)
    process.emit('SIGHUP')
    sink.write(makeRecord(2))
    await sink.flush(5_000)
    expect([linesIn(moved).length, linesIn(path).length]).toEqual([1, 1])
  })

  it('that somebody deletes is made anew', async () => {
    const sink = fileSink()
    sink.write(makeRecord(1))
    await sink.flush(5_000)
    rmSync(path)
    sink.write(makeRecord(2))
    await sink.flush(5_000)
    expect(linesIn(path).length).toBeGreaterThan(0)
  })

  it('is shared by two processes, whose records are one chain', async () => {
    const writers = [0, 1].map((number) => startWriter(String(number)))
    const codes = await Promise.all(writers.map(async (writer) => (await once(writer, 'exit'))[0]))
    expect(codes).toEqual([0, 0])
    const files = auditFiles().map((name) => ({ name, chunks: () => [readFileSync(join(folder, name))] }))
    const seal = readSeal(readFileSync(`${path}.chain`, 'utf8'), CHAIN_KEY)
    const { faults, records } = await verifyChain(files, { key: CHAIN_KEY, seal })
    expect([faults, records]).toEqual([[], 400])
    expect(files.length).toBeGreaterThan(2)
  }, 60_000)

  it('is taken over whole from a process that was killed', async () => {
    const writer = startWriter('9', 100_000)
    await vi.waitFor(() => expect(auditFiles().length).toBeGreaterThan(1), { ...SOON, timeout: 30_000 })
    writer.kill('SIGKILL')
    await once(writer, 'exit')
    const sink = fileSink({ chainKey: CHAIN_KEY })
    sink.write(makeRecord(1))
    await sink.flush(10_000)
    expect(sink.state).toMatchObject({ queued: 0, dropped: 0 })
    const files = auditFiles().map((name) => ({ name, chunks: () => [readFileSync(join(folder, name))] }))
    const seal = readSeal(readFileSync(`${path}.chain`, 'utf8'), CHAIN_KEY)
    expect((await verifyChain(files, { key: CHAIN_KEY, seal })).faults).toEqual([])
  }, 60_000)

  it.skipIf(!canMount())(
    'on a full disk loses nothing silently, and goes on once there is room',
    async () => {
      const disk = join(folder, 'small')
      mkdirSync(disk)
      expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk]).status).toBe(0)
      try {
        await fillAndFree(disk)
      } finally {
        spawnSync('umount', ['-l', disk])
      }
    },
    60_000,
  )
})

async function fillAndFree(disk: string): Promise<void> {
  path = join(disk, 'audit.ndjson')
  writeFileSync(join(disk, 'ballast'), Buffer.alloc(48_000))
  const target = fileTarget(
    { path, maxBytes: 1_000_000, daily: true, keep: 0, chainKey: CHAIN_KEY },
    { outputs: systemOutputs, now: () => Date.now(), warn: () => undefined },
  )
  const sink = sinkOn(target, 100_000)
  for (let number = 0; number < 500; number += 1) sink.write(makeRecord(number))
  await vi.waitFor(() => expect(sink.state.down).toBe(true), SOON)
  expect(sink.state.dropped).toBeGreaterThan(0)
  rmSync(join(disk, 'ballast'))
  spawnSync('mount', ['-o', 'remount,size=4m', disk])
  sink.write(makeRecord(500))
  await vi.waitFor(() => expect(sink.state.queued).toBe(0), { ...SOON, timeout: 30_000 })
  sink.write(makeRecord(501))
  await sink.close()
  const lines = linesIn(path).map((line) => JSON.parse(line) as Record<string, number>)
  const reported = lines.reduce((sum, line) => sum + (line['portcullis.audit.dropped'] ?? 0), 0)
  expect([reported, lines.length + reported]).toEqual([sink.state.dropped, 502])
  const seal = readSeal(readFileSync(`${path}.chain`, 'utf8'), CHAIN_KEY)
  const files = [{ name: path, chunks: () => [readFileSync(path)] }]
  expect((await verifyChain(files, { key: CHAIN_KEY, seal })).faults).toEqual([])
}

function canMount(): boolean {
  const probe = mkdtempSync(join(tmpdir(), 'portcullis-mount-'))
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', probe]).status === 0
  if (mounted) spawnSync('umount', ['-l', probe])
  rmSync(probe, { recursive: true })
  return mounted
}

function startWriter(id: string, count = 200): ChildProcess {
  const script = join(ROOT, 'test/plugins/support/audit-writer.ts')
  const child = spawn(process.execPath, ['--import', 'tsx', script, path, id, String(count)], {
    cwd: ROOT,
    stdio: 'inherit',
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

describe('the lock', () => {
  const lock = () => join(folder, 'x.lock')

  it('leaves nothing behind where nothing can be written', () => {
    const outputs = new URL('../../plugins/outputs.ts', import.meta.url).pathname
    const script = `const { systemFiles } = await import(${JSON.stringify(outputs)})
      await systemFiles.lock(${JSON.stringify(lock())}).catch(({ code }) => console.log(code))`
    const node = `ulimit -f 0; trap '' XFSZ; exec "$0" --import tsx --input-type=module --eval "$1"`
    const env = { ...process.env, TSX_DISABLE_CACHE: '1' }
    const { stdout } = spawnSync('sh', ['-c', node, process.execPath, script], { env, encoding: 'utf8' })
    expect(stdout).toBe('EFBIG\n')
    expect(readdirSync(folder).filter((name) => name.startsWith('x.lock'))).toEqual([])
  })

  it('is one holder’s at a time', async () => {
    const release = await systemFiles.lock(lock())
    expect(await systemFiles.lock(lock())).toBeUndefined()
    await release?.()
    const again = await systemFiles.lock(lock())
    expect(again).toBeDefined()
    await again?.()
    expect(readdirSync(folder)).toEqual([])
  })

  it.each([
    ['a process that is gone', () => `${hostname()} ${goneProcess()} x`, 0, true],
    ['this process, before a restart', () => `${hostname()} ${process.pid} x`, 0, true],
    ['a process that lives', () => `${hostname()} ${process.ppid} x`, 0, false],
    ['a process of another container', () => `elsewhere ${goneProcess()} x`, 0, false],
    ['anybody, for too long', () => `elsewhere ${process.ppid} x`, 120, true],
  ])('of %s', async (_name, token, ageSeconds, taken) => {
    writeFileSync(lock(), token())
    const then = Date.now() / 1000 - ageSeconds
    utimesSync(lock(), then, then)
    const release = await systemFiles.lock(lock())
    expect(release !== undefined).toBe(taken)
    await release?.()
  })

  it('of a dead holder goes to exactly one of many who want it', async () => {
    for (let round = 0; round < 20; round += 1) {
      writeFileSync(lock(), `${hostname()} ${goneProcess()} x`)
      const releases = await Promise.all(Array.from({ length: 10 }, () => systemFiles.lock(lock())))
      expect(releases.filter((release) => release !== undefined).length).toBeLessThanOrEqual(1)
      for (const release of releases) await release?.()
      rmSync(lock(), { force: true })
    }
  })
})

let gone: number | undefined
function goneProcess(): number {
  gone ??= spawnSync(process.execPath, ['-e', '']).pid
  return gone
}

async function collector(
  answer: Parameters<typeof createServer>[1],
): Promise<{ readonly url: string; readonly server: Server }> {
  const server = createServer(answer as never).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/logs`, server }
}

const httpSink = (url: string, queueBytes?: number) =>
  sinkOn(
    httpTarget(
      { url, headers: { authorization: 'Bearer collector-secret' }, format: 'ndjson', timeoutMs: 200 },
      systemOutputs,
    ),
    queueBytes,
  )

describe('a collector', () => {
  it('that is dead, stalled or slow keeps nobody waiting, and gets everything in the end', async () => {
    let mode: 'stalled' | 'failing' | 'good' = 'stalled'
    const got: string[] = []
    const { url } = await collector((request, response) => {
      if (mode === 'stalled') return
      let text = ''
      request.on('data', (piece) => {
        text += piece
      })
      request.on('end', () => {
        if (mode === 'good') got.push(...text.trim().split('\n'))
        response.writeHead(mode === 'good' ? 204 : 503).end('collector-secret')
      })
    })
    const sink = httpSink(url)
    for (let number = 0; number < 300; number += 1) expect(sink.write(makeRecord(number))).toBeUndefined()
    await vi.waitFor(() => expect(sink.state.down).toBe(true), SOON)
    mode = 'failing'
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(got).toEqual([])
    mode = 'good'
    await vi.waitFor(() => expect(sink.state.queued).toBe(0), { ...SOON, timeout: 20_000 })
    const ids = got.map((line) => (JSON.parse(line) as Record<string, unknown>)['gen_ai.usage.input_tokens'])
    expect(ids).toEqual(Array.from({ length: 300 }, (_, index) => index))
    expect(sink.state.dropped).toBe(0)
  }, 60_000)

  it('is told how many records it will never see', async () => {
    let works = false
    const got: Record<string, number>[] = []
    const { url } = await collector((request, response) => {
      let text = ''
      request.on('data', (piece) => {
        text += piece
      })
      request.on('end', () => {
        if (works)
          got.push(
            ...text
              .trim()
              .split('\n')
              .map((line) => JSON.parse(line) as Record<string, number>),
          )
        response.writeHead(works ? 200 : 500).end()
      })
    })
    const sink = httpSink(url, 65_536)
    for (let number = 0; number < 1_000; number += 1) sink.write(makeRecord(number))
    works = true
    await vi.waitFor(() => expect(sink.state.queued).toBe(0), SOON)
    sink.write(makeRecord(1_000))
    await sink.flush(5_000)
    const reported = got.reduce((sum, record) => sum + (record['portcullis.audit.dropped'] ?? 0), 0)
    expect([reported, got.length + reported]).toEqual([sink.state.dropped, 1_001])
    expect(reported).toBeGreaterThan(0)
  })

  it('is not followed elsewhere, and its errors name neither it nor a secret', async () => {
    const hits: string[] = []
    const other = await collector((request, response) => {
      hits.push(request.url ?? '')
      response.end()
    })
    const { url } = await collector((_request, response) => {
      response.writeHead(307, { location: other.url }).end()
    })
    const headers = { authorization: 'Bearer collector-secret' }
    const request = { url, headers, body: Buffer.from('x'), timeoutMs: 1_000 }
    expect((await systemOutputs.post(request)).status).toBe(307)
    expect(hits).toEqual([])
    const refusing = createTcpServer((socket) => void socket.destroy()).listen(0, '127.0.0.1')
    await once(refusing, 'listening')
    onTestFinished(() => void refusing.close())
    const dead = `http://127.0.0.1:${(refusing.address() as AddressInfo).port}/path-secret?token=query-secret`
    const failure = await systemOutputs.post({ ...request, url: dead }).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'collector_unreachable' })
    expect(`${failure}${JSON.stringify(failure)}${(failure as Error).stack}`).not.toMatch(/secret|127\.0\.0\.1/)
  })

  it('may say in JSON what became of the records, but not at any length', async () => {
    const json = '{"partialSuccess":{"rejectedLogRecords":"2"}}'
    const replies = [json, `"${'x'.repeat(65_534)}"`, `"${'x'.repeat(65_535)}"`, '']
    const { url } = await collector((request, response) => {
      const type = request.url === '/text' ? 'text/plain' : 'application/json; charset=utf-8'
      response.writeHead(200, { 'content-type': type }).end(replies.shift())
    })
    const request = { url, headers: {}, body: Buffer.from('x'), timeoutMs: 5_000 }
    expect(await systemOutputs.post(request)).toEqual({ status: 200, json })
    expect((await systemOutputs.post(request)).json).toHaveLength(65_536)
    expect(await systemOutputs.post(request)).toEqual({ status: 200 })
    expect(await systemOutputs.post(request)).toEqual({ status: 200, json: '' })
    replies.push(json)
    expect(await systemOutputs.post({ ...request, url: new URL('/text', url).href })).toEqual({ status: 200 })
  })

  it('that never ends its answer has given it all the same: nothing is posted twice', async () => {
    const { url } = await collector((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).write('{')
    })
    const request = { url, headers: {}, body: Buffer.from('x'), timeoutMs: 200 }
    expect(await systemOutputs.post(request)).toEqual({ status: 200 })
  })

  it('may say when to come again', async () => {
    const { url } = await collector((_request, response) => void response.writeHead(429, { 'retry-after': '7' }).end())
    const request = { url, headers: {}, body: Buffer.from('x'), timeoutMs: 1_000 }
    expect(await systemOutputs.post(request)).toEqual({ status: 429, retryAfterMs: 7_000 })
  })
})

describe('standard output', () => {
  it('that nobody reads neither stops the process nor keeps it from ending', async () => {
    const script = join(ROOT, 'test/plugins/support/stdout-writer.ts')
    const child = spawn(process.execPath, ['--import', 'tsx', script], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
    onTestFinished(() => void child.kill('SIGKILL'))
    let stderr = ''
    child.stderr.on('data', (piece) => {
      stderr += piece
    })
    const [code] = await once(child, 'exit')
    // More than a pipe holds was written; the loop went on turning, and what did not fit was counted.
    expect(code).toBe(0)
    expect(JSON.parse(stderr)).toMatchObject({ turned: true, down: false })
    expect(JSON.parse(stderr).dropped + JSON.parse(stderr).queued).toBeGreaterThan(0)
  }, 30_000)

  it('that is read gets every record', async () => {
    const script = join(ROOT, 'test/plugins/support/stdout-writer.ts')
    const { stdout, status } = spawnSync(process.execPath, ['--import', 'tsx', script], {
      cwd: ROOT,
      encoding: 'utf8',
      maxBuffer: 1e9,
    })
    const ids = stdout
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as Record<string, unknown>)['gen_ai.usage.input_tokens'])
    expect(status).toBe(0)
    expect(ids).toEqual(Array.from({ length: 2_000 }, (_, index) => index))
  }, 30_000)
})

it('many files listen to SIGHUP through one listener, and the last one takes it along', () => {
  const before = process.listenerCount('SIGHUP')
  const heard: number[] = []
  const removals = Array.from({ length: 20 }, (_, index) => systemOutputs.onReopen(() => heard.push(index)))
  expect(process.listenerCount('SIGHUP')).toBeLessThanOrEqual(before + 1)
  process.emit('SIGHUP')
  expect(heard).toHaveLength(20)
  for (const remove of removals) remove()
  process.emit('SIGHUP')
  expect([heard.length, process.listenerCount('SIGHUP')]).toEqual([20, before])
})

it('every gateway has them', () => {
  expect(createDeps({ logger: createJsonLogger(() => undefined) }).outputs).toBe(systemOutputs)
})
