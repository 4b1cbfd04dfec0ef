/** The chain of one file: where it stands, found again whenever the file is opened. */

import { type ChainPoint, type ChainSeal, readLine, readSeal, START, sealPath, writeSeal } from '../chain.ts'
import type { AppendFile } from '../ports.ts'
import type { FileOptions, FileTools } from './file.ts'
import { asideName } from './file-rotation.ts'
import { lastLine } from './last-line.ts'

export interface ChainKeeper {
  readonly head: ChainPoint
  /** Takes up the chain at the end of the open file. */
  join(file: AppendFile, size: number): Promise<void>
  advance(head: ChainPoint): void
  /** Records up to here may be deleted. */
  startAt(start: ChainPoint): void
  /** Writes the seal when it changed. */
  save(): Promise<void>
}

/** A seal or file of another key, or a file from before there was a chain, is set aside, not continued and not lost. */
export async function keepChain(options: FileOptions, key: string, tools: FileTools): Promise<ChainKeeper> {
  const { files } = tools.outputs
  const path = sealPath(options.path)
  const text = await files.readSmall(path)
  const found = text === undefined ? undefined : readSeal(text, key)
  if (found === undefined) await setAside(options, text !== undefined, tools)
  let seal: ChainSeal = found ?? { start: START, head: START }
  let saved = found !== undefined
  return {
    get head() {
      return seal.head
    },
    async join(file, size) {
      const { line } = await lastLine({ size, read: (from, length) => file.read(from, length) })
      const last = line === undefined ? undefined : readLine(line, key)
      if (last !== undefined && last.seq >= seal.head.seq) {
        // The process ended between the records and the seal.
        if (last.seq > seal.head.seq) {
          seal = { ...seal, head: { seq: last.seq, mac: last.mac } }
          saved = false
        }
      } else if (size > 0) tools.warn('the end of an audit file is not what was written', {})
    },
    advance(head) {
      seal = { ...seal, head }
      saved = false
    },
    startAt(start) {
      seal = { ...seal, start }
      saved = false
    },
    async save() {
      if (saved) return
      await files.writeSmall(path, writeSeal(seal, key))
      saved = true
    },
  }
}

async function setAside(options: FileOptions, hadSeal: boolean, tools: FileTools): Promise<void> {
  const { files } = tools.outputs
  const paths = [options.path, ...(hadSeal ? [sealPath(options.path)] : [])]
  for (const path of paths) {
    const to = await asideName(path, tools.now(), files)
    if (to === undefined) continue
    await files.rename(path, to)
    tools.warn('an audit file that this chain cannot continue was set aside', { suffix: to.slice(path.length) })
  }
}
