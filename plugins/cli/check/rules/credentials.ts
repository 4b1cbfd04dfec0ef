/** Keys: where they travel. */

import type { Plugin } from '../entities.ts'
import { isRaw, memberAt, strings, text } from '../place.ts'
import { AUTH_PLUGINS } from '../priorities.ts'
import type { Rule } from '../rule.ts'
import { nameOf, type Site, type View } from '../site.ts'
import { providerOf } from '../upstream.ts'

export const CREDENTIAL_HEADERS = ['authorization', 'x-api-key', 'api-key', 'x-goog-api-key']

/** Entries `header:value` of one action of a request-transformer. */
function headersOf(plugin: Plugin | undefined, action: string): ReadonlyMap<string, string> {
  const entries = strings(memberAt(plugin?.config, action, 'headers'))
  return new Map(
    entries.map((entry): [string, string] => {
      const [name = '', ...value] = entry.split(':')
      return [name.trim().toLowerCase(), value.join(':').trim()]
    }),
  )
}

/** The header in which ai-proxy sends a key of its own, whatever the client sent there. */
function sentByProxy(proxy: Plugin | undefined): string | undefined {
  const auth = memberAt(proxy?.config, 'auth')
  if (memberAt(auth, 'allow_override') === true || text(memberAt(auth, 'header_value')) === undefined) return undefined
  return text(memberAt(auth, 'header_name'))?.toLowerCase()
}

/** Whether the client's own value of a header is gone before the upstream sees the request. */
function isStripped({ plugins }: View, header: string): boolean {
  if (plugins.has('llm-upstream')) return true
  if (sentByProxy(plugins.get('ai-proxy')) === header) return true
  const transformer = plugins.get('request-transformer')
  return headersOf(transformer, 'remove').has(header) || headersOf(transformer, 'replace').has(header)
}

function* everyView({ routes }: Site): Iterable<View> {
  for (const { views } of routes) yield* views
}

export const credentialsForwarded: Rule = {
  id: 'credentials-forwarded',
  severity: 'error',
  title: 'The caller’s credential travels on to the upstream',
  why: 'Your callers’ keys and tokens end up with the provider, in its logs and in everything in between.',
  fix: 'Set `hide_credentials: true`; a token that the jwt plugin checked is removed by llm-upstream, by llm-scope’s `jwt`, or by request-transformer (`remove: {headers: [authorization]}`).',
  *find(site) {
    for (const view of everyView(site)) {
      for (const name of ['key-auth', 'basic-auth', 'hmac-auth', 'ldap-auth', 'oauth2']) {
        const plugin = view.plugins.get(name)
        if (plugin === undefined || plugin.config.hide_credentials === true) continue
        if (name !== 'key-auth' && isStripped(view, 'authorization')) continue
        yield { place: plugin.place, what: `${name} has hide_credentials off`, on: [plugin] }
      }
      const jwt = view.plugins.get('jwt')
      const scopes = [view.plugins.get('llm-scope')?.config, memberAt(view.plugins.get('llm-gateway')?.config, 'scope')]
      const taken = scopes.some((scope) => isRaw(memberAt(scope, 'jwt')) && memberAt(scope, 'jwt', 'forward') !== true)
      const removed = taken || isStripped(view, 'authorization')
      if (jwt !== undefined && !removed)
        yield {
          place: jwt.place,
          what: `the token that jwt checked on ${nameOf(view)} travels on`,
          on: [jwt, view.route],
        }
    }
  },
}

export const addedNotReplaced: Rule = {
  id: 'added-not-replaced',
  severity: 'error',
  title: 'The provider’s key is only added, so the client’s own one survives',
  why: 'request-transformer’s `add` does nothing where the header is there already: the client then calls the provider with a key of its own, past your account’s controls.',
  fix: 'Use llm-upstream, or list the header under both `replace` and `add`.',
  *find(site) {
    for (const view of everyView(site)) {
      const transformer = view.plugins.get('request-transformer')
      if (transformer === undefined || view.plugins.has('llm-upstream')) continue
      const alone = [...headersOf(transformer, 'add').keys()].filter(
        (name) => CREDENTIAL_HEADERS.includes(name) && !isStripped(view, name),
      )
      if (alone.length > 0)
        yield { place: transformer.place, what: `request-transformer only adds ${alone.join(', ')}`, on: [transformer] }
    }
  },
}

/** Headers in which a provider takes its key, besides `authorization`. */
const OWN_HEADERS = [
  [/(^|\.)anthropic\.com$/i, 'x-api-key'],
  [/(^|\.)googleapis\.com$/i, 'x-goog-api-key'],
  [/(^|\.)azure\.com$/i, 'api-key'],
] as const

/** Authentication plugins whose own credential stands in `authorization`. */
const BY_AUTHORIZATION = ['basic-auth', 'hmac-auth', 'ldap-auth', 'oauth2', 'jwt', 'openid-connect']

/** Where what a caller sends as the provider's key arrives there. */
function openHeaders(view: View, host: string): readonly string[] {
  const { plugins } = view
  const taken = [
    ...(BY_AUTHORIZATION.some((name) => plugins.has(name)) ? ['authorization'] : []),
    ...strings(plugins.get('key-auth')?.config.key_names).map((name) => name.toLowerCase()),
    ...headersOf(plugins.get('request-transformer'), 'add').keys(),
  ]
  const own = OWN_HEADERS.flatMap(([provider, header]) => (provider.test(host) ? [header] : []))
  return ['authorization', ...own].filter((header) => !taken.includes(header) && !isStripped(view, header))
}

export const providerKeyForwarded: Rule = {
  id: 'provider-key-forwarded',
  severity: 'warning',
  title: 'A caller’s own key of the provider travels on',
  why: 'Nothing takes it away or puts yours in its place: callers can call the provider past your account’s controls.',
  fix: 'Add llm-upstream with your key: it removes every credential of the caller.',
  *find(site) {
    for (const view of everyView(site)) {
      const proxy = view.plugins.get('ai-proxy')
      if (memberAt(proxy?.config, 'auth', 'allow_override') === true && proxy !== undefined)
        yield { place: proxy.place, what: 'ai-proxy has allow_override: true', on: [proxy, view.route] }
      const host = providerOf(view.route.service)
      if (host === undefined) continue
      const auth = AUTH_PLUGINS.some((name) => view.plugins.has(name))
      // llm-key takes one key from all these headers, and that is the gateway's own; ai-proxy sends its own.
      const handled = ['llm-key', 'ai-proxy'].some((name) => view.plugins.has(name))
      const open = auth && !handled ? openHeaders(view, host) : []
      if (open.length > 0)
        yield {
          place: view.route.place,
          what: `${nameOf(view)} passes on ${open.join(', ')} as callers send it`,
          on: [view.route, view.route.service],
        }
    }
  },
}

export const keysInAddress: Rule = {
  id: 'keys-in-address',
  severity: 'warning',
  title: 'Keys are taken from the query of an address',
  why: 'Addresses are written to many logs on the way: nginx puts the whole request line beside every line that it logs of a request, unless KONG_PROXY_ERROR_LOG is /dev/null.',
  fix: 'Set `key_in_query: false` on llm-key and key-auth. The official SDKs send keys in headers, Google’s too.',
  *find(site) {
    for (const view of everyView(site))
      for (const name of ['llm-key', 'key-auth']) {
        const plugin = view.plugins.get(name)
        if (plugin !== undefined && plugin.config.key_in_query !== false)
          yield { place: plugin.place, what: `${name} takes keys from the query`, on: [plugin] }
      }
  },
}
