/** A PostgreSQL of its own, with its programs from the PATH. */

import { execFile, spawnSync } from 'node:child_process'
import { chownSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePort } from '../../support/redis/server.ts'

const run = promisify(execFile)

/** PostgreSQL does not start as root. */
const DAEMON = 'postgres'

/** For `describe.skipIf`. */
export const postgresMissing = !canStart()

function canStart(): boolean {
  const programs = ['initdb', 'pg_ctl'].every((name) => spawnSync(name, ['--version']).status === 0)
  return programs && (process.getuid?.() !== 0 || daemonIds() !== undefined)
}

function daemonIds(): { readonly uid: number; readonly gid: number } | undefined {
  const [uid, gid] = ['-u', '-g'].map((flag) => spawnSync('id', [flag, DAEMON], { encoding: 'utf8' }))
  if (uid?.status !== 0 || gid?.status !== 0) return undefined
  return { uid: Number(uid.stdout), gid: Number(gid.stdout) }
}

export interface Postgres {
  /** What Kong must know to use it. */
  readonly env: Readonly<Record<string, string>>
  stop(): Promise<void>
}

export async function startPostgres(): Promise<Postgres> {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-postgres-'))
  const as = process.getuid?.() === 0 ? daemonIds() : undefined
  if (as !== undefined) chownSync(folder, as.uid, as.gid)
  const data = join(folder, 'data')
  const port = await freePort()
  const postgres = (program: string, ...args: string[]) => run(program, args, { cwd: folder, ...as })
  async function stop(): Promise<void> {
    await postgres('pg_ctl', '-D', data, '-m', 'immediate', '-w', 'stop').catch(() => undefined)
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    await postgres('initdb', '-D', data, '-U', 'kong', '--auth=trust', '--no-sync')
    const options = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=${folder} -c fsync=off`
    await postgres('pg_ctl', '-D', data, '-o', options, '-l', join(folder, 'log'), '-w', 'start')
  } catch (error) {
    await stop()
    throw error
  }
  const env = {
    KONG_DATABASE: 'postgres',
    KONG_PG_HOST: '127.0.0.1',
    KONG_PG_PORT: String(port),
    KONG_PG_USER: 'kong',
    KONG_PG_DATABASE: 'postgres',
  }
  return { env, stop }
}
