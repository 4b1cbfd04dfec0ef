import { describe, expect, it } from 'vitest'
import {
  type ChainPoint,
  type ChainSeal,
  readLine,
  readSeal,
  START,
  sealLine,
  writeSeal,
} from '../../../policies/audit/chain.ts'
import { type ChainFile, MOST_FAULTS, type Verification, verifyChain } from '../../../policies/audit/verify.ts'
import { CHAIN_KEY, createDice, makeRecord } from './support.ts'

interface Chained {
  readonly files: readonly { readonly name: string; readonly bytes: Buffer }[]
  readonly seal: ChainSeal
  readonly points: readonly ChainPoint[]
}

function chained(sizes: readonly number[]): Chained {
  let point = START
  const points: ChainPoint[] = []
  const files = sizes.map((size, index) => {
    const lines: string[] = []
    for (let one = 0; one < size; one += 1) {
      const { line, after } = sealLine(JSON.stringify(makeRecord(point.seq)), point, CHAIN_KEY)
      lines.push(`${line}\n`)
      point = after
      points.push(after)
    }
    return { name: `audit.${index + 1}`, bytes: Buffer.from(lines.join('')) }
  })
  return { files, seal: { start: START, head: point }, points }
}

function inPieces(name: string, bytes: Uint8Array, size = 1_000): ChainFile {
  return {
    name,
    *chunks() {
      for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size)
    },
  }
}

async function check(
  { files, seal }: Pick<Chained, 'files' | 'seal'>,
  more: { readonly seal?: ChainSeal | undefined; readonly atLeast?: ChainPoint } = {},
): Promise<Verification> {
  const named = files.map(({ name, bytes }) => inPieces(name, bytes))
  return verifyChain(named, { key: CHAIN_KEY, seal, ...more })
}

const kinds = ({ faults }: Verification) => faults.map(({ kind }) => kind)
const whole = chained([7, 5, 9])
const change = (index: number, bytes: Buffer) => ({
  ...whole,
  files: whole.files.map((file, at) => (at === index ? { ...file, bytes } : file)),
})
const linesOf = (index: number) => whole.files[index]?.bytes.toString().trimEnd().split('\n') ?? []
const joined = (lines: readonly string[]) => Buffer.from(lines.map((line) => `${line}\n`).join(''))

describe('a chain over rotated files', () => {
  it('is whole as it was written, in whatever order and pieces it is read', async () => {
    expect(await check(whole)).toEqual({ faults: [], records: 21, head: whole.seal.head })
    const files = whole.files.map(({ name, bytes }) => inPieces(name, bytes, 7)).reverse()
    expect((await verifyChain(files, { key: CHAIN_KEY, seal: whole.seal })).faults).toEqual([])
  })

  it('shows 1,000 of 1,000 random edits of a single byte, and where they are', async () => {
    const dice = createDice(20_261_123)
    let caught = 0
    let placed = 0
    for (let edit = 0; edit < 1_000; edit += 1) {
      const index = dice(whole.files.length)
      const bytes = Buffer.from(whole.files[index]?.bytes ?? [])
      const at = dice(bytes.length)
      bytes[at] = ((bytes[at] ?? 0) + 1 + dice(255)) % 256
      const { faults } = await check(change(index, bytes))
      if (faults.length > 0) caught += 1
      const [first] = faults
      // The line that holds the byte; an edited line feed joins it to the next.
      if (first?.file === `audit.${index + 1}` && first.offset !== undefined && first.offset <= at) placed += 1
    }
    expect([caught, placed]).toEqual([1_000, 1_000])
  })

  it('shows every edit of a single byte of the seal', () => {
    const text = writeSeal(whole.seal, CHAIN_KEY)
    expect(readSeal(text, CHAIN_KEY)).toEqual(whole.seal)
    for (let at = 0; at < text.length; at += 1) {
      const edited = `${text.slice(0, at)}${text[at] === '1' ? '2' : '1'}${text.slice(at + 1)}`
      expect(readSeal(edited, CHAIN_KEY), `byte ${at}`).toBeUndefined()
    }
    for (const other of ['', '{', 'null', '[]', '{}', `${text} `]) expect(readSeal(other, CHAIN_KEY)).toBeUndefined()
    expect(readSeal(text, 'another-key-of-16-bytes')).toBeUndefined()
  })

  it.each<[string, (lines: readonly string[]) => readonly string[], string]>([
    ['a removed record', (lines) => [...lines.slice(0, 2), ...lines.slice(3)], 'missing'],
    ['several removed records', (lines) => [...lines.slice(0, 1), ...lines.slice(4)], 'missing'],
    ['two records that changed places', ([a = '', b = '', c = '', ...rest]) => [a, c, b, ...rest], 'missing'],
    ['a record written twice', ([a = '', ...rest]) => [a, a, ...rest], 'reordered'],
    [
      'an older record in the place of a newer one',
      (lines) => lines.map((line, at) => (at === 3 ? (lines[1] ?? '') : line)),
      'missing',
    ],
    ['an empty line', ([a = '', ...rest]) => [a, '', ...rest], 'edited'],
    ['a line of another program', ([a = '', ...rest]) => [a, '{"time":"now"}', ...rest], 'edited'],
    [
      'a record of another key',
      ([a = '', ...rest]) => [a, sealLine('{"a":1}', START, 'another-key-of-16-bytes').line, ...rest],
      'edited',
    ],
  ])('shows %s', async (_name, alter, kind) => {
    const result = await check(change(1, joined(alter(linesOf(1)))))
    expect(kinds(result)).toContain(kind)
    expect(result.faults[0]?.file).toBe('audit.2')
    expect(result.faults[0]?.line).toBeGreaterThan(0)
  })

  it('shows a missing file, at either end and in the middle', async () => {
    const without = (index: number) => ({ ...whole, files: whole.files.filter((_, at) => at !== index) })
    expect(kinds(await check(without(0)))).toEqual(['no_start'])
    expect((await check(without(1))).faults).toEqual([
      { file: 'audit.3', line: 1, offset: 0, kind: 'missing', message: 'records 8 to 12 are missing' },
    ])
    expect(kinds(await check(without(2)))).toEqual(['no_end'])
    expect(kinds(await check({ ...whole, files: [] }))).toEqual(['no_end'])
  })

  it('shows a truncation at every byte of the last file', async () => {
    const last = whole.files[2]?.bytes ?? Buffer.alloc(0)
    for (let size = 0; size < last.length; size += 37) {
      const { faults } = await check(change(2, last.subarray(0, size)))
      expect(
        faults.map(({ kind }) => kind),
        `at ${size}`,
      ).toContain('no_end')
    }
  })

  it('finds a rollback of files and seal together by a head that was noted elsewhere', async () => {
    const early = whole.points[14] ?? START
    const back = { ...change(2, joined(linesOf(2).slice(0, 3))), seal: { start: START, head: early } }
    expect((await check(back)).faults).toEqual([])
    expect(kinds(await check(back, { atLeast: whole.seal.head }))).toEqual(['no_end'])
    expect(kinds(await check(whole, { atLeast: early }))).toEqual([])
    expect(kinds(await check(whole, { atLeast: { ...early, mac: 'f'.repeat(64) } }))).toEqual(['no_end'])
  })

  it('says that it cannot know the end without a seal', async () => {
    expect(kinds(await check(whole, { seal: undefined }))).toEqual(['seal'])
  })

  it('lets old files be deleted once the seal says so, and those on their way out be there or not', async () => {
    const start = whole.points[6] ?? START
    const seal = { start, head: whole.seal.head }
    expect((await check({ files: whole.files.slice(1), seal })).faults).toEqual([])
    expect((await check({ files: whole.files, seal })).faults).toEqual([])
    expect(kinds(await check({ files: whole.files.slice(2), seal }))).toEqual(['no_start'])
    // What is still there must still be what was written.
    const bytes = Buffer.from(whole.files[0]?.bytes ?? [])
    bytes[40] = 0x21
    expect(kinds(await check({ ...change(0, bytes), seal }))).toContain('edited')
    expect(
      kinds(await check({ files: whole.files, seal: { ...seal, start: { ...start, mac: 'e'.repeat(64) } } })),
    ).toEqual(['edited'])
  })

  it('takes nothing for a record that is none', () => {
    const { line } = sealLine('{"a":1}', START, CHAIN_KEY)
    expect(readLine(Buffer.from(line), CHAIN_KEY)).toMatchObject({ seq: 1 })
    for (const other of ['', '{}', line.slice(1), `${line} `, line.replace('{"a":1', '{"a":2'), line.toUpperCase()])
      expect(readLine(Buffer.from(other), CHAIN_KEY), other).toBeUndefined()
    expect(readLine(Buffer.from(line), 'another-key-of-16-bytes')).toBeUndefined()
    expect(JSON.parse(line)).toMatchObject({ a: 1, 'portcullis.chain.seq': 1 })
  })

  it('stops counting the faults of a file that is of another key altogether', async () => {
    const bytes = Buffer.from('x\n'.repeat(MOST_FAULTS * 2))
    expect((await check({ files: [{ name: 'x', bytes }], seal: whole.seal })).faults).toHaveLength(MOST_FAULTS)
  })
})
