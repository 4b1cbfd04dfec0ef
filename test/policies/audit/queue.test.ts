import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type AuditSink, createSink, type QueueOptions } from '../../../policies/audit/sinks/queue.ts'
import { PartlyRefused, Refused, RetryLater, type Target } from '../../../policies/audit/sinks/target.ts'
import { createLines, createTestClock, makeRecord, settle } from './support.ts'

interface Stage {
  readonly sink: AuditSink
  readonly clock: ReturnType<typeof createTestClock>
  readonly lines: string[]
}

function stage(target: Partial<Target>, more: Partial<QueueOptions> = {}): Stage {
  const clock = createTestClock()
  const { lines, logger } = createLines()
  const sink = createSink({
    target: { name: 'audit.test', deliver: async (batch) => batch.length, ...target },
    batchRecords: 10,
    flushMs: 200,
    queueBytes: 100_000,
    clock,
    random: { id: () => 'id', fraction: () => 0.5 },
    logger,
    ...more,
  })
  return { sink, clock, lines }
}

const idsOf = (lines: readonly string[]) => lines.map((line) => JSON.parse(line)['portcullis.request.id'] as string)
const droppedIn = (lines: readonly string[]) => lines.map((line) => JSON.parse(line)['portcullis.audit.dropped'] ?? 0)

describe('the queue of a sink', () => {
  it('waits for others, but not longer than it may', async () => {
    const batches: string[][] = []
    const { sink, clock } = stage({ deliver: async (batch) => batches.push(idsOf(batch)) && batch.length })
    sink.write(makeRecord(1))
    sink.write(makeRecord(2))
    await clock.pass(199)
    expect(batches).toEqual([])
    await clock.pass(1)
    expect(batches).toEqual([['request-1', 'request-2']])
    for (let number = 3; number <= 12; number += 1) sink.write(makeRecord(number))
    await settle()
    expect(batches[1]).toHaveLength(10)
    expect(sink.state).toEqual({ queued: 0, queuedBytes: 0, dropped: 0, down: false })
  })

  it('never throws and never waits, whatever the sink does', async () => {
    const never = stage({ deliver: () => new Promise(() => undefined) })
    const throws = stage({
      deliver() {
        throw new TypeError('sk-secret')
      },
    })
    for (const { sink, clock } of [never, throws]) {
      for (let number = 0; number < 2_000; number += 1) expect(sink.write(makeRecord(number))).toBeUndefined()
      await clock.pass(10)
      expect(sink.state.queuedBytes).toBeLessThanOrEqual(100_000)
      expect(sink.state.queued + sink.state.dropped).toBe(2_000)
      expect(sink.state.dropped).toBeGreaterThan(0)
    }
    expect(throws.lines.join('\n')).not.toContain('sk-secret')
  })

  it('delivers in order and once, however often the sink fails, and counts what did not fit', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom('ok', 'part', 'fail', 'later', 'refuse', 'lose'), { maxLength: 30 }),
        fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 20 }),
        async (script, bursts) => {
          const got: string[] = []
          let reported = 0
          let refused = 0
          const steps = [...script]
          const { sink, clock } = stage(
            {
              async deliver(batch) {
                const step = steps.shift() ?? 'ok'
                if (step === 'fail') throw new Error('x')
                if (step === 'later') throw new RetryLater('busy', 'x', 500)
                if (step === 'refuse') {
                  refused += batch.length
                  throw new Refused('bad', 'x')
                }
                if (step === 'lose') {
                  // All but the first, which carries the report.
                  got.push(...idsOf(batch.slice(0, 1)))
                  reported += droppedIn(batch.slice(0, 1))[0] ?? 0
                  refused += batch.length - 1
                  throw new PartlyRefused('some', 'x', { taken: batch.length, lost: batch.length - 1 })
                }
                const taken = step === 'part' ? batch.slice(0, Math.ceil(batch.length / 2)) : batch
                got.push(...idsOf(taken))
                for (const count of droppedIn(taken)) reported += count
                return taken.length
              },
            },
            { queueBytes: 10_000 },
          )
          let number = 0
          for (const burst of bursts) {
            for (let one = 0; one < burst; one += 1) sink.write(makeRecord(++number))
            await clock.pass(300)
          }
          await clock.pass(3_600_000)
          steps.length = 0
          sink.write(makeRecord(++number))
          await clock.pass(3_600_000)
          const order = got.map((id) => Number(id.slice('request-'.length)))
          expect(order).toEqual([...new Set(order)].sort((a, b) => a - b))
          expect(order.length + sink.state.dropped).toBe(number)
          // Every loss is reported in some later record, once; the last one was delivered, so all are.
          expect(reported).toBe(sink.state.dropped)
          expect(sink.state.dropped).toBeGreaterThanOrEqual(refused)
          expect(sink.state.queued).toBe(0)
        },
      ),
      { numRuns: 60 },
    )
  })

  it('waits longer and longer between attempts, never twice alike, and as long as the collector asks', async () => {
    const attempts: number[] = []
    let fraction = 0
    const clock = createTestClock()
    const { sink } = stage(
      {
        async deliver() {
          attempts.push(clock.now())
          throw attempts.length === 8 ? new RetryLater('busy', 'x', 20_000) : new Error('x')
        },
      },
      { clock, flushMs: 0, random: { id: () => 'id', fraction: () => (fraction = (fraction + 0.37) % 1) } },
    )
    sink.write(makeRecord(1))
    await clock.pass(600_000)
    const pauses = attempts.slice(1).map((at, index) => at - (attempts[index] ?? 0))
    const bounds = pauses.map((_, index) => Math.min(30_000, 100 * 2 ** index))
    for (const [index, pause] of pauses.entries()) {
      expect(pause).toBeLessThanOrEqual(Math.max(bounds[index] ?? 0, 20_000))
      expect(pause).toBeGreaterThanOrEqual((bounds[index] ?? 0) / 2)
    }
    expect(pauses[7]).toBe(20_000)
    expect(new Set(pauses.slice(0, 6).map((pause, index) => pause / (bounds[index] ?? 1))).size).toBeGreaterThan(3)
  })

  it('says once that it fails, once that it works again, and once that it loses', async () => {
    let works = false
    const { sink, clock, lines } = stage(
      {
        async deliver(batch) {
          if (!works) throw Object.assign(new Error('/secret/path'), { code: 'ENOSPC' })
          return batch.length
        },
      },
      { queueBytes: 65_536 },
    )
    for (let number = 0; number < 1_000; number += 1) sink.write(makeRecord(number))
    await clock.pass(60_000)
    works = true
    await clock.pass(60_000)
    expect(lines.filter((line) => line.startsWith('warn'))).toEqual([
      'warn audit records are being lost {"sink":"audit.test"}',
    ])
    expect(lines.filter((line) => line.startsWith('error'))).toEqual([
      'error audit sink fails; records wait in memory {"sink":"audit.test","code":"ENOSPC"}',
    ])
    expect(lines.filter((line) => line.startsWith('info'))).toHaveLength(1)
  })

  it('ends within two seconds, delivers what it can, and says what is lost', async () => {
    const good = stage({})
    good.sink.write(makeRecord(1))
    const closed = good.sink.close()
    await good.clock.pass(0)
    await closed
    expect(good.sink.state.queued).toBe(0)
    expect(good.lines).toEqual([])

    const stuck = stage({ deliver: () => new Promise(() => undefined) })
    for (let number = 0; number < 3; number += 1) stuck.sink.write(makeRecord(number))
    const closing = stuck.sink.close()
    await stuck.clock.pass(2_000)
    await closing
    stuck.sink.write(makeRecord(9))
    expect(stuck.sink.state.dropped).toBe(4)
    expect(stuck.lines.join('\n')).toContain('error audit records were lost {"sink":"audit.test","records":3}')
  })

  it('closes its target once, after the last delivery, and a target that fails to close stops nobody', async () => {
    const calls: string[] = []
    const { sink, clock, lines } = stage({
      async deliver(batch) {
        calls.push('deliver')
        return batch.length
      },
      async close() {
        calls.push('close')
        throw Object.assign(new Error('/secret/path'), { code: 'EIO' })
      },
    })
    sink.write(makeRecord(1))
    const closing = [sink.close(), sink.close()]
    await clock.pass(0)
    await Promise.all(closing)
    expect(calls).toEqual(['deliver', 'close'])
    expect(lines).toEqual(['warn an audit sink could not be closed {"sink":"audit.test","code":"EIO"}'])
  })

  it('counts bytes, not characters', async () => {
    const sizes: number[] = []
    const { sink, clock } = stage(
      {
        async deliver(batch) {
          sizes.push(Buffer.byteLength(batch.join('')))
          return batch.length
        },
      },
      { queueBytes: 2_000_000 },
    )
    // Three bytes each in UTF-8.
    const content = '漢'.repeat(200_000)
    for (let number = 0; number < 5; number += 1)
      sink.write(makeRecord(number, { 'portcullis.content.request': content }))
    expect(sink.state).toMatchObject({ queued: 3, dropped: 2 })
    expect(sink.state.queuedBytes).toBeGreaterThan(1_800_000)
    await clock.pass(1_000)
    expect(sizes).toHaveLength(3)
    for (const size of sizes) expect(size).toBeLessThanOrEqual(1_048_576)
    expect(sink.state).toMatchObject({ queued: 0, queuedBytes: 0 })
  })

  it('delivers no more than a mebibyte at once, but every record', async () => {
    const sizes: number[] = []
    const { sink, clock } = stage(
      {
        async deliver(batch) {
          sizes.push(batch.join('').length)
          return batch.length
        },
      },
      { queueBytes: 50_000_000 },
    )
    const content = 'x'.repeat(700_000)
    for (let number = 0; number < 5; number += 1)
      sink.write(makeRecord(number, { 'portcullis.content.request': content }))
    sink.write(makeRecord(6, { 'portcullis.content.request': 'y'.repeat(2_000_000) }))
    await clock.pass(1_000)
    expect(sizes).toHaveLength(6)
    expect(sink.state.queued).toBe(0)
  })
})
