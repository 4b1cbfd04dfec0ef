/** Requests that were refused because nobody could decide have their audit records as well, once somebody can write them. */

import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Model, startModel } from '../support/model/index.ts'
import { ask, type Reply } from './support/ask.ts'
import { KEYS, serviceOf, tokens } from './support/config.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong } from './support/kong.ts'
import { until } from './support/wait.ts'

describe.skipIf(kongMissing)('records of requests that nobody decided on', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-refused-'))
  const file = join(folder, 'audit.ndjson')
  let model: Model
  let kong: Kong

  beforeAll(async () => {
    chmodSync(folder, 0o777)
    model = await startModel()
    const sinks = [{ type: 'file', path: file, flush_ms: 0 }]
    const gateway = { audit: { sinks }, scope: { mode: 'shadow' }, token_limit: { limits: [tokens()] } }
    const companions = [
      { name: 'llm-key' },
      { name: 'key-auth', config: { key_names: ['apikey'], hide_credentials: true } },
      { name: 'llm-edge' },
    ]
    const guard = (...require: string[]) => ({ name: 'llm-guard', config: { require } })
    const routes = {
      one: [...companions, { name: 'llm-gateway', config: gateway }, guard('llm-gateway')],
      several: [
        ...companions,
        { name: 'llm-audit-log', config: { sinks } },
        { name: 'llm-token-limit', config: { limits: [tokens()] } },
        guard('llm-audit-log', 'llm-token-limit'),
      ],
    }
    const consumers = [{ username: 'alice', keyauth_credentials: [{ key: KEYS.alice }] }]
    kong = await startKong({
      config: { _format_version: '3.0', services: [serviceOf(model.url, routes)], consumers },
    })
  })
  afterAll(async () => {
    await kong?.stop()
    await model?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  const records = (): readonly Record<string, unknown>[] =>
    existsSync(file)
      ? readFileSync(file, 'utf8')
          .split('\n')
          .filter(Boolean)
          .map((line) => JSON.parse(line) as Record<string, unknown>)
      : []
  const idOf = ({ headers }: Reply) => headers.get('x-kong-request-id')

  test.each(['SIGKILL', 'SIGSTOP'] as const)('%s: each has one, and it says so', async (signal) => {
    for (const route of ['one', 'several'])
      await until('requests pass', async () => (await ask(kong, { route })).status === 200)
    await until('one plugin server runs', async () => (await kong.pluginServers()).length === 1)
    const [server] = (await kong.pluginServers()) as [number]
    await kong.signal(server, signal)
    const asked = await Promise.all(['one', 'several', 'one', 'several'].map((route) => ask(kong, { route })))
    if (signal === 'SIGSTOP') {
      // Longer than Kong waits in its own log phase.
      await sleep(3_000)
      await kong.signal(server, 'SIGCONT')
    }
    const refused = asked.filter(({ status }) => status === 503).map(idOf)
    expect(refused.length).toBeGreaterThan(0)
    await until('requests pass again', async () => (await ask(kong, { route: 'one' })).status === 200)
    await until('all of them are recorded', async () => {
      const recorded = records().map((record) => record['portcullis.request.id'])
      return refused.every((id) => recorded.includes(id))
    })
    for (const id of refused) {
      const own = records().filter((record) => record['portcullis.request.id'] === id)
      expect(own).toHaveLength(1)
      expect(own[0]).toMatchObject({
        'portcullis.decision': 'reject',
        'portcullis.code': 'policy_unavailable',
        'http.response.status_code': 503,
      })
    }
  })
})
