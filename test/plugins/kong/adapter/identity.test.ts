import { describe, expect, test } from 'vitest'
import { readEnding } from '../../../../plugins/kong/ending.ts'
import { entryKey, makeEntry, type PluginEntry } from '../../../../plugins/kong/shared-context.ts'
import type { Caller, Identity } from '../../../../policies/policy.ts'
import { FACTS, PLUGIN, PLUGIN_ID, type Stage, stage } from './harness.ts'

const AUTHENTICATOR = entryKey('llm-api-key')
const IDENTITY: Identity = {
  consumer: { id: 'c-9', username: 'eve', tags: ['gold'], groups: [] },
  credential: { id: 'k-9', createdAt: 5, tags: ['t'], scopes: ['llm:chat'], fingerprint: 'beef' },
}
const { consumer: _consumer, credential: _credential, ...NOBODY } = FACTS

const entry = (identity?: unknown): object => ({
  ...makeEntry({ plugin: 'llm-api-key', pluginId: PLUGIN_ID, replyHeaders: {}, tap: undefined, reservations: [] }),
  ...(identity === undefined ? {} : { identity }),
})

/** Runs a plugin that asks who calls, after `llm-api-key` left this. */
async function seenAfter(
  left: unknown,
  facts = NOBODY as typeof FACTS,
): Promise<{ kong: Stage; caller: Caller | undefined }> {
  let caller: Caller | undefined
  const kong = stage({
    facts,
    async decide(exchange) {
      caller = await exchange.caller()
      await exchange.caller()
      return { type: 'pass' }
    },
  })
  if (left !== undefined) kong.request.shared.set(AUTHENTICATOR, left)
  await kong.access()
  return { kong, caller }
}

describe('whom a key belongs to', () => {
  test('is left for the plugins after', async () => {
    const kong = stage({ facts: NOBODY as typeof FACTS, decide: () => ({ type: 'pass', identity: IDENTITY }) })
    await kong.access()
    const left = kong.request.shared.get(entryKey(PLUGIN)) as PluginEntry
    expect(JSON.parse(left.identity ?? '')).toEqual(IDENTITY)
  })

  test('is seen by them, at the cost of one look', async () => {
    const { kong, caller } = await seenAfter(entry(JSON.stringify(IDENTITY)))
    expect(caller).toEqual({ ...IDENTITY, address: FACTS.address })
    expect(kong.calls).toEqual(['kong.ctx.shared.get', 'kong.ctx.shared.get', 'kong.ctx.shared.set'])
  })

  test('is not looked for where Kong itself let somebody in', async () => {
    const { kong, caller } = await seenAfter(entry(JSON.stringify(IDENTITY)), FACTS)
    expect(caller?.credential?.id).toBe('k1')
    expect(kong.calls).toEqual(['kong.ctx.shared.get', 'kong.ctx.shared.set'])
  })

  test.each([
    ['the plugin did not run', undefined],
    ['it saw no key of its own', entry()],
  ])('is nobody when %s', async (_, left) => {
    const { kong, caller } = await seenAfter(left)
    expect(kong.request.reply).toBeUndefined()
    expect(caller).toEqual({ address: FACTS.address })
  })

  test('is nothing but what the contract says', async () => {
    const { caller } = await seenAfter(
      entry(JSON.stringify({ ...IDENTITY, address: '10.0.0.1', claims: { sub: 'root' } })),
    )
    expect(caller).toEqual({ ...IDENTITY, address: FACTS.address })
  })

  test.each<readonly [string, unknown]>([
    ['no text', 5],
    ['no JSON', '{'],
    ['no object', '[]'],
    ['no consumer', JSON.stringify({ credential: IDENTITY.credential })],
    ['a consumer without an id', JSON.stringify({ ...IDENTITY, consumer: { ...IDENTITY.consumer, id: '' } })],
    ['tags that are none', JSON.stringify({ ...IDENTITY, credential: { tags: 'all' } })],
    ['scopes that are none', JSON.stringify({ ...IDENTITY, credential: { tags: [], scopes: [1] } })],
  ])('shuts the door when it is %s', async (_, identity) => {
    const { kong } = await seenAfter(entry(identity))
    expect(kong.request.reply?.status).toBe(503)
  })

  test('reaches whoever watches how requests end', () => {
    const entries = [{ plugin: 'llm-api-key', identity: JSON.stringify(IDENTITY) }, { plugin: 'llm-token-limit' }]
    const ending = readEnding({ version: 1, entries })
    expect(ending?.entries.map(({ identity }) => identity)).toEqual([IDENTITY, undefined])
    expect(() => readEnding({ version: 1, entries: [{ plugin: 'llm-api-key', identity: '{}' }] })).toThrow('identity')
  })
})
