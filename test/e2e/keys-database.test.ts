/** `portcullis keys` through the Admin API of a real Kong with a database. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { keysIn } from '../../plugins/cli/commands/keys/index.ts'
import { EXIT } from '../../plugins/cli/io.ts'
import { run } from '../../plugins/cli/program.ts'
import { DAY, recording, testWorld } from '../plugins/cli/keys/support.ts'
import { type DatabaseKong, databaseKongMissing, startDatabaseKong } from './support/database-kong.ts'
import { until } from './support/wait.ts'

const CREDENTIALS = 1_203

describe.skipIf(databaseKongMissing)('keys in a real Kong’s database', () => {
  let kong: DatabaseKong
  const world = testWorld(Date.now())

  beforeAll(async () => {
    kong = await startDatabaseKong()
    await post('/services', { name: 'closed', url: 'http://127.0.0.1:9' })
    await post('/services/closed/routes', { name: 'closed', paths: ['/'] })
    await post('/plugins', { name: 'key-auth' })
    await post('/plugins', { name: 'request-termination', config: { status_code: 204 } })
    for (const name of ['ann', 'bea', 'many']) await post('/consumers', { username: name })
    const created = Math.floor(world.now / 1000) - 61 * 86_400
    await post('/consumers/ann/key-auth', { key: 'old-key-of-ann', tags: ['gold'], created_at: created })
    await post('/consumers/bea/key-auth', { key: 'younger-key-of-bea', created_at: created + 5 * 86_400 })
  })
  afterAll(() => kong?.stop())

  async function post(path: string, body: object): Promise<void> {
    const reply = await fetch(kong.admin + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    if (reply.status !== 201) throw new Error(`${path} answered ${reply.status}: ${await reply.text()}`)
  }

  async function keys(...args: string[]) {
    const io = recording()
    const code = await run(['keys', ...args, '--kong-admin', kong.admin], io, [keysIn(async () => world)])
    return { code, out: io.outText, err: io.errText }
  }

  const statusOf = async (apikey: string) => (await fetch(kong.proxy, { headers: { apikey } })).status
  const becomes = (key: string, status: number) =>
    until(`the key gets ${status}`, async () => (await statusOf(key)) === status)

  test('what is old is rotated once, works beside the old one, and the old one goes after its grace time', async () => {
    await becomes('old-key-of-ann', 204)
    const rotated = await keys('rotate', '--older-than', '60d')
    expect(rotated.code).toBe(EXIT.ok)
    const { key, consumer } = JSON.parse(rotated.out) as Record<string, string>
    expect(consumer).toBe('ann')
    expect((await keys('rotate', '--older-than', '60d')).out).toBe('')
    await becomes(key ?? '', 204)
    expect(await statusOf('old-key-of-ann')).toBe(204)
    expect((await keys('prune')).err).toContain('Removed 0')
    world.now += 8 * DAY
    expect((await keys('prune')).err).toContain('Removed 1')
    world.now -= 8 * DAY
    await becomes('old-key-of-ann', 401)
    expect(await statusOf(key ?? '')).toBe(204)
  })

  test('two runs at a time make one new secret', async () => {
    const runs = await Promise.all([0, 1, 2].map(() => keys('rotate', '--older-than', '50d')))
    await keys('rotate', '--older-than', '50d')
    const listed = JSON.parse((await keys('list', '--json')).out) as {
      keys: { consumer: string; id: string; versions: { state: string }[] }[]
    }
    const bea = listed.keys.filter(({ consumer }) => consumer === 'bea')
    expect(bea.map(({ versions }) => versions.map(({ state }) => state).toSorted())).toEqual([['current', 'retired']])
    const made = runs.flatMap(({ out }) => out.split('\n').filter((line) => line.includes('"bea"')))
    const texts = new Set(made.map((line) => (JSON.parse(line) as { key: string }).key))
    expect(texts.size).toBe(1)
    for (const text of texts) await becomes(text, 204)
  })

  test('a key is issued, and revoked by name', async () => {
    const issued = await keys('issue', '--consumer', 'bea', '--scope', 'llm:chat', '--cidr', '10.0.0.0/8')
    const key = issued.out.trim()
    await becomes(key, 204)
    const [, , id = ''] = key.split('_')
    expect((await keys('revoke', id)).code).toBe(EXIT.ok)
    await becomes(key, 401)
  })

  test('every page is read', async () => {
    for (let from = 0; from < CREDENTIALS; from += 100)
      await Promise.all(
        Array.from({ length: Math.min(100, CREDENTIALS - from) }, (_, index) =>
          post('/consumers/many/key-auth', { key: `bulk-${from + index}` }),
        ),
      )
    const { out } = await keys('list', '--json', '--consumer', 'many')
    expect((JSON.parse(out) as { keys: unknown[] }).keys).toHaveLength(CREDENTIALS)
  })
})
