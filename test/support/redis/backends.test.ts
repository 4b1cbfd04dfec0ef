import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { readText } from '../sources.ts'

const ROOT = new URL('../../..', import.meta.url).pathname

/** What a suite that needs a Redis does on a machine that has neither redis-server nor Docker. */
function without(env: Readonly<Record<string, string>>, call: string) {
  const path = mkdtempSync(join(tmpdir(), 'portcullis-path-'))
  onTestFinished(() => rmSync(path, { recursive: true }))
  symlinkSync(process.execPath, join(path, 'node'))
  const script = `const b = await import('./test/support/redis/backends.ts'); console.log(JSON.stringify(${call} ?? null))`
  const { REQUIRE_REDIS: _, ...rest } = process.env
  return spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    cwd: ROOT,
    encoding: 'utf8',
    env: { ...rest, PATH: path, ...env },
    timeout: 20_000,
  })
}

it.each(['b.haveRedisServer("my suite")', 'b.redisServerVersion()'])('%s fails without a Redis in CI', (call) => {
  const { status, stderr } = without({ REQUIRE_REDIS: '1' }, call)
  expect(status).not.toBe(0)
  expect(stderr).toContain('there is neither a redis-server in the PATH nor Docker with redis:7-alpine')
  expect(stderr).toContain('REQUIRE_REDIS=1')
})

it('is skipped loudly elsewhere', () => {
  const { status, stdout, stderr } = without({}, 'b.haveRedisServer("my suite")')
  expect([status, stdout]).toEqual([0, 'false\n'])
  expect(stderr).toContain('*** SKIPPED: my suite: there is neither')
})

it('is what CI sets', () => {
  expect(readText('.ci/run')).toMatch(/^export REQUIRE_REDIS=1$/m)
})
