/** Whether the door stays shut when a plugin server fails. */

import { strings } from '../place.ts'
import type { Rule } from '../rule.ts'
import { decidingIn, nameOf, type Site, type View } from '../site.ts'

const WHY =
  'Kong lets a request through when an external plugin throws, dies or is gone; only llm-guard answers 503 then.'

function* guarded({ routes }: Site): Iterable<View> {
  for (const { views } of routes) for (const view of views) if (decidingIn(view).length > 0) yield view
}

export const guardMissing: Rule = {
  id: 'guard-missing',
  severity: 'error',
  title: 'No llm-guard behind the plugins that decide',
  why: WHY,
  fix: 'Add llm-guard, with every plugin of the pack that decides in `require`, and switch it off nowhere.',
  *find(site) {
    for (const view of guarded(site))
      if (!view.plugins.has('llm-guard')) {
        const [first] = decidingIn(view)
        const plugin = view.plugins.get(first ?? '')
        const off = site.config.plugins.find(
          ({ name, route, service }) =>
            name === 'llm-guard' && (route === view.route || (service !== undefined && service === view.route.service)),
        )
        yield {
          place: (off ?? plugin)?.place ?? view.route.place,
          what:
            off === undefined ? `${nameOf(view)} has no llm-guard` : `${nameOf(view)} has its llm-guard switched off`,
          on: [off, view.route, view.route.service],
        }
      }
  },
}

export const guardIncomplete: Rule = {
  id: 'guard-incomplete',
  severity: 'error',
  title: 'The llm-guard that applies does not require every plugin that decides',
  why: `${WHY} The most specific instance replaces the wider one, so a guard on a route or consumer that requires less opens the door there.`,
  fix: 'List every deciding plugin of that route in the guard’s `require`, or remove the more specific guard.',
  *find(site) {
    for (const view of guarded(site)) {
      const guard = view.plugins.get('llm-guard')
      if (guard === undefined) continue
      const required = strings(guard.config.require)
      const left = decidingIn(view).filter((name) => !required.includes(name))
      if (left.length > 0)
        yield {
          place: guard.place,
          what: `llm-guard on ${nameOf(view)} ${required.length === 0 ? 'requires nothing' : `does not require ${left.join(', ')}`}`,
          on: [guard, view.route],
        }
    }
  },
}

export const guardUnmeetable: Rule = {
  id: 'guard-unmeetable',
  severity: 'error',
  title: 'llm-guard requires a plugin that does not run',
  why: 'Every such request is answered with 503.',
  fix: 'Configure the required plugin for this route or consumer as well, or require it only where it runs.',
  *find({ routes }) {
    for (const { views } of routes)
      for (const view of views) {
        const guard = view.plugins.get('llm-guard')
        const missing = strings(guard?.config.require).filter((name) => !view.plugins.has(name))
        if (guard !== undefined && missing.length > 0)
          yield {
            place: guard.place,
            what: `llm-guard requires ${missing.join(', ')} on ${nameOf(view)}, where it does not run`,
            on: [guard, view.route],
          }
      }
  },
}
