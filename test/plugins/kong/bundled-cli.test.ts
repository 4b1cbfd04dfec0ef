/** The command line beside the plugin server, as the Kong image has it: no node_modules, any working directory. */

import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'
import { VERSION } from '../../../plugins/version.ts'
import { builtServer } from './built-server.ts'
import { launch } from './process-harness.ts'

let directory: string
const built = builtServer((folder) => {
  directory = folder
})
afterEach(() => rmSync(directory, { recursive: true }))

const kong = fileURLToPath(new URL('../../../kong/', import.meta.url))

async function portcullis(...args: readonly string[]) {
  const { exit, stdout, stderr } = launch([join(built, 'cli/portcullis.mjs'), ...args])
  return { code: await exit, stdout: stdout(), stderr: stderr() }
}

test('says its version', async () => {
  expect(built.startsWith(tmpdir())).toBe(true)
  expect(await portcullis('--version')).toEqual({ code: 0, stdout: `${VERSION}\n`, stderr: '' })
})

test('checks a configuration', async () => {
  const env = ['--env', join(kong, 'kong.env')]
  const good = await portcullis('check', join(kong, 'kong.yml'), '--strict', ...env)
  expect(good).toEqual({ code: 0, stdout: 'no findings\n', stderr: '' })
  const bad = await portcullis('check', join(kong, 'migration/ai-proxy.before.yml'), '--all-routes', ...env)
  expect([bad.code, bad.stdout]).toEqual([1, expect.stringContaining('route')])
})

test.each([
  ['keys', 'list'],
  ['limits', 'show'],
  ['tokens', 'revoked'],
])('%s %s fails where no Redis is, and not for want of a module', async (...command) => {
  const args = command[1] === 'show' ? ['--config', 'none'] : []
  const { code, stderr } = await portcullis(...command, '--redis', 'redis://127.0.0.1:9', ...args)
  expect(code).toBe(2)
  expect(stderr).not.toMatch(/Cannot find|ERR_MODULE|require/)
})
