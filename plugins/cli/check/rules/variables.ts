/** How rules read the variables that Kong is started with. */

import type { Environment } from '../environment.ts'
import type { Hit, Rule } from '../rule.ts'
import type { Site } from '../site.ts'

/** Something wrong with a variable, found where it is set, or in the file that lacks it. */
export function at({ file, variables }: Environment, name: string, what: string, on: Hit['on'] = []): Hit {
  return { place: variables.get(name)?.place ?? { file }, what: `${name} ${what}`, on }
}

/** Undefined where it is not set, or set to nothing. */
export function settingOf({ variables }: Environment, name: string): string | undefined {
  const value = variables.get(name)?.value
  return value === undefined || value === '' ? undefined : value
}

export function listOf(environment: Environment, name: string): readonly string[] {
  return (settingOf(environment, name) ?? '')
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
}

/** Of one name in KONG_PLUGINSERVER_NAMES. */
export function pluginServerVariable(name: string, what: 'SOCKET' | 'START_CMD' | 'QUERY_CMD'): string {
  return `KONG_PLUGINSERVER_${name.toUpperCase().replaceAll('-', '_')}_${what}`
}

/** A rule about variables finds nothing where none are known, and is then told of as not judged. */
export function about(
  rule: Omit<Rule, 'find' | 'needs'>,
  find: (environment: Environment, site: Site) => Iterable<Hit>,
): Rule {
  return {
    ...rule,
    needs: 'variables',
    find: (site) => (site.environment === undefined ? [] : find(site.environment, site)),
  }
}
