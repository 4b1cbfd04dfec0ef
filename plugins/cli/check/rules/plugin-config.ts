/** The pack's own plugins, as they are configured. */

import { isRaw, memberAt, rawList, text } from '../place.ts'
import { PACK } from '../priorities.ts'
import type { Rule } from '../rule.ts'
import { nameOf } from '../site.ts'

export const configRefused: Rule = {
  id: 'config-refused',
  severity: 'error',
  title: 'A config that the plugin itself refuses',
  why: 'A plugin with a config that it refuses answers every request with 503.',
  fix: 'Correct the fields that are named; README lists what each takes.',
  *find({ config, judge }) {
    for (const plugin of config.plugins) {
      if (!plugin.enabled) continue
      for (const { path, message } of judge(plugin.name, plugin.config) ?? [])
        yield { place: plugin.place, what: `${plugin.name}: ${path} ${message}`, on: [plugin] }
    }
  },
}

/** The config of the token limits in a view: of the single plugin, or nested in the one that runs every policy. */
function limitsOf(plugin: { readonly name: string; readonly config: object } | undefined): unknown {
  if (plugin === undefined) return undefined
  return plugin.name === 'llm-gateway' ? memberAt(plugin.config, 'token_limit') : plugin.config
}

/** The single plugin that each member of llm-gateway stands for. */
const MEMBERS = {
  audit: 'llm-audit-log',
  api_key: 'llm-api-key',
  scope: 'llm-scope',
  token_limit: 'llm-token-limit',
} as const

export const policiesTwice: Rule = {
  id: 'policies-twice',
  severity: 'error',
  title: 'A policy runs twice on one route',
  why: 'What llm-gateway and the single plugin both count or record is counted and recorded twice.',
  fix: 'Leave the member out of llm-gateway, or take the single plugin off the route.',
  *find({ routes }) {
    for (const { views } of routes)
      for (const view of views) {
        const gateway = view.plugins.get('llm-gateway')
        for (const [member, name] of Object.entries(MEMBERS)) {
          const single = view.plugins.get(name)
          if (single !== undefined && memberAt(gateway?.config, member) !== undefined)
            yield {
              place: single.place,
              what: `${name} runs on ${nameOf(view)}, and so does \`${member}\` of llm-gateway`,
              on: [single, gateway],
            }
        }
      }
  },
}

export const unlimitedCallers: Rule = {
  id: 'unlimited-callers',
  severity: 'warning',
  title: 'Token limits that do not match every caller',
  why: 'A caller that no rule of a limit matches is not limited by it.',
  fix: 'End the rules of each name with one that has no `match`.',
  *find({ config }) {
    for (const plugin of config.plugins) {
      if (!plugin.enabled || !['llm-token-limit', 'llm-gateway'].includes(plugin.name)) continue
      const rules = rawList(memberAt(limitsOf(plugin), 'limits'))
      const open = rules.filter((rule) => rule.match === undefined || rule.match === null).map(({ name }) => name)
      const names = new Set(rules.map(({ name }) => text(name) ?? '').filter((name) => !open.includes(name)))
      for (const name of names)
        yield {
          place: plugin.place,
          what: `limit "${name}" of ${plugin.name} does not match every caller`,
          on: [plugin],
        }
    }
  },
}

export const inShadow: Rule = {
  id: 'in-shadow',
  severity: 'note',
  title: 'A policy in shadow mode',
  why: 'It decides and counts, and refuses nothing.',
  fix: 'Look at `portcullis shadow report`, then set `mode: enforce`.',
  *find({ config }) {
    for (const plugin of config.plugins) {
      if (!plugin.enabled || !(PACK as readonly string[]).includes(plugin.name)) continue
      const nested = Object.entries(plugin.config).filter(([, value]) => memberAt(value, 'mode') === 'shadow')
      const rules = rawList(memberAt(limitsOf(plugin), 'limits')).filter(({ mode }) => mode === 'shadow')
      const where = [
        ...(plugin.config.mode === 'shadow' ? ['mode'] : []),
        ...nested.map(([name]) => `${name}.mode`),
        ...rules.map(({ name }) => `limit "${text(name) ?? ''}"`),
      ]
      if (where.length > 0)
        yield { place: plugin.place, what: `${plugin.name} is in shadow: ${where.join(', ')}`, on: [plugin] }
    }
  },
}

export const localCounters: Rule = {
  id: 'local-counters',
  severity: 'note',
  title: 'Limits or revocations in the memory of one process',
  why: 'They are forgotten on a restart, and every node counts for itself.',
  fix: 'Set `store: redis`.',
  *find({ config }) {
    for (const plugin of config.plugins) {
      if (!plugin.enabled || !['llm-token-limit', 'llm-gateway'].includes(plugin.name)) continue
      const limits = limitsOf(plugin)
      // A member of llm-gateway is in Redis as soon as there is one at the top.
      const unset = plugin.name === 'llm-gateway' && isRaw(plugin.config.redis) ? 'redis' : 'memory'
      if (limits !== undefined && (memberAt(limits, 'store') ?? unset) === 'memory')
        yield { place: plugin.place, what: `${plugin.name} counts in memory`, on: [plugin] }
    }
  },
}

export const bodyCaps: Rule = {
  id: 'body-caps',
  severity: 'warning',
  title: 'llm-edge lets larger bodies in than a policy reads, or the other way round',
  why: 'The smaller cap wins, with 413, whatever the other says.',
  fix: 'Set the same `max_body_bytes` everywhere.',
  *find({ routes }) {
    for (const { views } of routes)
      for (const view of views) {
        const edge = view.plugins.get('llm-edge')
        const limit = view.plugins.get('llm-token-limit') ?? view.plugins.get('llm-gateway')
        const limits = limitsOf(limit)
        if (edge === undefined || limit === undefined || limits === undefined) continue
        const [seen, read] = [edge.config, limits].map((config) => memberAt(config, 'max_body_bytes') ?? 1_048_576)
        if (seen !== read)
          yield {
            place: edge.place,
            what: `llm-edge takes ${String(seen)} bytes and ${limit.name} ${String(read)} on ${nameOf(view)}`,
            on: [edge, limit],
          }
      }
  },
}
