/** New secrets in a file of their own, for its owner alone. */

import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { PortcullisError } from '../../../../policies/errors.ts'
import { createPrivate, reasonOf, syncDirectory } from '../files.ts'
import type { SecretOutput } from '../ports.ts'
import { type LineFormat, lineOf } from './line.ts'

/** Makes the file at once, so that a path that cannot be written stops a command before it changes anything. */
export async function createFileOutput(path: string, format: LineFormat): Promise<SecretOutput> {
  const handle = await createPrivate(path)
  await syncDirectory(dirname(path))
  let used = false
  return {
    name: path,
    isStdout: false,
    async deliver(secret) {
      used = true
      try {
        await handle.appendFile(lineOf(secret, format))
      } catch (error) {
        throw new PortcullisError('unwritable_file', `${path}: ${reasonOf(error)}`)
      }
    },
    async flush() {
      try {
        await handle.sync()
      } catch (error) {
        throw new PortcullisError('unwritable_file', `${path}: ${reasonOf(error)}`)
      }
    },
    async close() {
      await handle.close()
      // Left there, it would stop the next try.
      if (!used) await rm(path, { force: true })
    },
  }
}
