/** `portcullis keys` against a real Kong: without a database by its file and its read-only Admin API, and through Redis. */

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { keysIn } from '../../plugins/cli/commands/keys/index.ts'
import { EXIT } from '../../plugins/cli/io.ts'
import { run } from '../../plugins/cli/program.ts'
import { recording, temporaryFolder, testWorld } from '../plugins/cli/keys/support.ts'
import { type Model, startModel } from '../support/model/index.ts'
import { haveRedisServer } from '../support/redis/backends.ts'
import { type RedisServer, startRedis } from '../support/redis/server.ts'
import { ask } from './support/ask.ts'
import { serviceOf } from './support/config.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong, KongConfig, PluginConfig } from './support/kong.ts'
import { ADMIN_PORT } from './support/ports.ts'
import { until } from './support/wait.ts'

const PEPPER = 'a pepper that only this test has.'
const DAY = 86_400_000
const ADMIN = `http://127.0.0.1:${ADMIN_PORT}`
const FIRST = 'first-key-of-ann-0123456789abcdefghij'

function configOf(upstream: string, redis: object): KongConfig {
  const guard: PluginConfig = { name: 'llm-guard', config: { require: ['llm-api-key'] } }
  const store = { store: 'redis', redis }
  const routes: Readonly<Record<string, readonly PluginConfig[]>> = {
    kongs: [
      { name: 'llm-key' },
      { name: 'key-auth', config: { key_names: ['apikey'], hide_credentials: true } },
      { name: 'llm-edge' },
      { name: 'llm-api-key', config: store },
      guard,
    ],
    own: [
      { name: 'llm-key' },
      { name: 'llm-edge' },
      { name: 'llm-api-key', config: { own_keys: { pepper: PEPPER, headers: ['apikey'], cache_ms: 100 }, ...store } },
      guard,
    ],
  }
  return {
    _format_version: '3.0',
    services: [serviceOf(upstream, routes)],
    consumers: [
      { username: 'ann', keyauth_credentials: [{ key: FIRST, tags: ['gold', 'pc-issued:2026-01-01'] }] },
      { username: 'bea' },
    ],
  }
}

describe.skipIf(kongMissing || !haveRedisServer('the keys command on a real Kong'))('keys on a real Kong', () => {
  let model: Model
  let redis: RedisServer
  let kong: Kong
  let config: KongConfig
  const world = testWorld(Date.now())

  beforeAll(async () => {
    model = await startModel()
    redis = await startRedis()
    config = configOf(model.url, { host: redis.host, port: redis.port, command_timeout_ms: 500 })
    kong = await startKong({ config })
  })
  afterAll(async () => {
    await kong?.stop()
    await redis?.close()
    await model?.close()
  })

  async function keys(...args: string[]) {
    const io = recording({ env: { PORTCULLIS_KEY_PEPPER: PEPPER } })
    const code = await run(['keys', ...args], io, [keysIn(async () => world)])
    return { code, out: io.outText, err: io.errText }
  }

  const statusOf = async (route: string, key: string) => (await ask(kong, { route, key })).status
  const becomes = (route: string, key: string, status: number) =>
    until(`${route} answers ${status}`, async () => (await statusOf(route, key)) === status)

  test('a file is rotated, and old and new key work until the old one is pruned', async () => {
    const file = join(temporaryFolder(), 'kong.yml')
    writeFileSync(file, stringify(config))
    const load = () => kong.apply(parse(readFileSync(file, 'utf8')) as KongConfig)
    // Older than the gateway's own policy allows.
    await becomes('kongs', FIRST, 401)
    const rotated = await keys('rotate', '--older-than', '60d', '--file', file)
    expect(rotated.code).toBe(EXIT.ok)
    const second = (JSON.parse(rotated.out) as { key: string }).key
    const issued = (await keys('issue', '--consumer', 'bea', '--expires-in', '1d', '--file', file)).out.trim()
    expect(await statusOf('kongs', second)).toBe(401)
    await load()
    await becomes('kongs', second, 200)
    await becomes('kongs', issued, 200)
    const listed = await keys('list', '--kong-admin', ADMIN, '--json')
    expect(JSON.parse(listed.out)).toMatchObject({
      keys: expect.arrayContaining([
        expect.objectContaining({ consumer: 'bea' }),
        expect.objectContaining({ consumer: 'ann', tags: ['gold'] }),
      ]),
    })
    world.now += 8 * DAY
    const pruned = await keys('prune', '--file', file)
    expect(pruned.err).toContain('Removed 1')
    world.now -= 8 * DAY
    await load()
    await becomes('kongs', FIRST, 401)
    expect(await statusOf('kongs', second)).toBe(200)
  })

  test('a rotated key of the gateway keeps working through its grace time', async () => {
    const file = join(temporaryFolder(), 'kong.yml')
    const young = `pc-issued:${new Date(world.now - 70 * DAY).toISOString().slice(0, 10)}`
    const consumers = [{ username: 'ann', keyauth_credentials: [{ key: FIRST, tags: [young] }] }, { username: 'bea' }]
    writeFileSync(file, stringify({ ...config, consumers }))
    const rotated = await keys('rotate', '--older-than', '60d', '--file', file)
    const second = (JSON.parse(rotated.out) as { key: string }).key
    await kong.apply(parse(readFileSync(file, 'utf8')) as KongConfig)
    await becomes('kongs', second, 200)
    await becomes('kongs', FIRST, 200)
  })

  test('its Admin API shows ages by tag alone, and changes nothing', async () => {
    await kong.apply({
      ...config,
      consumers: [
        { username: 'ann', keyauth_credentials: [{ key: FIRST, tags: ['pc-issued:2026-01-01'] }] },
        { username: 'bea', keyauth_credentials: [{ key: 'untold-key-of-bea-0123456789abcdefgh' }] },
      ],
    })
    const audit = async () => {
      const { code, out } = await keys('audit', '--kong-admin', ADMIN, '--json')
      const { findings } = JSON.parse(out) as { findings: { consumer: string; finding: string }[] }
      return { code, findings: findings.map(({ consumer, finding }) => `${consumer} ${finding}`) }
    }
    await until('the new config is there', async () => (await audit()).findings.includes('bea unknown_age'))
    const { code, findings } = await audit()
    expect(code).toBe(EXIT.findings)
    expect(findings).toContain('ann too_old')
    const refused = await keys('rotate', '--older-than', '1d', '--kong-admin', ADMIN)
    expect(refused).toMatchObject({ code: EXIT.failed, out: '' })
    expect(refused.err).toContain('runs without a database')
  })

  test('a key of the registry works at once, through a rotation, and no longer when it is revoked', async () => {
    const url = `redis://${redis.host}:${redis.port}`
    const first = (await keys('issue', '--consumer', 'cid', '--redis', url)).out.trim()
    await becomes('own', first, 200)
    const [, , id = ''] = first.split('_')
    const second = (JSON.parse((await keys('rotate', id, '--redis', url)).out) as { key: string }).key
    await becomes('own', second, 200)
    expect(await statusOf('own', first)).toBe(200)
    expect((await keys('revoke', id, '--redis', url)).code).toBe(EXIT.ok)
    await becomes('own', first, 401)
    await becomes('own', second, 401)
  })
})
