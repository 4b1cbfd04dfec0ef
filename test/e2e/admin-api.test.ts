/** `GET /` of the Admin API, with which deck and the Ingress Controller begin, in the worker that starts the plugin server. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { run } from '../../plugins/cli/program.ts'
import { configOf, tokens } from './support/config.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong } from './support/kong.ts'
import { ADMIN_PORT } from './support/ports.ts'
import { until } from './support/wait.ts'

const ADMIN = `http://127.0.0.1:${ADMIN_PORT}/`

describe.skipIf(kongMissing)('the Admin API of a real Kong', () => {
  let kong: Kong

  beforeAll(async () => {
    kong = await startKong({ config: configOf('http://127.0.0.1:9', { plain: { limits: [tokens(1_000)] } }) })
  })
  afterAll(() => kong?.stop())

  async function pluginServersSeen(): Promise<readonly object[]> {
    const reply = await fetch(ADMIN)
    expect([reply.status, await reply.clone().text()]).toEqual([200, expect.stringContaining('"pluginservers"')])
    const { configuration } = (await reply.json()) as {
      readonly configuration: { readonly pluginservers: readonly object[] }
    }
    return configuration.pluginservers
  }

  async function anotherServer(before: readonly number[]): Promise<void> {
    await until('another plugin server runs', async () => {
      const now = await kong.pluginServers()
      return now.length > 0 && now.every((pid) => !before.includes(pid))
    })
  }

  test('answers while a plugin server runs, and says nothing of its process', async () => {
    const servers = await pluginServersSeen()
    expect(servers).toContainEqual(expect.objectContaining({ name: 'llm-token-limit', socket: kong.socket }))
    for (const server of servers) expect(server).not.toHaveProperty('proc')
  })

  test('answers after that was killed and started anew, and after a reload', async () => {
    const first = await kong.pluginServers()
    for (const pid of first) await kong.signal(pid, 'SIGKILL')
    await anotherServer(first)
    await pluginServersSeen()
    const second = await kong.pluginServers()
    await kong.reload()
    await anotherServer(second)
    await pluginServersSeen()
  })

  test('tells portcullis check the variables', async () => {
    let told = ''
    const note = (text: string) => {
      told += text
    }
    await run(['check', `http://127.0.0.1:${ADMIN_PORT}`], { out: note, err: note, env: {} })
    expect(told).toContain('1 error, 2 warnings, 1 note')
    expect(told).not.toContain('NOT JUDGED')
  })
})
