/** The plugin server as it is deployed, built once for the tests of a file. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach } from 'vitest'
import { bundle } from '../../../plugins/kong/bundle.ts'

/**
 * @param enter is given a new folder, and the socket in it, before each test, which removes the folder itself
 * @returns the folder of the build
 */
export function builtServer(enter: (directory: string, socket: string) => void): string {
  const built = mkdtempSync(join(tmpdir(), 'kong-built-'))
  beforeAll(async () => {
    await bundle(built)
  })
  afterAll(() => rmSync(built, { recursive: true }))
  beforeEach(() => {
    const directory = mkdtempSync(join(tmpdir(), 'kong-run-'))
    enter(directory, join(directory, 's'))
  })
  return built
}
