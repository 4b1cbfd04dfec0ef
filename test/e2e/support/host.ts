/**
 * Finds a real Kong 3.9 to test on: `kong` on the PATH, or the official image. `E2E_KONG=binary|image` picks one.
 * `E2E_LOG=1` prints what Kong and the plugin server logged.
 */

import { spawnSync } from 'node:child_process'
import { binaryHost } from './binary-host.ts'
import { imageHost } from './image-host.ts'
import type { Kong, KongHost, KongOptions } from './kong.ts'

function findHost(): KongHost | undefined {
  const wanted = process.env.E2E_KONG
  if (wanted !== 'image' && says('kong', ['version'], /^(?:Kong )?3\.9\./m)) return binaryHost
  if (wanted !== 'binary' && says('docker', ['image', 'inspect', 'kong:3.9'], /"Id"/)) return imageHost
  return undefined
}

function says(command: string, args: readonly string[], what: RegExp): boolean {
  const { stdout } = spawnSync(command, args, { encoding: 'utf8' })
  return what.test(stdout ?? '')
}

const host = findHost()

/** For `describe.skipIf`. */
export const kongMissing = host === undefined

if (host === undefined) {
  const message = 'SKIPPED: no kong:3.9 image'
  if (process.env.REQUIRE_KONG === '1') throw new Error(`${message}, and no kong 3.9 on the PATH, with REQUIRE_KONG=1`)
  console.warn(message)
}

export function startKong(options: KongOptions): Promise<Kong> {
  if (host === undefined) throw new Error('no Kong to start')
  return host.start(options)
}
