import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { AuditRecord } from '../../../policies/audit/record.ts'
import { auditRecordSchema } from '../../../policies/audit/schema.ts'
import { createSink } from '../../../policies/audit/sinks/queue.ts'
import { stdoutTarget } from '../../../policies/audit/sinks/stdout.ts'
import { createDisk, createLines, createOutputs, createTestClock, makeRecord } from './support.ts'

const validate = new Ajv2020({ allErrors: true, strict: true }).compile(auditRecordSchema)

const MOST = 3_900
const REQUEST = 'portcullis.content.request'
const RESPONSE = 'portcullis.content.response'

/** What comes out on standard output, line by line. */
async function written(records: readonly AuditRecord[], maxLineBytes = MOST) {
  const clock = createTestClock()
  const outputs = createOutputs({ files: createDisk(clock.now) })
  const { lines: logged, logger } = createLines()
  const sink = createSink({
    target: stdoutTarget(outputs, { maxLineBytes }),
    batchRecords: 10,
    flushMs: 0,
    queueBytes: 10_000_000,
    clock,
    random: { id: () => 'id', fraction: () => 0.5 },
    logger,
  })
  for (const record of records) sink.write(record)
  await clock.pass(1)
  const lines = Buffer.concat(outputs.stdout).toString().split('\n').slice(0, -1)
  for (const line of lines) expect(Buffer.byteLength(line)).toBeLessThanOrEqual(maxLineBytes)
  const read = lines.map((line) => JSON.parse(line) as AuditRecord)
  for (const record of read) expect(validate(record), JSON.stringify(validate.errors)).toBe(true)
  return { lines, records: read, sink, logged }
}

describe('standard output', () => {
  const lines = Array.from({ length: 40 }, (_, number) => JSON.stringify(makeRecord(number)))
  const outputsThat = (writeStdout: (bytes: Uint8Array) => Promise<void>) =>
    createOutputs({ files: createDisk(() => 0), writeStdout })

  it('gets whole lines, and no more at once than a pipe takes in one piece', async () => {
    const outputs = outputsThat(async () => undefined)
    const long = JSON.stringify(makeRecord(40, { [REQUEST]: 'x'.repeat(10_000) }))
    expect(await stdoutTarget(outputs, { maxLineBytes: 20_000 }).deliver([...lines, long, ...lines])).toBe(81)
    const pieces = outputs.stdout.map(String)
    expect(pieces.join('')).toBe([...lines, long, ...lines].map((line) => `${line}\n`).join(''))
    for (const piece of pieces) {
      expect(piece.endsWith('\n')).toBe(true)
      if (!piece.startsWith(long)) expect(Buffer.byteLength(piece)).toBeLessThanOrEqual(4_096)
    }
    expect(pieces.length).toBeLessThan(10)
  })

  it('that fails gets nothing twice', async () => {
    let room = 1
    const outputs = outputsThat(async () => {
      room -= 1
      if (room < 0) throw Object.assign(new Error('x'), { code: 'EPIPE' })
    })
    const target = stdoutTarget(outputs, { maxLineBytes: 3_900 })
    const first = await target.deliver(lines)
    expect(first).toBeLessThan(40)
    await expect(target.deliver(lines.slice(first))).rejects.toMatchObject({ code: 'EPIPE' })
    room = 100
    expect(await target.deliver(lines.slice(first))).toBe(40 - first)
    expect(Buffer.concat(outputs.stdout).toString()).toBe(lines.map((line) => `${line}\n`).join(''))
  })
})

describe('a line on standard output', () => {
  it('is the record as it is, while that is short enough', async () => {
    const record = makeRecord(1, { [REQUEST]: 'x'.repeat(3_000) })
    expect((await written([record])).records).toEqual([record])
  })

  it('has as much of the content as fits, and says that it was cut', async () => {
    const content = `"${'word\n'.repeat(2_000)}"`
    const { lines, records } = await written([makeRecord(1, { [REQUEST]: content })])
    expect(records[0]).toMatchObject({ 'portcullis.request.id': 'request-1', [`${REQUEST}.truncated`]: true })
    expect(content.startsWith(records[0]?.[REQUEST] ?? '?')).toBe(true)
    expect(lines[0]?.length).toBeGreaterThan(MOST - 100)
  })

  it('shares the room between request and reply, and leaves whole what is short', async () => {
    const [short, long] = ['a short one', 'word '.repeat(2_000)]
    for (const [request, response] of [
      [short, long],
      [long, short],
      [long, long],
    ] as const) {
      const { lines, records } = await written([makeRecord(1, { [REQUEST]: request, [RESPONSE]: response })])
      const [record] = records
      expect(lines[0]?.length).toBeGreaterThan(MOST - 200)
      for (const [name, text] of [
        [REQUEST, request],
        [RESPONSE, response],
      ] as const) {
        if (text === short) expect(record?.[name]).toBe(short)
        else expect(record?.[name]?.length).toBeGreaterThan(1_500)
        expect(record?.[`${name}.truncated`]).toBe(text === short ? undefined : true)
      }
    }
  })

  it('is a record that fits, whatever the content', async () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 4_000 }),
      fc.constantFrom('[EMAIL:7f3a]', '漢字', '\\"', '\u0000', '😀').map((piece) => piece.repeat(2_000)),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(text, { maxLength: 2 }), async ([request, response]) => {
        const record = makeRecord(1, {
          ...(request === undefined ? {} : { [REQUEST]: request }),
          ...(response === undefined ? {} : { [RESPONSE]: response }),
        })
        const { records } = await written([record], 2_048)
        expect(records).toHaveLength(1)
        const { [REQUEST]: one = '', [RESPONSE]: other = '' } = records[0] ?? {}
        expect((request ?? '').startsWith(one)).toBe(true)
        expect((response ?? '').startsWith(other)).toBe(true)
        // No placeholder that is cut through.
        expect(`${one}\n${other}`).not.toMatch(/\[[A-Z:0-9a-f]*$/m)
      }),
      { numRuns: 60 },
    )
  })

  it('goes without content, and says so, where a caller made what was found in it fill the line', async () => {
    const findings = Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`KIND_OF_SECRET_${index}`, 1]))
    const { records } = await written([makeRecord(1, { [REQUEST]: 'x', [`${REQUEST}.findings`]: findings })])
    expect(records).toEqual([makeRecord(1, { [`${REQUEST}.dropped`]: 'too_large' })])
  })

  it('is left out and counted when nothing of it can give way', async () => {
    const { records, sink, logged } = await written([
      makeRecord(1, { 'user.name': 'x'.repeat(5_000) }),
      makeRecord(2, { [REQUEST]: 'word '.repeat(2_000) }),
    ])
    expect(records).toMatchObject([{ 'portcullis.request.id': 'request-2', 'portcullis.audit.dropped': 1 }])
    expect(sink.state).toMatchObject({ queued: 0, dropped: 1 })
    expect(logged).toEqual(['warn audit records are being lost {"sink":"audit.stdout"}'])
  })
})
