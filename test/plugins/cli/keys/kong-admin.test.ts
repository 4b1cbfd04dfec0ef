/** Against a stand-in of Kong's Admin API; test/e2e/keys.test.ts asks real ones. */

import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { keysIn } from '../../../../plugins/cli/commands/keys/index.ts'
import { EXIT } from '../../../../plugins/cli/io.ts'
import { createKongAdmin } from '../../../../plugins/cli/keys/backends/kong-admin.ts'
import { run } from '../../../../plugins/cli/program.ts'
import { type KongAdminStandIn, startKongAdmin } from '../../../support/kong-admin/server.ts'
import { DAY, recording, START, testWorld } from './support.ts'

let kong: KongAdminStandIn

async function start(dbless = false): Promise<void> {
  kong = await startKongAdmin({ dbless })
  const standIn = kong
  onTestFinished(() => standIn.close())
}

async function keys(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const io = recording({ env })
  const code = await run(['keys', ...args, '--kong-admin', kong.url], io, [keysIn(async () => testWorld())])
  return { code, out: io.outText, err: io.errText }
}

const admin = () => createKongAdmin({ address: kong.url, tokenHeader: 'kong-admin-token', allowHttp: false })

beforeEach(() => start())

it('reads every page', async () => {
  const consumer = kong.addConsumer('ann')
  for (let index = 0; index < 2_345; index++) kong.addCredential(consumer, `key-${index}`)
  expect(new Set((await admin().credentials()).map(({ key }) => key)).size).toBe(2_345)
  expect(kong.requests).toEqual(['GET /key-auths', 'GET /key-auths', 'GET /key-auths'])
})

it('does not follow a list that never ends', async () => {
  kong.intercept = () => ({ status: 200, body: { data: {}, offset: 'again' } })
  await expect(admin().consumers()).rejects.toMatchObject({ code: 'bad_reply' })
})

it.each([
  ['no Kong', 200, { data: [{ hello: 'pc_secret' }] }, 'no Kong'],
  ['a refusal', 401, { message: 'pc_secret' }, 'refuses the token'],
  ['a fault', 500, { message: 'pc_secret' }, 'answers 500'],
  ['a page of a proxy', 200, 'pc_secret', 'answers 200'],
])('names %s without quoting it', async (_, status, body, message) => {
  kong.intercept = () => ({ status, body })
  const failed = admin().credentials()
  await expect(failed).rejects.toThrow(message)
  await expect(failed).rejects.not.toThrow('pc_secret')
})

it('sends a token in the header that guards the Admin API', async () => {
  await keys(['list'], { KONG_ADMIN_TOKEN: 'tok-1' })
  expect(kong.lastHeaders['kong-admin-token']).toBe('tok-1')
  await keys(['list', '--kong-token-header', 'apikey'], { KONG_ADMIN_TOKEN: 'tok-1' })
  expect(kong.lastHeaders).toMatchObject({ apikey: 'tok-1' })
  expect((await keys(['list'], { KONG_ADMIN_TOKEN: 'tok-1\nx' })).err).not.toContain('tok-1')
})

it('takes the age from created_at, and rotates once', async () => {
  kong.addCredential(kong.addConsumer('ann'), 'anns-old-key', ['gold'], (START - 61 * DAY) / 1000)
  kong.addCredential(kong.addConsumer('bea'), 'beas-new-key', null, (START - 59 * DAY) / 1000)
  const first = await keys(['rotate', '--older-than', '60d'])
  expect(first.code).toBe(EXIT.ok)
  const [line, ...more] = first.out.trim().split('\n')
  expect(more).toEqual([])
  const { id, key, consumer } = JSON.parse(line ?? '') as Record<string, string>
  expect(consumer).toBe('ann')
  expect(await keys(['rotate', '--older-than', '60d'])).toMatchObject({ out: '' })
  const tags = [...kong.credentials.values()].map((each) => [each.key, each.tags])
  expect(tags).toEqual([
    ['anns-old-key', ['gold', `pc-id:${id}`, 'pc-expires:2026-06-08T12:00:00Z', 'pc-retired']],
    ['beas-new-key', null],
    [key, ['gold', `pc-id:${id}`, 'pc-issued:2026-06-01T12:00:00Z']],
  ])
})

it('issues with what Kong has room for in tags', async () => {
  kong.addConsumer('ann')
  const issued = await keys(['issue', '--consumer', 'ann', '--scope', 'llm:chat', '--cidr', '10.0.0.0/8', '--tag', 'x'])
  const [credential] = [...kong.credentials.values()]
  expect(issued.out).toBe(`${credential?.key}\n`)
  expect(credential?.tags?.slice(0, 3)).toEqual(['x', 'llm:chat', 'pc-cidr:10.0.0.0_8'])
  expect(credential?.tags).not.toContain('pc-staged')
  expect((await keys(['issue', '--consumer', 'nobody'])).err).toContain('no such consumer')
})

it('does not hide tags that cannot be read', async () => {
  kong.addCredential(kong.addConsumer('ann'), 'anns-key', ['pc-id:a', 'pc-issued:2026-05-01', 'pc-issued:2026-05-02'])
  expect((await keys(['audit'])).out).toContain('malformed')
})

it('takes nothing for removed that is not', async () => {
  const id = kong.addCredential(kong.addConsumer('ann'), 'anns-key', ['pc-id:a'])
  kong.intercept = (method) => (method === 'DELETE' ? { status: 500, body: {} } : undefined)
  expect((await keys(['revoke', 'a'])).code).toBe(EXIT.failed)
  kong.intercept = () => undefined
  expect((await keys(['revoke', 'a'])).code).toBe(EXIT.ok)
  expect(kong.credentials.has(id)).toBe(false)
})

describe('without a database', () => {
  beforeEach(() => start(true))

  it('shows keys, knows no ages, and changes nothing', async () => {
    kong.addCredential(kong.addConsumer('ann'), 'anns-own-key', ['pc-issued:2026-05-31'], START / 1000)
    kong.addCredential(kong.addConsumer('bea'), 'beas-own-key', null, START / 1000)
    expect((await keys(['list'])).out).toMatch(/ann +current +2026-05-31.*\n.*bea +current +unknown/)
    const refused = await keys(['rotate', '--older-than', '0s', '--unknown-age'])
    expect(refused).toMatchObject({ code: EXIT.failed, out: '' })
    expect(refused.err).toContain('--file')
    expect(kong.credentials.size).toBe(2)
  })
})
