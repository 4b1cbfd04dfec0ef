/** The plugin server as an operator gets it: one bundled file, built once for each test process. */

import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bundle } from '../../../plugins/kong/bundle.ts'

let built: Promise<string> | undefined

export function packScript(): Promise<string> {
  built ??= build()
  return built
}

async function build(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-pack-'))
  // Kong runs it as another user when the test runs as root.
  chmodSync(folder, 0o755)
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  await bundle(join(folder, 'kong'))
  return join(folder, 'kong/portcullis-kong.cjs')
}
