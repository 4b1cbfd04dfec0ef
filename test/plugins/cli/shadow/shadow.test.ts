import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { EXIT } from '../../../../plugins/cli/io.ts'
import { linesOf, MAX_LINE, readRecord } from '../../../../plugins/cli/shadow/read.ts'
import { createTally } from '../../../../plugins/cli/shadow/tally.ts'
import type { AuditRecord } from '../../../../policies/audit/index.ts'
import { auditRecordSchema } from '../../../../policies/audit/index.ts'
import type { Code } from '../../../../policies/errors.ts'
import { portcullis, ROOT } from '../check/portcullis.ts'

const folder = mkdtempSync(join(tmpdir(), 'portcullis-shadow-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const isRecord = new Ajv2020({ strict: false }).compile(auditRecordSchema)

function recordOf(more: Partial<AuditRecord> = {}): AuditRecord {
  const record: AuditRecord = {
    schema: 'portcullis.audit/1',
    time: '2026-03-01T12:00:00.000Z',
    'portcullis.decision': 'pass',
    'portcullis.ended': 'complete',
    'portcullis.route.name': 'openai',
    'user.id': 'id-1',
    'user.name': 'alice',
    'gen_ai.request.model': 'gpt-4o-mini',
    'gen_ai.usage.input_tokens': 10,
    'gen_ai.usage.output_tokens': 30,
    'portcullis.usage.source': 'reported',
    ...more,
  }
  if (!isRecord(record)) throw new Error(`no audit record: ${JSON.stringify(isRecord.errors)}`)
  return record
}

const BOB = { 'user.id': 'id-2', 'user.name': 'bob' }
const LIMITED = {
  'portcullis.would_reject': ['rate_limit_exceeded'],
  'portcullis.would_reject.rules': ['hourly'],
} as const
const SCOPED = { 'portcullis.would_reject': ['insufficient_scope'], 'gen_ai.request.model': 'gpt-4o' } as const

const day = [
  recordOf(),
  recordOf(LIMITED),
  recordOf({ ...BOB, ...SCOPED, time: '2026-03-01T13:00:00.000Z' }),
  recordOf({ ...BOB, ...SCOPED, time: '2026-03-02T13:00:00.000Z' }),
  recordOf({ 'portcullis.decision': 'reject', 'portcullis.code': 'invalid_key', 'portcullis.ended': 'not_forwarded' }),
]

const lines = (records: readonly object[]) => records.map((record) => `${JSON.stringify(record)}\n`).join('')

function fileOf(content: string, name = 'audit.ndjson'): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

async function reportOf(...args: string[]) {
  const { out, err, code } = await portcullis(['shadow', 'report', '--json', ...args])
  expect({ err, code }).toEqual({ err: '', code: EXIT.ok })
  return JSON.parse(out) as Readonly<Record<string, unknown>>
}

describe('portcullis shadow report', () => {
  it('says who would have been refused and why', async () => {
    expect(await reportOf(fileOf(lines(day)))).toEqual({
      version: 1,
      from: '2026-03-01T12:00:00.000Z',
      to: '2026-03-02T13:00:00.000Z',
      requests: 5,
      would_reject: 3,
      share: 0.6,
      refused: 1,
      tokens: 120,
      unreadable_lines: 0,
      consumers: [
        { consumer: 'bob', requests: 2, would_reject: 2, share: 1, refused: 0, tokens: 80 },
        { consumer: 'alice', requests: 3, would_reject: 1, share: 0.3333, refused: 1, tokens: 40 },
      ],
      models: [
        { model: 'gpt-4o', requests: 2, would_reject: 2, share: 1, refused: 0, tokens: 80 },
        { model: 'gpt-4o-mini', requests: 3, would_reject: 1, share: 0.3333, refused: 1, tokens: 40 },
      ],
      causes: [
        {
          consumer: 'bob',
          code: 'insufficient_scope',
          model: 'gpt-4o',
          route: 'openai',
          would_reject: 2,
          tokens: 80,
          share: 0.4,
        },
        {
          consumer: 'alice',
          code: 'rate_limit_exceeded',
          rule: 'hourly',
          model: 'gpt-4o-mini',
          route: 'openai',
          would_reject: 1,
          tokens: 40,
          share: 0.2,
        },
      ],
    })
  })

  it('prints the same for people, with what each code means', async () => {
    const { out } = await portcullis(['shadow', 'report', fileOf(lines(day)), '--top', '1'])
    expect(out).toBe(`5 requests, 2026-03-01T12:00:00.000Z to 2026-03-02T13:00:00.000Z
3 would have been refused (60.0 %); they used 120 tokens
1 were refused already

CONSUMER  REQUESTS  WOULD REFUSE  SHARE    TOKENS
bob       2         2             100.0 %  80
and 1 more

MODEL   REQUESTS  WOULD REFUSE  SHARE    TOKENS
gpt-4o  2         2             100.0 %  80
and 1 more

CONSUMER  WHY                 LIMIT OR SCOPE  MODEL   ROUTE   WOULD REFUSE  SHARE OF ALL
bob       insufficient_scope  -               gpt-4o  openai  2             40.0 %
and 1 more

insufficient_scope: The caller may not use this operation or model.
rate_limit_exceeded: A limit has no room for this request now.
`)
  })

  it('takes several files, a period, and the lines of Kong’s log', async () => {
    const logged = (record: object) =>
      `2026/11/23 12:07:16 [info] 7588#0: *645 [llm-token-limit:7591] ${JSON.stringify(record)}, context: ngx.timer\n`
    const kong = fileOf(
      `2026/11/23 12:07:16 [notice] 1#1: start\n${logged(day[2] ?? {})}${logged(day[3] ?? {})}`,
      'error.log',
    )
    const own = fileOf(lines(day.slice(0, 2)))
    expect(await reportOf(own, kong)).toMatchObject({ requests: 4, would_reject: 3 })
    expect(await reportOf(own, kong, '--since', '2026-03-01T13:00:00Z', '--until', '2026-03-02')).toMatchObject({
      requests: 1,
      would_reject: 1,
    })
  })

  it('keeps limits apart, and takes what two plugins found alike for one', async () => {
    const held = (codes: readonly Code[], rules: readonly string[]) =>
      recordOf({ 'portcullis.would_reject': codes, 'portcullis.would_reject.rules': rules })
    const over = 'rate_limit_exceeded'
    const records = [
      held([over], ['hourly']),
      held([over], ['daily']),
      held([over, over], ['daily', 'daily']),
      held(['invalid_key', over], ['', 'hourly']),
    ]
    const { causes } = await reportOf(fileOf(lines(records)))
    expect(causes).toEqual([
      expect.objectContaining({ code: over, rule: 'hourly', would_reject: 2 }),
      expect.objectContaining({ code: over, rule: 'daily', would_reject: 2 }),
      expect.not.objectContaining({ rule: expect.anything() }),
    ])
  })

  it('reads records that are chained', async () => {
    const chained = { ...day[1], 'portcullis.chain.seq': 1, 'portcullis.chain.prev': '0', 'portcullis.chain.mac': 'f' }
    expect(await reportOf(fileOf(lines([chained])))).toMatchObject({ would_reject: 1 })
  })

  it('takes a sample for what it stands for', async () => {
    const sampled = [recordOf({ ...LIMITED, 'portcullis.audit.sample': 0.25 }), recordOf()]
    expect(await reportOf(fileOf(lines(sampled)))).toMatchObject({
      requests: 5,
      would_reject: 4,
      share: 0.8,
      tokens: 160,
    })
  })

  it('says when only would-be refusals were recorded', async () => {
    const { out } = await portcullis(['shadow', 'report', fileOf(lines([recordOf(LIMITED)]))])
    expect(out).toContain('the shares mean nothing')
  })

  it('counts what it cannot read, and keeps names from moving a terminal’s cursor', async () => {
    const hostile = recordOf({ ...LIMITED, 'user.name': '\u001b[2J' })
    const path = fileOf(
      `${lines([hostile])}{"schema":"portcullis.audit/1","time"\n{"schema":"portcullis.audit/1"}\n{"a":1}\n`,
    )
    expect(await reportOf(path)).toMatchObject({ requests: 1, unreadable_lines: 2 })
    const { out } = await portcullis(['shadow', 'report', path])
    expect(out).toContain('2 lines could not be read')
    expect(out).not.toContain('\u001b')
  })

  it.each([
    [['/nowhere/audit.ndjson'], /ENOENT/],
    [[fileOf('hello\n', 'hello.txt')], /no audit record/],
    [[fileOf(lines(day), 'day.ndjson'), '--since', 'yesterday'], /--since/],
    [[fileOf(lines(day), 'day.ndjson'), '--top', '0'], /--top/],
  ] as [string[], RegExp][])('%s cannot be done', async (args, why) => {
    const { code, out, err } = await portcullis(['shadow', 'report', ...args])
    expect({ code, out }).toEqual({ code: EXIT.failed, out: '' })
    expect(err).toMatch(why)
  })

  it('runs as a command, and reads the standard input', () => {
    const main = join(ROOT, 'plugins/cli/main.ts')
    const args = ['--import', 'tsx', main, 'shadow', 'report', '-']
    const ran = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8', input: lines(day) })
    expect(ran.status, ran.stderr).toBe(EXIT.ok)
    expect(ran.stdout).toContain('3 would have been refused (60.0 %)')
  })
})

async function all(lines: AsyncIterable<string>): Promise<string[]> {
  const found: string[] = []
  for await (const line of lines) found.push(line)
  return found
}

describe('linesOf', () => {
  async function* chunked(text: string, size: number): AsyncIterable<Uint8Array> {
    const bytes = Buffer.from(text)
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
  }

  it('finds the same lines however the bytes arrive', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: fc.constantFrom('a', 'é', '🚪', '\n') }),
        fc.integer({ min: 1, max: 9 }),
        async (text, size) => {
          expect(await all(linesOf(chunked(text, size)))).toEqual(text.split('\n'))
        },
      ),
    )
  })

  it('keeps a line without an end from filling the memory', async () => {
    const found = await all(linesOf(chunked('x'.repeat(3 * MAX_LINE), MAX_LINE / 4)))
    expect(found.every((line) => line.length <= 2 * MAX_LINE)).toBe(true)
  })
})

describe('readRecord', () => {
  it('never throws, whatever a line holds', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json().map((json) => `{"schema":"portcullis.audit/1","x":${json}}`),
        ),
        (line) => {
          readRecord(line)
        },
      ),
    )
  })
})

describe('createTally', () => {
  it('loses no request between the tables', () => {
    const heldBack = fc.record({
      code: fc.constantFrom('rate_limit_exceeded', 'insufficient_scope'),
      rule: fc.constantFrom('', 'hourly'),
    })
    const record = fc.record({
      time: fc.nat(),
      consumer: fc.constantFrom('a', 'b', 'c'),
      model: fc.constantFrom('m', 'n'),
      route: fc.constant('r'),
      refused: fc.boolean(),
      wouldReject: fc.array(heldBack, { maxLength: 1 }),
      tokens: fc.nat(100),
      weight: fc.constantFrom(1, 4),
    })
    fc.assert(
      fc.property(fc.array(record), (records) => {
        const { add, tally } = createTally()
        records.forEach(add)
        const sum = (counts: Iterable<{ readonly wouldReject: number }>) =>
          [...counts].reduce((total, { wouldReject }) => total + wouldReject, 0)
        const wanted = sum([tally.all])
        for (const counts of [tally.consumers, tally.models, tally.causes]) expect(sum(counts.values())).toBe(wanted)
        expect(tally.all.requests).toBe(records.reduce((total, { weight }) => total + weight, 0))
      }),
    )
  })

  it('keeps a bounded number of names', () => {
    const { add, tally } = createTally()
    for (let at = 0; at < 60_000; at++)
      add({
        time: 0,
        consumer: `c${at}`,
        model: `m${at}`,
        route: 'r',
        refused: false,
        wouldReject: [{ code: 'x', rule: '' }],
        tokens: 1,
        weight: 1,
      })
    expect(tally.consumers.size).toBeLessThanOrEqual(50_001)
    expect(tally.causes.size).toBeLessThanOrEqual(50_001)
    expect(tally.crowded).toBe(true)
    expect(tally.consumers.get('(others)')?.requests).toBe(10_000)
  })
})
