/** What the rules look at: every route that leads to a model, with the plugins that run on it. */

import { PortcullisError } from '../../../policies/errors.ts'
import { type Effective, indexPlugins } from './effective.ts'
import type { Consumer, KongConfig, Plugin, Route } from './entities.ts'
import type { Environment } from './environment.ts'
import type { JudgeConfig } from './policies.ts'
import { DECIDING, PACK, TELLING } from './priorities.ts'
import { providerOf } from './upstream.ts'

export interface Site {
  readonly config: KongConfig
  /** Routes that lead to a model; the others are none of this pack's business. */
  readonly routes: readonly RouteView[]
  readonly environment?: Environment
  /** Epoch milliseconds. */
  readonly now: number
  /** Whether a text holds something that looks like a secret. */
  isSecret(text: string): boolean
  readonly judge: JudgeConfig
}

export interface RouteView {
  readonly route: Route
  /** First everybody without plugins of their own, then each consumer with some. */
  readonly views: readonly View[]
}

export interface View {
  readonly route: Route
  readonly consumer?: Consumer
  readonly plugins: Effective
}

/** Routes times consumers with plugins of their own. */
const MAX_VIEWS = 500_000

export interface SiteOptions {
  readonly environment?: Environment
  readonly now: number
  /** Whether every route counts as one that leads to a model. */
  readonly allRoutes: boolean
  isSecret(text: string): boolean
  readonly judge: JudgeConfig
}

export function createSite(config: KongConfig, { allRoutes, ...rest }: SiteOptions): Site {
  const index = indexPlugins(config)
  const special = new Set(
    config.plugins.flatMap(({ name, consumer, enabled }) =>
      consumer && enabled && TELLING.has(name) ? [consumer] : [],
    ),
  )
  const anonymous = config.plugins.map(({ config: { anonymous: name } }) => name).filter((name) => name !== undefined)
  for (const consumer of config.consumers)
    if (anonymous.some((name) => name === consumer.id || name === consumer.name)) special.add(consumer)

  const all = everyRoute(config)
  if (all.length * (special.size + 1) > MAX_VIEWS)
    throw new PortcullisError(
      'too_large',
      `${all.length} routes for ${special.size} consumers with plugins of their own are more than can be judged at once: name fewer files`,
    )
  const routes = all
    .map((route): RouteView => {
      const views: View[] = [{ route, plugins: index.effective(route) }]
      for (const consumer of special) views.push({ route, consumer, plugins: index.effective(route, consumer) })
      return { route, views }
    })
    .filter((view) => allRoutes || leadsToModel(view, config.plugins))
  return { config, routes, ...rest }
}

/** A file that only adds plugins is judged by what they stand on, even where that is defined elsewhere. */
function everyRoute(config: KongConfig): readonly Route[] {
  // Kong takes no request for a service that is switched off.
  const routes = config.routes.filter(({ service }) => service?.raw.enabled !== false)
  const served = new Set(routes.map(({ service }) => service))
  for (const service of config.services)
    if (service.external && !served.has(service)) routes.push(standIn(`any route of ${service.name}`, { service }))
  if (config.routes.length === 0 && routes.length === 0 && config.plugins.length > 0) routes.push(standIn('any route'))
  return routes
}

function standIn(name: string, rest: Pick<Route, 'service'> = {}): Route {
  return { name, tags: [], raw: {}, place: { file: '' }, external: true, ...rest }
}

function leadsToModel({ route, views }: RouteView, plugins: readonly Plugin[]): boolean {
  if (providerOf(route.service) !== undefined) return true
  const telling = [...PACK, 'ai-proxy', 'ai-proxy-advanced']
  if (views.some((view) => telling.some((name) => view.plugins.has(name)))) return true
  // Switched off on this very route: somebody meant it to be there.
  return plugins.some(
    (plugin) =>
      telling.includes(plugin.name as (typeof telling)[number]) &&
      ((plugin.route !== undefined && plugin.route === route) ||
        (plugin.service !== undefined && plugin.service === route.service)),
  )
}

/** Plugins of the pack that decide in this view. */
export function decidingIn({ plugins }: View): readonly string[] {
  return DECIDING.filter((name) => plugins.has(name))
}

/** How a message names where it applies. */
export function nameOf({ route, consumer }: View): string {
  const at = route.external ? (route.name ?? 'any route') : `route "${route.name ?? route.id ?? 'without a name'}"`
  return consumer === undefined ? at : `${at} for consumer "${consumer.name ?? consumer.id ?? ''}"`
}
