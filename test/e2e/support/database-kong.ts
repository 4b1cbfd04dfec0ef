/** Kong with a database: `kong` and PostgreSQL's programs from the PATH, without the pack's plugins. */

import { execFile, spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ADMIN_PORT, PROXY_PORT } from './ports.ts'
import { type Postgres, postgresMissing, startPostgres } from './postgres.ts'
import { until } from './wait.ts'

const run = promisify(execFile)

/** For `describe.skipIf`. */
export const databaseKongMissing = postgresMissing || !haveKong()

if (databaseKongMissing) console.warn('SKIPPED: no kong 3.9 with initdb and pg_ctl on the PATH')

function haveKong(): boolean {
  const { stdout } = spawnSync('kong', ['version'], { encoding: 'utf8' })
  return /^(?:Kong )?3\.9\./m.test(stdout ?? '')
}

export interface DatabaseKong {
  readonly admin: string
  readonly proxy: string
  stop(): Promise<void>
}

export async function startDatabaseKong(): Promise<DatabaseKong> {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-kong-db-'))
  chmodSync(folder, 0o777)
  const prefix = join(folder, 'kong')
  let postgres: Postgres | undefined
  const env = {
    PATH: process.env.PATH ?? '',
    HOME: folder,
    KONG_PREFIX: prefix,
    KONG_ADMIN_LISTEN: `127.0.0.1:${ADMIN_PORT}`,
    KONG_PROXY_LISTEN: `127.0.0.1:${PROXY_PORT}`,
    KONG_STATUS_LISTEN: 'off',
    KONG_ADMIN_GUI_LISTEN: 'off',
    KONG_NGINX_WORKER_PROCESSES: '1',
    KONG_ANONYMOUS_REPORTS: 'off',
  }
  const kong = (...args: string[]) => run('kong', args, { env: { ...env, ...postgres?.env } })
  const admin = `http://127.0.0.1:${ADMIN_PORT}`

  async function stop(): Promise<void> {
    await kong('stop', '-p', prefix).catch(() => undefined)
    await postgres?.stop()
    rmSync(folder, { recursive: true, force: true })
  }

  try {
    postgres = await startPostgres()
    await kong('migrations', 'bootstrap')
    await kong('start', '-p', prefix)
    await until('the Admin API answers', async () => (await fetch(`${admin}/status`)).ok)
  } catch (error) {
    await stop()
    throw error
  }
  return { admin, proxy: `http://127.0.0.1:${PROXY_PORT}`, stop }
}
