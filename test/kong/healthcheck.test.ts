/** kong/healthcheck.mjs, which the image asks every few seconds. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const script = fileURLToPath(new URL('../../kong/healthcheck.mjs', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'healthcheck-'))
const socket = join(folder, 'plugin.socket')
const gone = join(folder, 'gone.socket')

let answer = 200
const status = createHttpServer((request, reply) => {
  reply.statusCode = request.url === '/status/ready' ? answer : 404
  reply.end()
})
const pluginServer = createServer((connection) => connection.destroy())

beforeAll(async () => {
  status.listen(0, '127.0.0.1')
  pluginServer.listen(socket)
  await Promise.all([once(status, 'listening'), once(pluginServer, 'listening')])
})

afterAll(() => {
  status.close()
  status.closeAllConnections()
  pluginServer.close()
  rmSync(folder, { recursive: true })
})

async function exitCode(env: Readonly<Record<string, string>>): Promise<number | null> {
  const child = spawn(process.execPath, [script], { env, stdio: 'ignore' })
  const [code] = (await once(child, 'exit')) as [number | null]
  return code
}

describe('the health check of the image', () => {
  const listen = () => ({ KONG_STATUS_LISTEN: `127.0.0.1:${(status.address() as AddressInfo).port} reuseport` })
  const serving = () => ({ ...listen(), KONG_PLUGINSERVER_LLM_GATEWAY_SOCKET: socket })
  const alone = () => ({ ...listen(), KONG_PLUGINSERVER_LLM_GATEWAY_SOCKET: gone })

  test('is good when Kong is ready and the plugin server listens', async () => {
    expect(await exitCode(serving())).toBe(0)
  })

  test('is bad while Kong has no configuration', async () => {
    answer = 503
    const code = await exitCode(serving())
    answer = 200
    expect(code).toBe(1)
  })

  test('is bad without a plugin server, or where none is named', async () => {
    expect(await exitCode(alone())).toBe(1)
    expect(await exitCode(listen())).toBe(1)
  })

  test('asks a control plane for nothing but Kong itself', async () => {
    expect(await exitCode({ ...alone(), KONG_ROLE: 'control_plane' })).toBe(0)
    answer = 503
    const code = await exitCode({ ...alone(), KONG_ROLE: 'control_plane' })
    answer = 200
    expect(code).toBe(1)
  })

  test('asks the plugin server alone where Kong has no status port', async () => {
    expect(await exitCode({ ...serving(), KONG_STATUS_LISTEN: 'off' })).toBe(0)
    expect(await exitCode({ ...alone(), KONG_STATUS_LISTEN: 'off' })).toBe(1)
  })
})
