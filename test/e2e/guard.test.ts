import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Model, startModel } from '../support/model/index.ts'
import { ask, codeOf } from './support/ask.ts'
import { configOf, type RouteOptions, tokens } from './support/config.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong, PluginConfig } from './support/kong.ts'

const LIMITS = [tokens()]
const IDS = {
  everywhere: '11111111-2222-4333-8444-555555555555',
  route: '66666666-7777-4888-8999-aaaaaaaaaaaa',
  otherRoute: '77777777-8888-4999-8aaa-bbbbbbbbbbbb',
} as const

/** Lua that runs before every other plugin of its route. */
function before(lua: string): PluginConfig {
  return { name: 'pre-function', config: { access: [lua] } }
}

/** A mark as the plugin itself would leave it. */
function forged(plugin: string, id: string): PluginConfig {
  const entry = `{ version = 1, mark = { plugin = "${plugin}", plugin_id = "${id}" } }`
  return before(`kong.ctx.shared.portcullis_${plugin.replaceAll('-', '_')} = ${entry}`)
}

/** zipkin stands in for a plugin that leaves marks: it has a log phase and runs before the guard. */
const zipkin = (id: string): PluginConfig => ({ name: 'zipkin', id, config: { sample_ratio: 0 } })
const guard: PluginConfig = { name: 'llm-guard', config: { require: ['zipkin'] } }
const bare = { edge: false, guard: false } as const

const ROUTES: Readonly<Record<string, RouteOptions>> = {
  whole: { limits: LIMITS },
  'no-edge': { limits: LIMITS, edge: false },
  absent: {},
  // Marked by somebody else where the plugin does not run.
  'forged-absent': { extra: [forged('llm-token-limit', IDS.route)] },
  // The plugin fails on facts that are not as agreed.
  'broken-facts': {
    limits: LIMITS,
    edge: false,
    extra: [before('kong.ctx.shared.portcullis_facts = { version = 1 }')],
  },
  // Two configs of one plugin, and marks of the right and of the wrong one.
  'own-config': { ...bare, extra: [guard, zipkin(IDS.route), forged('zipkin', IDS.route)] },
  'replaced-config': { ...bare, extra: [guard, zipkin(IDS.otherRoute), forged('zipkin', IDS.everywhere)] },
  'global-config': { ...bare, extra: [guard, forged('zipkin', IDS.everywhere)] },
  'foreign-config': { ...bare, extra: [guard, forged('zipkin', IDS.route)] },
}

describe.skipIf(kongMissing)('llm-guard on a real Kong', () => {
  let model: Model
  let kong: Kong

  beforeAll(async () => {
    model = await startModel()
    kong = await startKong({ config: { ...configOf(model.url, ROUTES), plugins: [zipkin(IDS.everywhere)] } })
  })
  afterAll(async () => {
    await kong?.stop()
    await model?.close()
  })

  test.each(['whole', 'no-edge'])('%s: what was decided passes', async (route) => {
    const reply = await ask(kong, { route })
    expect(reply.status, reply.text).toBe(200)
    expect(reply.headers.get('x-ratelimit-limit-tokens')).toBe('1000000000')
  })

  test.each(['own-config', 'global-config'])('%s: the mark of the config that Kong runs here passes', async (route) => {
    expect((await ask(kong, { route })).status).toBe(200)
  })

  test.each(['absent', 'forged-absent', 'broken-facts', 'replaced-config', 'foreign-config'])(
    '%s: shut',
    async (route) => {
      const reached = model.requests.length
      const reply = await ask(kong, { route })
      expect(reply.status).toBe(503)
      expect(codeOf(reply)).toBe('policy_unavailable')
      expect(reply.headers.get('cache-control')).toBe('no-store')
      expect(model.requests.length).toBe(reached)
    },
  )

  test('Kong refuses a guard that requires nothing', async () => {
    const open = { name: 'llm-guard', config: { require: [] } }
    await expect(kong.apply(configOf(model.url, { open: { guard: false, extra: [open] } }))).rejects.toThrow(/require/)
  })
})
