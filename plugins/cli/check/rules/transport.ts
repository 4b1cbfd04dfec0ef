/** How requests travel, and which protocols can be metered. */

import type { Route } from '../entities.ts'
import { strings } from '../place.ts'
import type { Rule } from '../rule.ts'
import { nameOf, type RouteView } from '../site.ts'
import { isInside, upstreamOf } from '../upstream.ts'

/** Kong's default for a route. */
const DEFAULT_PROTOCOLS = ['http', 'https']

function protocolsOf({ raw }: Route): readonly string[] {
  const set = strings(raw.protocols)
  return set.length === 0 ? DEFAULT_PROTOCOLS : set
}

function* known(routes: readonly RouteView[]): Iterable<RouteView> {
  for (const view of routes) if (!view.route.external) yield view
}

function label({ route, views: [view] }: RouteView): string {
  return view === undefined ? (route.name ?? 'a route') : nameOf(view)
}

export const httpAllowed: Rule = {
  id: 'http-allowed',
  severity: 'error',
  title: 'A route that takes requests in clear text',
  why: 'Keys and prompts can be read on the way. Kong’s default for `protocols` is http and https.',
  fix: 'Set `protocols: [https]` on the route. Behind a load balancer that ends TLS, list its addresses in KONG_TRUSTED_IPS, so that Kong believes its X-Forwarded-Proto.',
  needs: 'routes',
  *find({ routes }) {
    for (const view of known(routes))
      if (protocolsOf(view.route).includes('http'))
        yield { place: view.route.place, what: `${label(view)} takes http`, on: [view.route, view.route.service] }
  },
}

const METERED = new Set(['http', 'https'])

export const protocolUnmetered: Rule = {
  id: 'protocol-unmetered',
  severity: 'error',
  title: 'A protocol that the pack cannot meter',
  why: 'gRPC, WebSockets and raw connections pass without being understood, so without a limit, a scope or a record.',
  fix: 'Serve models on http and https routes only, and leave llm-edge’s `refuse_upgrade` on.',
  needs: 'routes',
  *find({ routes }) {
    for (const view of known(routes)) {
      const { route, views } = view
      const strange = protocolsOf(route).filter((protocol) => !METERED.has(protocol))
      if (strange.length > 0)
        yield { place: route.place, what: `${label(view)} takes ${strange.join(', ')}`, on: [route, route.service] }
      const upstream = upstreamOf(route.service)
      if (route.service !== undefined && upstream !== undefined && !METERED.has(upstream.protocol))
        yield {
          place: route.service.place,
          what: `the service of ${label(view)} speaks ${upstream.protocol}`,
          on: [route, route.service],
        }
      for (const { plugins } of views) {
        const edge = plugins.get('llm-edge')
        if (edge?.config.refuse_upgrade === false)
          yield { place: edge.place, what: 'llm-edge lets WebSocket upgrades pass', on: [edge, route] }
      }
    }
  },
}

export const upstreamInClear: Rule = {
  id: 'upstream-in-clear',
  severity: 'error',
  title: 'The upstream is reached in clear text over a public network',
  why: 'The provider’s key and every prompt can be read on the way.',
  fix: 'Give the service an https URL. A model on the inside may stay on http: use an inside name or address.',
  needs: 'routes',
  *find({ routes }) {
    for (const view of known(routes)) {
      const { service } = view.route
      const upstream = upstreamOf(service)
      if (service === undefined || upstream === undefined) continue
      if (upstream.protocol === 'http' && !upstream.hosts.every(isInside))
        yield { place: service.place, what: `service "${service.name ?? ''}" is reached over http`, on: [service] }
    }
  },
}

export const upstreamUnverified: Rule = {
  id: 'upstream-unverified',
  severity: 'warning',
  title: 'The upstream’s certificate is not checked',
  why: 'Kong does not check it unless told to: whoever can redirect the connection gets the provider’s key and the prompts.',
  fix: 'Set `tls_verify: true` on the service, and the variables KONG_NGINX_PROXY_PROXY_SSL_... of kong/kong.env.',
  needs: 'routes',
  *find({ routes, environment }) {
    const everywhere = environment?.variables.get('KONG_NGINX_PROXY_PROXY_SSL_VERIFY')?.value === 'on'
    for (const view of known(routes)) {
      const { service } = view.route
      if (service === undefined || service.external || upstreamOf(service)?.protocol !== 'https') continue
      if (service.raw.tls_verify !== true && !(everywhere && service.raw.tls_verify !== false))
        yield {
          place: service.place,
          what: `service "${service.name ?? ''}" does not check its upstream’s certificate`,
          on: [service],
        }
    }
  },
}
