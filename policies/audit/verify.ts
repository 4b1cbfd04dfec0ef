/** Finds what was done to chained audit files, and says where. */

import { type ChainPoint, type ChainSeal, type ReadLine, readLine, START } from './chain.ts'

export interface ChainFile {
  readonly name: string
  readonly bytes: Uint8Array
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
  readonly faults: readonly ChainFault[]
  readonly records: number
  /** The last good record; undefined when there is none. */
  readonly head: ChainPoint | undefined
}

interface Reading {
  readonly file: ChainFile
  readonly first: ReadLine | undefined
}

/** Of files in any order; faults are in the order of the chain. */
export function verifyChain(files: readonly ChainFile[], options: VerifyOptions): Verification {
  const faults: ChainFault[] = []
  const ordered = files
    .filter(({ bytes }) => bytes.length > 0)
    .map((file): Reading => ({ file, first: firstRecord(file.bytes, options.key) }))
    .sort((a, b) => (a.first?.seq ?? 0) - (b.first?.seq ?? 0))
  const start = options.seal?.start ?? START
  let before: ChainPoint = start
  let records = 0
  let sawNoted = options.atLeast === undefined || options.atLeast.seq <= start.seq
  let lastFile = ordered.at(-1)?.file.name ?? files.at(-1)?.name ?? ''

  for (const { file } of ordered) {
    lastFile = file.name
    for (const { bytes, line, offset, torn } of linesOf(file.bytes)) {
      const at = { file: file.name, line, offset }
      if (torn) faults.push({ ...at, kind: 'torn', message: 'the last line has no end' })
      const read = readLine(bytes, options.key)
      if (read === undefined) {
        if (!torn) faults.push({ ...at, kind: 'edited', message: 'this line is not what was written' })
        continue
      }
      const fault = faultBetween(before, read, records === 0)
      if (fault !== undefined) faults.push({ ...at, ...fault })
      if (options.atLeast?.seq === read.seq) sawNoted = options.atLeast.mac === read.mac
      before = { seq: read.seq, mac: read.mac }
      records += 1
    }
  }
  const { seal, atLeast } = options
  if (seal === undefined)
    faults.push({
      file: lastFile,
      kind: 'seal',
      message: 'there is no seal that this key made, so the end is not known',
    })
  else if (before.seq < seal.head.seq)
    faults.push({
      file: lastFile,
      kind: 'no_end',
      message: `the last ${seal.head.seq - before.seq} records are missing: the chain was sealed at record ${seal.head.seq}`,
    })
  if (!sawNoted && atLeast !== undefined)
    faults.push({ file: lastFile, kind: 'no_end', message: `record ${atLeast.seq} is not the one that was noted` })
  return { faults, records, head: records === 0 ? undefined : before }
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

export function* linesOf(bytes: Uint8Array): Generator<Line> {
  let offset = 0
  for (let line = 1; offset < bytes.length; line += 1) {
    const end = bytes.indexOf(LF, offset)
    const stop = end === -1 ? bytes.length : end
    yield { bytes: bytes.subarray(offset, stop), line, offset, torn: end === -1 }
    offset = stop + 1
  }
}

function firstRecord(bytes: Uint8Array, key: string): ReadLine | undefined {
  for (const line of linesOf(bytes)) {
    const read = readLine(line.bytes, key)
    if (read !== undefined) return read
  }
  return undefined
}
