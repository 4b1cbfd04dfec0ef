import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { indexPlugins } from '../../../../plugins/cli/check/effective.ts'
import type { Consumer, Entity, Plugin, Route } from '../../../../plugins/cli/check/entities.ts'

const place = { file: 'kong.yml' }
const entity = (name: string): Entity => ({ name, tags: [], raw: {}, place })

const services = [entity('s0'), entity('s1')]
const routes: Route[] = [0, 1, 2].map((index) => {
  const service = services[index]
  return { ...entity(`r${index}`), ...(service === undefined ? {} : { service }) }
})
const consumers: Consumer[] = [entity('c0'), entity('c1')]

interface Scope {
  readonly route: number
  readonly service: number
  readonly consumer: number
  readonly enabled: boolean
}

/** -1: not set. */
const scope: fc.Arbitrary<Scope> = fc.record({
  route: fc.integer({ min: -1, max: 2 }),
  service: fc.integer({ min: -1, max: 1 }),
  consumer: fc.integer({ min: -1, max: 1 }),
  enabled: fc.boolean(),
})

function pluginOf({ route, service, consumer, enabled }: Scope, name = 'rate-limiting'): Plugin {
  const of = { route: routes[route], service: services[service], consumer: consumers[consumer] }
  const scoped = Object.fromEntries(Object.entries(of).filter(([, value]) => value !== undefined))
  return { ...entity(name), name, config: {}, enabled, ...scoped }
}

/** `lookup_cfg` of kong/runloop/plugins_iterator.lua 3.9.1, over its compound keys. */
function lookup(combos: ReadonlyMap<string, Plugin>, route: string, service: string, consumer: string) {
  const tried: [boolean, string][] = [
    [route !== '' && service !== '' && consumer !== '', `${route}:${service}:${consumer}`],
    [route !== '' && consumer !== '', `${route}::${consumer}`],
    [service !== '' && consumer !== '', `:${service}:${consumer}`],
    [route !== '' && service !== '', `${route}:${service}:`],
    [consumer !== '', `::${consumer}`],
    [route !== '', `${route}::`],
    [service !== '', `:${service}:`],
    [true, '::'],
  ]
  for (const [applies, key] of tried) {
    const found = combos.get(key)
    if (applies && found !== undefined) return found
  }
  return undefined
}

describe('indexPlugins', () => {
  it('chooses as Kong’s plugins iterator does', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(scope, { maxLength: 12, selector: ({ enabled: _, ...key }) => JSON.stringify(key) }),
        fc.nat(2),
        fc.integer({ min: -1, max: 1 }),
        (scopes, routeAt, consumerAt) => {
          const auth = pluginOf({ route: -1, service: -1, consumer: -1, enabled: true }, 'key-auth')
          const plugins = scopes.map((each) => pluginOf(each))
          const route = routes[routeAt] as Route
          const consumer = consumers[consumerAt]
          const combos = new Map(
            plugins
              .filter(({ enabled }) => enabled)
              .map((plugin) => [
                `${plugin.route?.name ?? ''}:${plugin.service?.name ?? ''}:${plugin.consumer?.name ?? ''}`,
                plugin,
              ]),
          )
          const chosen = indexPlugins({ plugins: [auth, ...plugins] }).effective(route, consumer)
          const wanted = lookup(combos, route.name ?? '', route.service?.name ?? '', consumer?.name ?? '')
          expect(chosen.get('rate-limiting')).toBe(wanted)
        },
      ),
      { numRuns: 500 },
    )
  })

  it('knows no consumer before authentication', () => {
    const [route] = routes as [Route]
    const [alice] = consumers as [Consumer]
    const everywhere = { route: -1, service: -1, consumer: -1, enabled: true }
    const auth = pluginOf(everywhere, 'key-auth')
    const early = pluginOf({ ...everywhere, consumer: 0 }, 'cors')
    const late = pluginOf({ ...everywhere, consumer: 0 }, 'llm-guard')
    const chosen = indexPlugins({ plugins: [auth, early, late] }).effective(route, alice)
    expect(chosen.has('cors')).toBe(false)
    expect(chosen.get('llm-guard')).toBe(late)
  })

  it('lets a wider instance run where a narrower one is switched off', () => {
    const [route] = routes as [Route]
    const wide = pluginOf({ route: -1, service: -1, consumer: -1, enabled: true }, 'llm-guard')
    const off = pluginOf({ route: 0, service: -1, consumer: -1, enabled: false }, 'llm-guard')
    expect(
      indexPlugins({ plugins: [wide, off] })
        .effective(route)
        .get('llm-guard'),
    ).toBe(wide)
  })
})
