import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { luajitMissing, runLua } from './support/luajit.ts'

const suites = readdirSync(import.meta.dirname).filter((name) => name.endsWith('.lua'))

describe.skipIf(luajitMissing)('Lua companions under LuaJIT', () => {
  test.each(suites)('%s', (suite) => {
    const { status, output } = runLua([suite])
    expect(status, output).toBe(0)
    // A suite that ran nothing proves nothing.
    expect(output.match(/^ok /gm)?.length ?? 0).toBeGreaterThan(2)
  })
})

const luacheckMissing = spawnSync('luacheck', ['--version']).error !== undefined

test.skipIf(luacheckMissing)('luacheck finds nothing', () => {
  const root = new URL('../..', import.meta.url)
  const { status, stdout } = spawnSync('luacheck', ['--no-color', '-q', 'kong', 'test/lua'], {
    cwd: root,
    encoding: 'utf8',
  })
  expect(status, stdout).toBe(0)
})
