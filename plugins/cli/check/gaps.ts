/** What could not be judged: a rule that found nothing because it knew nothing. */

import type { Need, Rule } from './rule.ts'
import type { Site } from './site.ts'
import { isFilledInLater } from './upstream.ts'

export interface Gap {
  readonly rules: readonly Rule[]
  readonly why: string
  readonly fix: string
}

/** @param whyUnknown why nobody knows the variables, where the site has none */
export function gapsOf(site: Site, rules: readonly Rule[], whyUnknown: string): readonly Gap[] {
  const gaps: Gap[] = []
  if (site.environment === undefined)
    gaps.push({
      rules: needing(rules, 'variables'),
      why: whyUnknown,
      fix: 'Name them with --env: an environment file, a compose file, Helm values or a kong.conf. A kong.env or kong.conf beside the configuration is taken by itself.',
    })
  if (site.routes.some(({ route }) => route.external === true || route.service?.external === true))
    gaps.push({
      rules: needing(rules, 'routes'),
      why: 'plugins stand on routes or services that are defined elsewhere',
      fix: 'Name the files that define them as well, or the URL of the Admin API.',
    })
  if (site.config.routes.some(({ service }) => isFilledInLater(service)))
    gaps.push({
      rules: needing(rules, 'routes'),
      why: 'where a service leads is filled in from environment variables',
      fix: 'Judge what `deck file render` writes with these variables set, or every route with --all-routes and what the services are by hand.',
    })
  return gaps.filter((gap) => gap.rules.length > 0)
}

function needing(rules: readonly Rule[], need: Need): readonly Rule[] {
  return rules.filter((rule) => rule.needs === need)
}
