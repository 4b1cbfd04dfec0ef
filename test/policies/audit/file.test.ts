import { describe, expect, it } from 'vitest'
import { readSeal } from '../../../policies/audit/chain.ts'
import { type FileOptions, fileTarget } from '../../../policies/audit/sinks/file.ts'
import type { Target } from '../../../policies/audit/sinks/target.ts'
import { type Verification, verifyChain } from '../../../policies/audit/verify.ts'
import {
  CHAIN_KEY,
  createDisk,
  createLines,
  createOutputs,
  createTestClock,
  makeRecord,
  type TestDisk,
} from './support.ts'

const PATH = '/var/log/audit.ndjson'

function stage(options: Partial<FileOptions> = {}) {
  const clock = createTestClock()
  const disk = createDisk(clock.now)
  const outputs = createOutputs({ files: disk })
  const { lines, logger } = createLines()
  const open = (more: Partial<FileOptions> = {}): Target =>
    fileTarget(
      { path: PATH, maxBytes: 1_000_000, daily: true, keep: 0, ...options, ...more },
      { outputs, now: clock.now, warn: logger.warn },
    )
  return { clock, disk, outputs, lines, open }
}

const batch = (from: number, count: number) =>
  Array.from({ length: count }, (_, index) => JSON.stringify(makeRecord(from + index)))

/** As the queue does: again and again with the same lines, until all are delivered. */
async function deliverAll(target: Target, lines: readonly string[]): Promise<void> {
  let left = lines
  for (let attempts = 0; left.length > 0; attempts += 1) {
    if (attempts > 100) throw new Error('never delivered')
    try {
      left = left.slice(await target.deliver(left))
    } catch {
      // Asked again.
    }
  }
  await target.idle?.()
}

const auditFiles = (disk: TestDisk) =>
  [...disk.content.keys()].filter((path) => path.startsWith(PATH) && !path.includes('.chain')).sort()

const recordsIn = (disk: TestDisk) =>
  [...auditFiles(disk).filter((path) => path !== PATH), PATH]
    .flatMap((path) => disk.text(path).split('\n'))
    .filter((line) => line !== '')

const numbersIn = (disk: TestDisk) =>
  recordsIn(disk).map(
    (line) => (JSON.parse(line) as { 'gen_ai.usage.input_tokens': number })['gen_ai.usage.input_tokens'],
  )

function verify(disk: TestDisk): Promise<Verification> {
  const files = auditFiles(disk).map((name) => ({ name, chunks: () => [disk.content.get(name) ?? Buffer.alloc(0)] }))
  return verifyChain(files, { key: CHAIN_KEY, seal: readSeal(disk.text(`${PATH}.chain`), CHAIN_KEY) })
}

const EVERY_STEP = ['open', 'rename', 'append', 'writeSmall', 'remove', 'truncate']
const range = (count: number) => Array.from({ length: count }, (_, index) => index)

describe('a file', () => {
  it('takes lines in order, and goes on where it stopped', async () => {
    const { disk, open } = stage()
    await deliverAll(open(), batch(0, 3))
    await deliverAll(open(), batch(3, 2))
    expect(numbersIn(disk)).toEqual(range(5))
  })

  it('rotates before it grows past its size, never through a line, and takes a line that is larger than that', async () => {
    const { disk, open } = stage({ maxBytes: 1_000 })
    await deliverAll(open(), batch(0, 30))
    const huge = JSON.stringify(makeRecord(30, { 'portcullis.content.request': 'x'.repeat(5_000) }))
    await deliverAll(open(), [huge, ...batch(31, 3)])
    expect(numbersIn(disk)).toEqual(range(34))
    expect(auditFiles(disk).length).toBeGreaterThan(8)
    for (const path of auditFiles(disk)) {
      expect(disk.text(path)).toMatch(/\n$/)
      if (!disk.text(path).includes('xxx')) expect(disk.text(path).length).toBeLessThanOrEqual(1_000)
    }
  })

  it('rotates when a day begins in UTC, also after a restart', async () => {
    const { clock, disk, open } = stage()
    const target = open()
    await deliverAll(target, batch(0, 1))
    await clock.pass(14 * 3_600_000)
    await deliverAll(target, batch(1, 1))
    expect(auditFiles(disk)).toEqual([PATH, `${PATH}.20261124T000000Z-0001`])
    await clock.pass(24 * 3_600_000)
    await deliverAll(open(), batch(2, 1))
    expect(auditFiles(disk)).toHaveLength(3)
    await clock.pass(24 * 3_600_000)
    await deliverAll(open({ daily: false }), batch(3, 1))
    expect(auditFiles(disk)).toHaveLength(3)
    expect(numbersIn(disk)).toEqual(range(4))
  })

  it('rotates beyond 9999 of one second, overwrites none of them, and deletes the oldest by number', async () => {
    const { disk, open } = stage({ maxBytes: 1_000 })
    const rotated = (number: number) => disk.text(`${PATH}.20261123T100000Z-${number}`)
    disk.content.set(`${PATH}.20261123T100000Z-9998`, Buffer.from('older\n'))
    disk.content.set(`${PATH}.20261123T100000Z-9999`, Buffer.from('old\n'))
    await deliverAll(open(), batch(0, 16))
    expect([rotated(9998), rotated(9999)]).toEqual(['older\n', 'old\n'])
    expect(rotated(10_000)).toContain('request-0')
    expect(rotated(10_001)).not.toBe('')
    const all = [...disk.content.values()].join('')
    for (const number of range(16)) expect(all).toContain(`"request-${number}"`)
    await deliverAll(open({ keep: 2 }), batch(16, 8))
    expect(auditFiles(disk)).toHaveLength(3)
    expect([rotated(9999), rotated(10_000)]).toEqual(['', ''])
    expect(disk.text(PATH)).toContain('request-23')
  })

  it.each(['1000000000000000', '99999999999999999999'])(
    'goes round a file that is there already, whatever its number: %s',
    async (number) => {
      const { disk, open } = stage({ maxBytes: 1_000 })
      const taken = [number, '999999999999999'].map((one) => `${PATH}.20261123T100000Z-${one}`)
      for (const path of taken) disk.content.set(path, Buffer.from('old\n'))
      await deliverAll(open(), batch(0, 16))
      expect(taken.map(disk.text)).toEqual(['old\n', 'old\n'])
      const all = [...disk.content.values()].join('')
      for (const index of range(16)) expect(all).toContain(`"request-${index}"`)
    },
  )

  it('keeps as many rotated files as it is told', async () => {
    const { disk, open } = stage({ maxBytes: 1_000, keep: 2 })
    await deliverAll(open(), batch(0, 40))
    expect(auditFiles(disk)).toHaveLength(3)
    expect(numbersIn(disk).at(-1)).toBe(39)
  })

  it('is opened again when it is told to, and a file that was moved away stays as it is', async () => {
    const { disk, open, outputs } = stage()
    const target = open()
    await target.deliver(batch(0, 1))
    await disk.rename(PATH, '/var/log/moved')
    outputs.reopen()
    await deliverAll(target, batch(1, 1))
    expect(disk.text('/var/log/moved').split('\n')).toHaveLength(2)
    expect(numbersIn(disk)).toEqual([1])
  })

  it('is told of nothing any more once it is closed', async () => {
    const { open, outputs } = stage()
    const [one, other] = [open(), open()]
    expect(outputs.listening).toBe(2)
    await deliverAll(one, batch(0, 1))
    await one.close?.()
    expect(outputs.listening).toBe(1)
    await other.close?.()
    expect(outputs.listening).toBe(0)
  })

  it('is let go of within a second, so that another process can write as well', async () => {
    const { clock, disk, open } = stage({ chainKey: CHAIN_KEY })
    const [one, other] = [open(), open()]
    await one.deliver(batch(0, 1))
    await expect(other.deliver(batch(1, 1))).rejects.toMatchObject({ code: 'audit_file_locked' })
    await clock.pass(1_000)
    await one.deliver(batch(1, 1))
    await other.deliver(batch(2, 1))
    await expect(one.deliver(batch(3, 1))).rejects.toMatchObject({ code: 'audit_file_locked' })
    await other.idle?.()
    await deliverAll(one, batch(3, 1))
    expect(numbersIn(disk)).toEqual(range(4))
    expect((await verify(disk)).faults).toEqual([])
  })
})

describe('a bad day of the disk', () => {
  it.each([undefined, CHAIN_KEY])(
    'a full disk leaves no half line, and nothing is lost once there is room (chain key %s)',
    async (key) => {
      const { disk, open } = stage(key === undefined ? {} : { chainKey: key })
      const target = open()
      await deliverAll(target, batch(0, 3))
      disk.room = 150
      await expect(target.deliver(batch(3, 4))).rejects.toMatchObject({ code: 'ENOSPC' })
      expect(disk.text(PATH)).toMatch(/\n$/)
      expect(numbersIn(disk)).toEqual(range(3))
      disk.room = 1_000_000
      await deliverAll(target, batch(3, 4))
      expect(numbersIn(disk)).toEqual(range(7))
      if (key !== undefined) expect((await verify(disk)).faults).toEqual([])
    },
  )

  it('a full disk that cannot even be cut back is put right when the file is opened again', async () => {
    const { disk, open } = stage({ chainKey: CHAIN_KEY })
    const target = open()
    await deliverAll(target, batch(0, 2))
    disk.room = 150
    disk.failing.add('truncate')
    await expect(target.deliver(batch(2, 2))).rejects.toMatchObject({ code: 'ENOSPC' })
    expect(disk.text(PATH)).not.toMatch(/\n$/)
    disk.failing.clear()
    disk.room = 1_000_000
    await deliverAll(target, batch(2, 2))
    expect(numbersIn(disk)).toEqual(range(4))
    expect((await verify(disk)).faults).toEqual([])
  })

  it.each(['open', 'rename', 'append', 'writeSmall', 'remove'])(
    '%s fails for a while, and nothing is lost',
    async (operation) => {
      const { disk, open } = stage({ chainKey: CHAIN_KEY, maxBytes: 1_500, keep: 50 })
      const target = open()
      await deliverAll(target, batch(0, 5))
      disk.failing.add(operation)
      let left = batch(5, 10)
      for (let attempt = 0; attempt < 3 && left.length > 0; attempt += 1) {
        try {
          left = left.slice(await target.deliver(left))
        } catch {
          // Asked again.
        }
      }
      disk.failing.clear()
      await deliverAll(target, left)
      expect(numbersIn(disk)).toEqual(range(15))
      expect((await verify(disk)).faults).toEqual([])
    },
  )
})

describe('a chain in files', () => {
  it('runs on through rotations and restarts', async () => {
    const { disk, open } = stage({ chainKey: CHAIN_KEY, maxBytes: 2_000 })
    for (let start = 0; start < 60; start += 6) await deliverAll(open(), batch(start, 6))
    expect(auditFiles(disk).length).toBeGreaterThan(5)
    expect(numbersIn(disk)).toEqual(range(60))
    expect(await verify(disk)).toMatchObject({ faults: [], records: 60, head: { seq: 60 } })
  })

  it('stays whole when old files are deleted', async () => {
    const { disk, open } = stage({ chainKey: CHAIN_KEY, maxBytes: 2_000, keep: 2 })
    for (let start = 0; start < 60; start += 6) await deliverAll(open(), batch(start, 6))
    expect(auditFiles(disk)).toHaveLength(3)
    const { faults, records } = await verify(disk)
    expect(faults).toEqual([])
    expect(records).toBeLessThan(60)
  })

  it('keeps the newest when the clock is set back', async () => {
    const { clock, disk, open } = stage({ maxBytes: 1_000, keep: 3 })
    await clock.pass(86_400_000)
    await deliverAll(open(), batch(0, 20))
    const back = createTestClock()
    const target = fileTarget(
      { path: PATH, maxBytes: 1_000, daily: true, keep: 3 },
      { outputs: createOutputs({ files: disk }), now: back.now, warn: () => undefined },
    )
    await deliverAll(target, batch(20, 20))
    const numbers = numbersIn(disk)
    expect(numbers).toEqual(range(40).slice(-numbers.length))
    expect(auditFiles(disk)).toHaveLength(4)
  })

  it('does not delete an old file that was tampered with', async () => {
    const { disk, open, lines } = stage({ chainKey: CHAIN_KEY, maxBytes: 2_000, keep: 1 })
    await deliverAll(open(), batch(0, 6))
    await deliverAll(open({ keep: 0 }), batch(6, 30))
    const [, oldest = ''] = auditFiles(disk)
    const bytes = Buffer.from(disk.content.get(oldest) ?? [])
    bytes[bytes.length - 30] = 0x21
    disk.content.set(oldest, bytes)
    await deliverAll(open(), batch(36, 10))
    expect(auditFiles(disk)).toContain(oldest)
    expect(lines.join('\n')).toContain('an old audit file stays')
  })

  /** The process ends right after each single step that changes the disk; the next one takes over. */
  it('is whole wherever the process was killed', async () => {
    let steps = 0
    for (let fatal = 0; fatal <= steps; fatal += 1) {
      const { disk, open } = stage({ chainKey: CHAIN_KEY, maxBytes: 1_500, keep: 2 })
      let step = 0
      disk.onStep = () => {
        step += 1
        if (step === fatal) for (const operation of EVERY_STEP) disk.failing.add(operation)
        if (fatal > 0 && step >= fatal) throw new Error('killed')
      }
      const lines = batch(0, 24)
      let delivered = 0
      const first = open()
      while (delivered < lines.length) {
        try {
          delivered += await first.deliver(lines.slice(delivered, delivered + 4))
        } catch {
          break
        }
      }
      steps = Math.max(steps, step)
      disk.onStep = () => undefined
      disk.failing.clear()
      await first.idle?.()
      // What was not acknowledged is written by whoever has it still; some of it may then be there twice.
      await deliverAll(open(), lines.slice(delivered))
      const { faults } = await verify(disk)
      expect(faults, `killed after step ${fatal}`).toEqual([])
      expect(numbersIn(disk).at(-1)).toBe(23)
    }
    expect(steps).toBeGreaterThan(15)
  })

  it('says what is missing when the end of the file was cut off, and goes on', async () => {
    const { disk, open, lines } = stage({ chainKey: CHAIN_KEY })
    await deliverAll(open(), batch(0, 5))
    const text = disk.text(PATH)
    disk.content.set(PATH, Buffer.from(`${text.split('\n').slice(0, 3).join('\n')}\n`))
    await deliverAll(open(), batch(5, 2))
    expect((await verify(disk)).faults).toMatchObject([
      { line: 4, kind: 'missing', message: 'records 4 to 5 are missing' },
    ])
    expect(lines.join('\n')).toContain('the end of an audit file is not what was written')
  })

  it('takes out a line that a crash cut short', async () => {
    const { disk, open, lines } = stage({ chainKey: CHAIN_KEY })
    await deliverAll(open(), batch(0, 2))
    disk.content.set(PATH, Buffer.concat([disk.content.get(PATH) ?? Buffer.alloc(0), Buffer.from('{"schema":"por')]))
    await deliverAll(open(), batch(2, 2))
    expect(numbersIn(disk)).toEqual(range(4))
    expect((await verify(disk)).faults).toEqual([])
    expect(lines.join('\n')).toContain('ended in the middle of a line')
  })

  it('sets aside what it cannot continue: files from before the chain, and those of another key', async () => {
    const { disk, open, lines } = stage()
    await deliverAll(open(), batch(0, 2))
    await deliverAll(open({ chainKey: CHAIN_KEY }), batch(2, 2))
    await deliverAll(open({ chainKey: 'another-key-of-the-tests' }), batch(4, 2))
    const aside = [...disk.content.keys()].filter((path) => path.endsWith('.aside'))
    expect(aside).toHaveLength(3)
    expect(numbersIn(disk).toSorted((a, b) => a - b)).toEqual(range(6))
    expect(lines.filter((line) => line.includes('was set aside'))).toHaveLength(3)
  })
})
