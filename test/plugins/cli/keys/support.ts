/** What tests of the `keys` and `tokens` commands share. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { Io } from '../../../../plugins/cli/io.ts'
import type { World } from '../../../../plugins/cli/keys/open.ts'
import { systemRandom } from '../../../../plugins/deps.ts'

export interface Recording extends Io {
  readonly outText: string
  readonly errText: string
}

export interface RecordingOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly input?: string
  readonly terminals?: Io['terminals']
}

export function recording({ env = {}, input, terminals }: RecordingOptions = {}): Recording {
  const said = { out: '', err: '' }
  return {
    env,
    out: (text) => {
      said.out += text
    },
    err: (text) => {
      said.err += text
    },
    ...(terminals === undefined ? {} : { terminals }),
    ...(input === undefined ? {} : { readInput: async () => input }),
    get outText() {
      return said.out
    },
    get errText() {
      return said.err
    },
  }
}

export const START = Date.parse('2026-06-01T12:00:00Z')
export const DAY = 86_400_000

/** The system's chance, and a clock that only a test moves. */
export function testWorld(now = START): World & { now: number } {
  const world = {
    now,
    random: systemRandom,
    clock: { now: () => world.now, monotonic: () => performance.now(), after: timeout },
  }
  return world
}

function timeout(ms: number, task: () => void): () => void {
  const timer = setTimeout(task, ms)
  timer.unref()
  return () => clearTimeout(timer)
}

/** Gone after the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-keys-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
