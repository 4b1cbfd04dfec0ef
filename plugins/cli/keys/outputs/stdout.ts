/** New secrets on standard output. */

import type { Io } from '../../io.ts'
import type { SecretOutput } from '../ports.ts'
import { type LineFormat, lineOf } from './line.ts'

export function createStdoutOutput(io: Pick<Io, 'out' | 'deliver'>, format: LineFormat): SecretOutput {
  return {
    name: 'standard output',
    isStdout: true,
    async deliver(secret) {
      const line = lineOf(secret, format)
      if (io.deliver === undefined) io.out(line)
      else await io.deliver(line)
    },
    async flush() {},
    async close() {},
  }
}
