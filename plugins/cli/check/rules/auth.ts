/** Who may come in. */

import type { Consumer, Plugin } from '../entities.ts'
import { isRaw, memberAt, strings, text } from '../place.ts'
import { AUTH_PLUGINS } from '../priorities.ts'
import type { Hit, Rule } from '../rule.ts'
import { nameOf, type RouteView, type Site, type View } from '../site.ts'

/** Plugins of this view that let in only whom they know. A session is none: whoever has none passes it. */
function authIn({ plugins }: View): readonly Plugin[] {
  return AUTH_PLUGINS.flatMap((name) => (name === 'session' ? [] : (plugins.get(name) ?? [])))
}

/** A plugin of the pack that by itself refuses whoever has proved nothing. @param known as whom Kong lets them in */
function packRefuses({ plugins }: View, known?: Consumer): boolean {
  const alone = plugins.get('llm-gateway')?.config
  const gateway = alone?.mode === 'shadow' ? undefined : alone
  const keys = [plugins.get('llm-api-key')?.config, memberAt(gateway, 'api_key')]
  const scopes = [plugins.get('llm-scope')?.config, memberAt(gateway, 'scope')]
  return (
    keys.some((config) => enforces(config) && memberAt(config, 'on_missing_key') !== 'pass') ||
    scopes.some((config) => enforces(config) && !grantsTo(known, config))
  )
}

/** Whether llm-scope lets a consumer do something, by its tags or by its name. */
function grantsTo(consumer: Consumer | undefined, config: unknown): boolean {
  if (consumer === undefined) return false
  const [aliases, named] = ['aliases', 'static'].map((member) => memberAt(config, member))
  return (
    consumer.tags.some((tag) => tag.startsWith('llm:') || memberAt(aliases, tag) !== undefined) ||
    [consumer.id, consumer.name, consumer.customId].some(
      (key) => key !== undefined && memberAt(named, key) !== undefined,
    )
  )
}

function enforces(config: unknown): boolean {
  return isRaw(config) && config.mode !== 'shadow'
}

export const routeWithoutAuth: Rule = {
  id: 'route-without-auth',
  severity: 'error',
  title: 'A route to a model that anybody may call',
  why: 'Without authentication nobody is limited as a consumer, and whoever finds the address spends your money.',
  fix: 'Add key-auth (with llm-key before it), jwt, or llm-api-key to the route, its service, or globally.',
  *find({ routes }) {
    for (const { route, views } of routes)
      for (const view of views.slice(0, 1))
        if (authIn(view).length === 0 && !packRefuses(view))
          yield {
            place: route.place,
            what: `${nameOf(view)} has no authentication plugin`,
            on: [route, route.service],
          }
  },
}

export const anonymousAllowed: Rule = {
  id: 'anonymous-allowed',
  severity: 'error',
  title: 'A caller without a credential comes in as the anonymous consumer',
  why: 'All strangers then share what the anonymous consumer may do, limits included: it is no identity.',
  fix: 'Drop `anonymous`; where two authentication plugins need it, let llm-scope or llm-api-key refuse who proved nothing, or put request-termination (401) on the anonymous consumer.',
  *find(site) {
    for (const routeView of site.routes) {
      const [view] = routeView.views
      if (view === undefined) continue
      const auth = authIn(view)
      // One that has no `anonymous` refuses by itself, whatever the others let in.
      if (auth.length === 0 || auth.some(({ config }) => text(config.anonymous) === undefined)) continue
      for (const plugin of auth) if (!refusesStrangers(site, routeView, view, plugin)) yield letsIn(view, plugin)
    }
  },
}

function letsIn(view: View, plugin: Plugin): Hit {
  return {
    place: plugin.place,
    what: `${plugin.name} lets callers without a credential pass on ${nameOf(view)}, and nothing behind it refuses them`,
    on: [plugin, view.route],
  }
}

function refusesStrangers({ config }: Site, { views }: RouteView, view: View, plugin: Plugin): boolean {
  const name = plugin.config.anonymous
  const anonymous: Consumer | undefined = config.consumers.find(({ id, name: known }) => id === name || known === name)
  const theirs = views.find(({ consumer }) => consumer !== undefined && consumer === anonymous) ?? view
  if (packRefuses(theirs, anonymous)) return true
  const termination = theirs.plugins.get('request-termination')
  // With a trigger it ends only requests that carry it.
  return termination !== undefined && text(termination.config.trigger) === undefined
}

export const preflightUnauthenticated: Rule = {
  id: 'preflight-unauthenticated',
  severity: 'warning',
  title: 'OPTIONS requests skip authentication',
  why: 'With `run_on_preflight: false` an OPTIONS request reaches the upstream, with your key, for anybody.',
  fix: 'Leave `run_on_preflight` at true, and let the cors plugin answer preflights.',
  *find({ routes }) {
    for (const { views } of routes)
      for (const view of views)
        for (const plugin of authIn(view))
          if (plugin.config.run_on_preflight === false)
            yield { place: plugin.place, what: `${plugin.name} has run_on_preflight: false`, on: [plugin] }
  },
}

/** Whether llm-scope verifies tokens by itself: it takes none without an end. */
function verifiesTokens({ plugins }: View): boolean {
  const gateway = plugins.get('llm-gateway')?.config
  const scopes = [plugins.get('llm-scope')?.config, gateway?.mode === 'shadow' ? undefined : memberAt(gateway, 'scope')]
  return scopes.some((scope) => enforces(scope) && isRaw(memberAt(scope, 'jwt')))
}

export const endlessTokens: Rule = {
  id: 'endless-tokens',
  severity: 'warning',
  title: 'Tokens that never expire',
  why: 'The jwt plugin looks at `exp` only where it is told to: a token that leaked once, or has no end, is good for ever.',
  fix: 'Set `claims_to_verify: [exp]`, and `maximum_expiration` for tokens that callers sign themselves.',
  *find({ routes }) {
    for (const { views } of routes)
      for (const view of views) {
        const plugin = view.plugins.get('jwt')
        if (plugin === undefined || verifiesTokens(view)) continue
        if (!strings(plugin.config.claims_to_verify).includes('exp'))
          yield {
            place: plugin.place,
            what: `jwt takes expired tokens on ${nameOf(view)}`,
            on: [plugin],
          }
      }
  },
}
