/** A Kong with the pack that is not the only one of its kind: with a database, as a control plane, as a data plane. */

import { execFile } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { processesNaming, toFile } from './binary-host.ts'
import { environment } from './environment.ts'
import { packScript } from './pack.ts'

const run = promisify(execFile)
const root = new URL('../../../', import.meta.url).pathname

export interface PackNode {
  /** `kong` with this node's variables. */
  command(...args: string[]): Promise<void>
  /** Process ids of its plugin server. */
  pluginServers(): readonly number[]
  /** Path of its plugin server's socket. */
  readonly socket: string
  start(): Promise<void>
  stop(): Promise<void>
}

/** @param env `KONG_*` variables on top of kong/kong.env */
export async function createPackNode(env: Readonly<Record<string, string>>): Promise<PackNode> {
  const server = `${process.execPath} ${await packScript()}`
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-node-'))
  // Kong's workers, and with them the plugin server, run as another user when the test runs as root.
  chmodSync(folder, 0o777)
  const prefix = join(folder, 'prefix')
  const socket = join(folder, 'portcullis.socket')
  const places = { pack: root.slice(0, -1), server, socket, declarativeConfig: '' }
  const { KONG_DECLARATIVE_CONFIG: _, ...variables } = environment(
    { config: { _format_version: '3.0' }, env, metrics: false },
    places,
  )
  const all = { PATH: process.env.PATH ?? '', HOME: folder, ...toFile(variables), KONG_PREFIX: prefix }
  const kong = (...args: string[]) => run('kong', args, { env: all })
  const pluginServers = () => processesNaming(socket)
  async function stop(): Promise<void> {
    await kong('stop', '-p', prefix).catch(() => undefined)
    for (const pid of pluginServers()) process.kill(pid, 'SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
  return {
    socket,
    pluginServers,
    async command(...args) {
      await kong(...args)
    },
    async start() {
      try {
        await kong('start', '-p', prefix)
      } catch (error) {
        const log = join(prefix, 'logs/error.log')
        const said = existsSync(log) ? readFileSync(log, 'utf8') : String((error as { stderr?: unknown }).stderr ?? '')
        await stop()
        throw new Error(`Kong did not start\n${said}`, { cause: error })
      }
    },
    stop,
  }
}
