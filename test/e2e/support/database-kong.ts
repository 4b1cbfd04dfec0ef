/** Kong with a database: `kong` and PostgreSQL's programs from the PATH, without the pack's plugins. */

import { execFile, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePort } from '../../support/redis/server.ts'
import { ADMIN_PORT, PROXY_PORT } from './ports.ts'
import { until } from './wait.ts'

const run = promisify(execFile)

/** PostgreSQL does not start as root. */
const DAEMON = 'postgres'

/** For `describe.skipIf`. */
export const databaseKongMissing = !canStart()

if (databaseKongMissing) console.warn('SKIPPED: no kong 3.9 with initdb and pg_ctl on the PATH')

function canStart(): boolean {
  const kong = spawnSync('kong', ['version'], { encoding: 'utf8' }).stdout ?? ''
  const programs = ['initdb', 'pg_ctl'].every((name) => spawnSync(name, ['--version']).status === 0)
  return /^(?:Kong )?3\.9\./m.test(kong) && programs && (process.getuid?.() !== 0 || daemonIds() !== undefined)
}

function daemonIds(): { readonly uid: number; readonly gid: number } | undefined {
  const [uid, gid] = ['-u', '-g'].map((flag) => spawnSync('id', [flag, DAEMON], { encoding: 'utf8' }))
  if (uid?.status !== 0 || gid?.status !== 0) return undefined
  return { uid: Number(uid.stdout), gid: Number(gid.stdout) }
}

export interface DatabaseKong {
  readonly admin: string
  readonly proxy: string
  stop(): Promise<void>
}

export async function startDatabaseKong(): Promise<DatabaseKong> {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-kong-db-'))
  const as = process.getuid?.() === 0 ? daemonIds() : undefined
  if (as !== undefined) chownSync(folder, as.uid, as.gid)
  chmodSync(folder, 0o777)
  const data = join(folder, 'data')
  const port = await freePort()
  const prefix = join(folder, 'kong')
  const postgres = (program: string, ...args: string[]) => run(program, args, { cwd: folder, ...as })
  const env = {
    PATH: process.env.PATH ?? '',
    HOME: folder,
    KONG_PREFIX: prefix,
    KONG_DATABASE: 'postgres',
    KONG_PG_HOST: '127.0.0.1',
    KONG_PG_PORT: String(port),
    KONG_PG_USER: 'kong',
    KONG_PG_DATABASE: 'postgres',
    KONG_ADMIN_LISTEN: `127.0.0.1:${ADMIN_PORT}`,
    KONG_PROXY_LISTEN: `127.0.0.1:${PROXY_PORT}`,
    KONG_STATUS_LISTEN: 'off',
    KONG_ADMIN_GUI_LISTEN: 'off',
    KONG_NGINX_WORKER_PROCESSES: '1',
    KONG_ANONYMOUS_REPORTS: 'off',
  }
  const kong = (...args: string[]) => run('kong', args, { env })
  const admin = `http://127.0.0.1:${ADMIN_PORT}`

  async function stop(): Promise<void> {
    await kong('stop', '-p', prefix).catch(() => undefined)
    await postgres('pg_ctl', '-D', data, '-m', 'immediate', '-w', 'stop').catch(() => undefined)
    rmSync(folder, { recursive: true, force: true })
  }

  try {
    await postgres('initdb', '-D', data, '-U', 'kong', '--auth=trust', '--no-sync')
    const options = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=${folder} -c fsync=off`
    await postgres('pg_ctl', '-D', data, '-o', options, '-l', join(folder, 'log'), '-w', 'start')
    await kong('migrations', 'bootstrap')
    await kong('start', '-p', prefix)
    await until('the Admin API answers', async () => (await fetch(`${admin}/status`)).ok)
  } catch (error) {
    await stop()
    throw error
  }
  return { admin, proxy: `http://127.0.0.1:${PROXY_PORT}`, stop }
}
