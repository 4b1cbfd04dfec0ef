/** Runs Lua under the same LuaJIT language as Kong's. `LUAJIT` names another interpreter. */

import { spawnSync } from 'node:child_process'

const luajit = process.env.LUAJIT ?? 'luajit'
const directory = new URL('..', import.meta.url).pathname
const root = new URL('../../..', import.meta.url).pathname

export const luajitMissing = spawnSync(luajit, ['-v']).error !== undefined

if (luajitMissing) {
  if (process.env.REQUIRE_LUAJIT === '1') throw new Error(`REQUIRE_LUAJIT=1, but there is no ${luajit}`)
  console.warn(`SKIPPED: no ${luajit}, so the Lua companions were not tested (Debian: apt install luajit)`)
}

export interface LuaRun {
  readonly status: number | null
  /** Both output streams. */
  readonly output: string
}

export function runLua(args: readonly string[], input = ''): LuaRun {
  const { status, stdout, stderr } = spawnSync(luajit, [...args], {
    cwd: directory,
    input,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: { ...process.env, LUA_PATH: `${directory}support/?.lua;${root}?.lua` },
  })
  return { status, output: stdout + stderr }
}
