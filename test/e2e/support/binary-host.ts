/** Kong as `kong` on the PATH. Everything it writes lies in one folder under /tmp. */

import { execFile } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { environment } from './environment.ts'
import type { Kong, KongHost } from './kong.ts'
import { packScript } from './pack.ts'
import { ADMIN_PORT, PROXY_PORT, STATUS_PORT } from './ports.ts'
import { listens, postConfig, untilReady } from './ready.ts'
import { until } from './wait.ts'

const run = promisify(execFile)
const root = new URL('../../..', import.meta.url).pathname

export const binaryHost: KongHost = {
  name: 'kong on the PATH',
  async start(options) {
    const server = `${process.execPath} ${await packScript()}`
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-e2e-'))
    // Kong's workers, and with them the plugin server, run as another user when the test runs as root.
    chmodSync(folder, 0o777)
    const prefix = join(folder, 'prefix')
    const socket = join(folder, 'portcullis.socket')
    const declarativeConfig = join(folder, 'kong.json')
    writeFileSync(declarativeConfig, JSON.stringify(options.config))
    const env = {
      PATH: process.env.PATH ?? '',
      HOME: folder,
      ...toFile(environment(options, { pack: root.slice(0, -1), server, socket, declarativeConfig })),
      KONG_PREFIX: prefix,
    }
    const kong = (...args: string[]) => run('kong', args, { env })
    const logFile = join(prefix, 'logs/error.log')
    const readLog = () => readFileSync(logFile, 'utf8')

    const pluginServers = async () => processesNaming(socket)
    async function stop(): Promise<void> {
      if (process.env.E2E_LOG === '1' && existsSync(logFile)) console.log(readLog())
      await kong('stop', '-p', prefix).catch(() => undefined)
      for (const pid of await pluginServers()) process.kill(pid, 'SIGKILL')
      await until('Kong stops', async () => !(await listens(STATUS_PORT, '127.0.0.1')), 20_000)
      rmSync(folder, { recursive: true, force: true })
    }

    try {
      await kong('start', '-p', prefix)
      await untilReady(STATUS_PORT, socket)
    } catch (error) {
      const log = existsSync(logFile) ? readLog() : String((error as { stderr?: unknown }).stderr ?? '')
      await stop()
      throw new Error(`Kong did not start\n${log}`, { cause: error })
    }
    const started: Kong = {
      url: `http://127.0.0.1:${PROXY_PORT}`,
      port: PROXY_PORT,
      socket,
      apply: (config) => postConfig(ADMIN_PORT, config),
      async reload() {
        await kong('reload', '-p', prefix)
      },
      pluginServers,
      async signal(pid, signal) {
        process.kill(pid, signal)
      },
      async memory(pid) {
        const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
        return Number(kilobytes) * 1024
      },
      log: async () => readLog(),
      stop,
    }
    return started
  },
}

/** What kong.env sends to the container's log goes to a file here. */
export function toFile(env: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).map(([name, value]) => [name, value.replace(/^\/dev\/std(?:err|out)\b/, 'logs/error.log')]),
  )
}

/** Processes that have this path as an argument: the path is unique to one start of Kong. */
export function processesNaming(path: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(path)
      } catch {
        // It ended meanwhile.
        return false
      }
    })
}
