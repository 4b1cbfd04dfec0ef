/**
 * Kong as a container of kong/Dockerfile, on the host's network, so that it reaches the stand-in in the test's process
 * (Linux). `NODE_IMAGE` names another Node image to build with.
 */

import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { GenericContainer, type StartedTestContainer } from 'testcontainers'
import { environment, IN_IMAGE } from './environment.ts'
import type { Kong, KongHost } from './kong.ts'
import { ADMIN_PORT, PROXY_PORT, STATUS_PORT } from './ports.ts'
import { postConfig, untilReady } from './ready.ts'

// No image of testcontainers' own is needed: every container is stopped by the test that started it.
process.env.TESTCONTAINERS_RYUK_DISABLED ??= 'true'

const root = new URL('../../..', import.meta.url).pathname
const SOCKETS = '/opt/sockets'

let built: Promise<GenericContainer> | undefined

function image(): Promise<GenericContainer> {
  const node = process.env.NODE_IMAGE
  built ??= GenericContainer.fromDockerfile(root, 'kong/Dockerfile')
    .withBuildArgs(node === undefined ? {} : { NODE_IMAGE: node })
    .build('portcullis-kong:e2e', { deleteOnExit: false })
  return built
}

export const imageHost: KongHost = {
  name: 'image of kong/Dockerfile',
  async start(options) {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-e2e-'))
    chmodSync(folder, 0o777)
    const places = { ...IN_IMAGE, socket: `${SOCKETS}/portcullis.socket`, declarativeConfig: '/opt/kong.json' }
    let log = ''
    const container = await (await image())
      .withNetworkMode('host')
      .withEnvironment(environment(options, places))
      .withBindMounts([{ source: folder, target: SOCKETS }])
      .withCopyContentToContainer([{ content: JSON.stringify(options.config), target: '/opt/kong.json', mode: 0o644 }])
      .withLogConsumer((stream) => {
        stream.on('data', (line) => {
          log += String(line)
        })
      })
      .start()
    try {
      await untilReady(STATUS_PORT, join(folder, 'portcullis.socket'))
    } catch (error) {
      await container.stop()
      throw new Error(`Kong did not start\n${log}`, { cause: error })
    }
    const started: Kong = {
      url: `http://127.0.0.1:${PROXY_PORT}`,
      port: PROXY_PORT,
      socket: join(folder, 'portcullis.socket'),
      apply: (config) => postConfig(ADMIN_PORT, config),
      async reload() {
        await shell(container, 'kong reload')
      },
      async pluginServers() {
        const found = await shell(container, `grep -lzxF ${places.socket} /proc/[0-9]*/cmdline 2>/dev/null || true`)
        return [...found.matchAll(/\/proc\/(\d+)\//g)].map((match) => Number(match[1]))
      },
      async signal(pid, signal) {
        await shell(container, `kill -${signal.slice(3)} ${pid}`)
      },
      async memory(pid) {
        const status = await shell(container, `cat /proc/${pid}/status`)
        return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024
      },
      log: async () => log,
      async stop() {
        if (process.env.E2E_LOG === '1') console.log(log)
        await container.stop()
        rmSync(folder, { recursive: true, force: true })
      },
    }
    return started
  },
}

async function shell(container: StartedTestContainer, command: string): Promise<string> {
  const { exitCode, output } = await container.exec(['sh', '-c', command])
  if (exitCode !== 0) throw new Error(`${command} ended with ${exitCode}: ${output}`)
  return output
}
