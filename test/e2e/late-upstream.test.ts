/** What is charged when an upstream that had the request does not answer in time, and when none could be reached. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Model, startModel } from '../support/model/index.ts'
import { ask, chat } from './support/ask.ts'
import { configOf, tokens } from './support/config.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong, KongConfig } from './support/kong.ts'
import { settledBy } from './support/metrics.ts'
import { UPSTREAM_PORT } from './support/ports.ts'

const HANGING = { 'x-model-hang': '0' }
const TIMES = { connect_timeout: 500, read_timeout: 1_000 }

/** Listens and takes nothing: once a few are waiting, further ones hear nothing. */
const SILENT = `
const server = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
  require('node:fs').writeSync(1, String(server.address().port))
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
})
`

describe.skipIf(kongMissing)('an upstream of a real Kong that is late', () => {
  let model: Model
  let kong: Kong
  const silent = spawn(process.execPath, ['-e', SILENT], { stdio: ['ignore', 'pipe', 'inherit'] })
  const waiting: Socket[] = []

  beforeAll(async () => {
    model = await startModel()
    const [line] = (await once(silent.stdout, 'data')) as [Buffer]
    const port = Number(String(line))
    for (let count = 0; count < 4; count++) waiting.push(connect(port, '127.0.0.1').on('error', () => undefined))
    const configs = Object.entries({
      late: model.url,
      refusing: `http://127.0.0.1:${UPSTREAM_PORT}`,
      silent: `http://127.0.0.1:${port}`,
    }).map(([name, upstream]): KongConfig => {
      const { services = [], ...config } = configOf(upstream, {
        [name]: { limits: [tokens()] },
        [`${name}-bare`]: { limits: [tokens(1_000_000, { name: 'bare' })], edge: false },
      })
      return { ...config, services: services.map((service) => ({ ...service, ...TIMES, name })) }
    })
    const services = configs.flatMap((config) => config.services ?? [])
    kong = await startKong({ config: { _format_version: '3.0', ...configs[0], services } })
  })
  afterAll(async () => {
    for (const socket of waiting) socket.destroy()
    silent.kill('SIGKILL')
    await kong?.stop()
    await model?.close()
  })

  async function settledOn(route: string, body: object, status: number) {
    let said = 0
    const settled = await settledBy(async () => {
      said = (await ask(kong, { route, body, headers: HANGING })).status
    })
    expect(said).toBe(status)
    return {
      lost: settled.settlements({ ended: 'unknown', usage: 'unobserved' }),
      refunded: settled.settlements({ ended: 'upstream_failed', usage: 'refunded' }),
      kept: settled.tokens('reserved') - settled.tokens('refunded'),
    }
  }

  test.each([
    ['late', false],
    ['late', true],
    ['late-bare', false],
  ])('on %s what was reserved stays when it had the request, stream %s', async (route, stream) => {
    const before = model.requests.length
    const { kept, ...ended } = await settledOn(route, chat({ stream }), 504)
    expect(model.requests.length).toBe(before + 1)
    expect(ended).toEqual({ lost: 1, refunded: 0 })
    expect(kept).toBeGreaterThanOrEqual(64)
  })

  test.each([
    ['refusing', 502],
    ['silent', 504],
    ['refusing-bare', 502],
  ])('on %s everything is given back, nobody was reached', async (route, status) => {
    expect(await settledOn(route, chat(), status)).toEqual({ lost: 0, refunded: 1, kept: 0 })
  })
})
