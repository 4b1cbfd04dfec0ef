/** Finds what was done to chained audit files, and says where. Reads them as they come, so that any size will do. */

import { type ChainPoint, type ChainSeal, GENESIS, type ReadLine, readLine, START } from './chain.ts'

export interface ChainFile {
  readonly name: string
  /** The file's bytes, from the start each time it is called. */
  chunks(): Iterable<Uint8Array> | AsyncIterable<Uint8Array>
}

export interface ChainFault {
  readonly file: string
  /** From 1; absent when the fault is of the whole file or between files. */
  readonly line?: number
  /** Offset of the line's first byte. */
  readonly offset?: number
  readonly kind: 'edited' | 'missing' | 'reordered' | 'torn' | 'no_start' | 'no_end' | 'seal'
  readonly message: string
}

export interface VerifyOptions {
  readonly key: string
  /** Where the chain begins and ends; undefined when there is none to read. */
  readonly seal: ChainSeal | undefined
  /** A head noted elsewhere: the files must reach at least this far, with this record. */
  readonly atLeast?: ChainPoint
}

export interface Verification {
  /** At most {@link MOST_FAULTS}, in the order of the chain. */
  readonly faults: readonly ChainFault[]
  readonly records: number
  /** The last good record; undefined when there is none. */
  readonly head: ChainPoint | undefined
}

/** A file of another key has a fault in every line; nobody reads them all. */
export const MOST_FAULTS = 1_000

/** Of files in any order. @throws what reading a file throws. */
export async function verifyChain(files: readonly ChainFile[], options: VerifyOptions): Promise<Verification> {
  const chain = createChainReader(options)
  for (const file of await inOrder(files, options.key)) {
    chain.file(file.name)
    for await (const line of linesOf(file.chunks())) chain.line(line)
  }
  return chain.end()
}

/** By the number of their first record; a file without any comes first, and has nothing but faults. */
async function inOrder(files: readonly ChainFile[], key: string): Promise<readonly ChainFile[]> {
  const known: { readonly file: ChainFile; readonly seq: number }[] = []
  // One after the other: a system opens only so many files at once.
  for (const file of files) known.push({ file, seq: (await firstRecord(file, key))?.seq ?? 0 })
  return known.sort((a, b) => a.seq - b.seq).map(({ file }) => file)
}

async function firstRecord(file: ChainFile, key: string): Promise<ReadLine | undefined> {
  for await (const { bytes } of linesOf(file.chunks())) {
    const read = readLine(bytes, key)
    if (read !== undefined) return read
  }
  return undefined
}

interface ChainReader {
  file(name: string): void
  line(line: Line): void
  end(): Verification
}

function createChainReader({ key, seal, atLeast }: VerifyOptions): ChainReader {
  const faults: ChainFault[] = []
  const start = seal?.start ?? START
  let before: ChainPoint | undefined
  let records = 0
  let sawNoted = atLeast === undefined || atLeast.seq <= start.seq
  let name = ''

  function fault(found: Omit<ChainFault, 'file'>): void {
    if (faults.length < MOST_FAULTS) faults.push({ file: name, ...found })
  }

  /** Whatever lies before the seal's start is about to be deleted, and may still be here. */
  function follows(read: ReadLine): ChainPoint {
    if (before !== undefined) return before
    return read.seq <= start.seq ? { seq: read.seq - 1, mac: read.seq === 1 ? GENESIS : read.prev } : start
  }

  return {
    file(next) {
      name = next
    },
    line({ bytes, line, offset, torn }) {
      const at = { line, offset }
      if (torn) fault({ ...at, kind: 'torn', message: 'the last line has no end' })
      const read = readLine(bytes, key)
      if (read === undefined) {
        if (!torn) fault({ ...at, kind: 'edited', message: 'this line is not what was written' })
        return
      }
      const between = faultBetween(follows(read), read, before === undefined)
      if (between !== undefined) fault({ ...at, ...between })
      for (const point of [start, seal?.head])
        if (point?.seq === read.seq && point.mac !== read.mac)
          fault({ ...at, kind: 'edited', message: `record ${read.seq} is not the one that was sealed` })
      if (atLeast?.seq === read.seq) sawNoted = atLeast.mac === read.mac
      before = { seq: read.seq, mac: read.mac }
      records += 1
    },
    end() {
      const last = before?.seq ?? start.seq
      if (seal === undefined)
        fault({ kind: 'seal', message: 'there is no seal that this key made, so the end is not known' })
      else if (last < seal.head.seq)
        fault({
          kind: 'no_end',
          message: `records ${last + 1} to ${seal.head.seq} are missing: the chain was sealed at record ${seal.head.seq}`,
        })
      if (!sawNoted && atLeast !== undefined)
        fault({ kind: 'no_end', message: `record ${atLeast.seq} is missing or not the one that was noted` })
      return { faults, records, head: before }
    },
  }
}

function faultBetween(
  before: ChainPoint,
  read: ReadLine,
  first: boolean,
): Pick<ChainFault, 'kind' | 'message'> | undefined {
  if (read.seq === before.seq + 1) {
    if (read.prev === before.mac) return undefined
    return { kind: 'edited', message: `record ${read.seq} does not follow the record ${before.seq} that is here` }
  }
  if (read.seq <= before.seq)
    return { kind: 'reordered', message: `record ${read.seq} comes after record ${before.seq}, or a second time` }
  const missing = `records ${before.seq + 1} to ${read.seq - 1} are missing`
  return first ? { kind: 'no_start', message: missing } : { kind: 'missing', message: missing }
}

interface Line {
  readonly bytes: Uint8Array
  /** From 1. */
  readonly line: number
  readonly offset: number
  /** Has no line feed. */
  readonly torn: boolean
}

const LF = 0x0a
/** Longer than any record: what is beyond is not kept, and the line is not what was written. */
const LONGEST_LINE = 33_554_432

async function* linesOf(chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): AsyncGenerator<Line> {
  let pieces: Uint8Array[] = []
  let size = 0
  let offset = 0
  let line = 1

  function take(piece: Uint8Array): void {
    if (size <= LONGEST_LINE) pieces.push(piece)
    size += piece.length
  }
  function give(torn: boolean): Line {
    const made = { bytes: Buffer.concat(pieces), line, offset, torn }
    line += 1
    offset += size + 1
    pieces = []
    size = 0
    return made
  }

  for await (const chunk of chunks) {
    let from = 0
    for (let end = chunk.indexOf(LF); end !== -1; end = chunk.indexOf(LF, from)) {
      take(chunk.subarray(from, end))
      from = end + 1
      yield give(false)
    }
    // A copy: whoever reads the file may fill the same memory again.
    if (from < chunk.length) take(chunk.slice(from))
  }
  if (size > 0) yield give(true)
}
