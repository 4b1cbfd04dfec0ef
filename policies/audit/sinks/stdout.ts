/** Records on standard output, one a line. */

import type { Outputs } from '../ports.ts'
import { lineWithin } from './fit.ts'
import { REPORT_BYTES, type Target } from './target.ts'

export interface StdoutOptions {
  /** Without its line break. */
  readonly maxLineBytes: number
}

/** What a pipe takes as one piece (PIPE_BUF): of more, a line of standard error may come into the middle. */
const PIECE_BYTES = 4_096

export function stdoutTarget({ writeStdout }: Pick<Outputs, 'writeStdout'>, { maxLineBytes }: StdoutOptions): Target {
  return {
    name: 'audit.stdout',
    line: (record) => lineWithin(record, maxLineBytes - REPORT_BYTES),
    async deliver(lines) {
      let delivered = 0
      try {
        for (const { text, count } of piecesOf(lines)) {
          await writeStdout(Buffer.from(text))
          delivered += count
        }
      } catch (error) {
        // What was written must not be written again; the next attempt meets the same fault.
        if (delivered === 0) throw error
      }
      return delivered
    },
  }
}

interface Piece {
  readonly text: string
  readonly count: number
}

function* piecesOf(lines: readonly string[]): Generator<Piece> {
  let text = ''
  let bytes = 0
  let count = 0
  for (const line of lines) {
    const size = Buffer.byteLength(line) + 1
    if (count > 0 && bytes + size > PIECE_BYTES) {
      yield { text, count }
      text = ''
      bytes = 0
      count = 0
    }
    text += `${line}\n`
    bytes += size
    count += 1
  }
  if (count > 0) yield { text, count }
}
