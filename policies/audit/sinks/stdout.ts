/** Records on standard output, one a line. */

import type { Outputs } from '../ports.ts'
import { lineWithin } from './fit.ts'
import { REPORT_BYTES, type Target } from './target.ts'

export interface StdoutOptions {
  /** Without its line break. */
  readonly maxLineBytes: number
}

export function stdoutTarget({ writeStdout }: Pick<Outputs, 'writeStdout'>, { maxLineBytes }: StdoutOptions): Target {
  return {
    name: 'audit.stdout',
    line: (record) => lineWithin(record, maxLineBytes - REPORT_BYTES),
    async deliver(lines) {
      await writeStdout(Buffer.from(`${lines.join('\n')}\n`))
      return lines.length
    },
  }
}
