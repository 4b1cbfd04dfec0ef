/** Records on standard output, one a line. */

import type { Outputs } from '../ports.ts'
import type { Target } from './target.ts'

export function stdoutTarget({ writeStdout }: Pick<Outputs, 'writeStdout'>): Target {
  return {
    name: 'audit.stdout',
    async deliver(lines) {
      await writeStdout(Buffer.from(`${lines.join('\n')}\n`))
      return lines.length
    },
  }
}
