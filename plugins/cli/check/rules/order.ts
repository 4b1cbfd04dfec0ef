/** Plugins that do not do together what each of them promises. */

import { priorityOf } from '../effective.ts'
import type { Plugin } from '../entities.ts'
import { isRaw, memberAt, strings } from '../place.ts'
import { AUTH_PLUGINS, CACHES, EDITORS, TRANSFORMERS } from '../priorities.ts'
import type { Rule } from '../rule.ts'
import { decidingIn, nameOf, type View } from '../site.ts'

/** Headers that decide nothing: credentials, which every provider needs its own of. */
const HARMLESS = new Set([
  'authorization',
  'x-api-key',
  'api-key',
  'apikey',
  'x-goog-api-key',
  'openai-organization',
  'openai-project',
])

/** What has judged the request before it is changed: its scope or, where nothing does that, its cost. */
function judgeOf({ plugins }: View): 'llm-scope' | 'llm-token-limit' | undefined {
  const runs = (name: string, member: string) =>
    plugins.has(name) || isRaw(memberAt(plugins.get('llm-gateway')?.config, member))
  if (runs('llm-scope', 'scope')) return 'llm-scope'
  return runs('llm-token-limit', 'token_limit') ? 'llm-token-limit' : undefined
}

/** ai-proxy translates for a route that only has limits: the reply it translates back is what they settle by. */
const TRANSLATORS = new Set(['ai-proxy', 'ai-proxy-advanced'])

/** Some change nothing but responses, as they are configured. */
function changesRequests({ name, config }: Plugin): boolean {
  if (name === 'post-function') return Array.isArray(config.access)
  return name !== 'jq' || (config.request_jq_program !== undefined && config.request_jq_program !== null)
}

/** What of a request-transformer changes more than credentials. */
function editsOf({ config }: Plugin): readonly string[] {
  const edits: string[] = []
  if (config.http_method !== undefined && config.http_method !== null) edits.push('http_method')
  for (const action of ['remove', 'rename', 'replace', 'add', 'append']) {
    if (strings([memberAt(config, action, 'uri')]).length > 0) edits.push(`${action}.uri`)
    for (const part of ['body', 'querystring', 'headers']) {
      const entries = strings(memberAt(config, action, part))
      const telling = entries.filter((entry) => !isHarmless(part, entry))
      if (telling.length > 0) edits.push(`${action}.${part}`)
    }
  }
  return edits
}

function isHarmless(part: string, entry: string): boolean {
  const name = (entry.split(':', 1)[0] ?? '').trim().toLowerCase()
  return part === 'headers' ? HARMLESS.has(name) : part === 'querystring' && name === 'key'
}

export const editsAfterScope: Rule = {
  id: 'edits-after-scope',
  severity: 'error',
  title: 'A plugin changes the request after llm-scope or llm-token-limit judged it',
  why: 'What is forwarded is then not what was allowed: another model, operation or prompt can be smuggled in, and more be used than was reserved.',
  fix: 'Take the plugin off the route. If what it changes is fixed and harmless, tag it `portcullis-ack:edits-after-scope`. request-transformer may set credentials without that.',
  *find({ routes }) {
    for (const { views } of routes)
      for (const view of views) {
        const judge = judgeOf(view)
        if (judge === undefined) continue
        for (const name of EDITORS) {
          if (judge !== 'llm-scope' && TRANSLATORS.has(name)) continue
          const plugin = view.plugins.get(name)
          if (plugin !== undefined && changesRequests(plugin))
            yield { place: plugin.place, what: `${name} runs behind ${judge} on ${nameOf(view)}`, on: [plugin] }
        }
        for (const name of TRANSFORMERS) {
          const transformer = view.plugins.get(name)
          const edits = transformer === undefined ? [] : editsOf(transformer)
          if (transformer !== undefined && edits.length > 0)
            yield {
              place: transformer.place,
              what: `${name} changes ${edits.join(', ')} behind ${judge} on ${nameOf(view)}`,
              on: [transformer],
            }
        }
      }
  },
}

/** Methods whose answers do not hang on a body. */
const BODILESS = new Set(['GET', 'HEAD', 'OPTIONS'])

export const cachedAnswers: Rule = {
  id: 'cached-answers',
  severity: 'error',
  title: 'A cache for answers of a model',
  why: 'proxy-cache tells requests apart by consumer, route and address, never by what was asked: callers get the answers to other prompts, those of other callers where Kong knows no consumer, and prompts lie in its memory.',
  fix: 'Take proxy-cache off the route, or leave `request_method` at GET and HEAD.',
  *find({ routes }) {
    for (const { views } of routes)
      for (const view of views)
        for (const name of CACHES) {
          const plugin = view.plugins.get(name)
          const cached = strings(plugin?.config.request_method).filter((method) => !BODILESS.has(method))
          if (plugin !== undefined && cached.length > 0)
            yield {
              place: plugin.place,
              what: `${name} keeps answers to ${cached.join(', ')} on ${nameOf(view)}`,
              on: [plugin],
            }
        }
  },
}

export const edgeMissing: Rule = {
  id: 'edge-missing',
  severity: 'warning',
  title: 'Deciding plugins without llm-edge',
  why: 'Without it streams are not observed, so their reservations are never settled, and every request costs several round trips more.',
  fix: 'Add llm-edge wherever llm-token-limit, llm-scope, llm-api-key, llm-audit-log or llm-gateway run.',
  *find({ routes }) {
    for (const { views } of routes)
      for (const view of views) {
        const [first] = decidingIn(view)
        if (first !== undefined && !view.plugins.has('llm-edge'))
          yield {
            place: view.plugins.get(first)?.place ?? view.route.place,
            what: `${first} runs without llm-edge on ${nameOf(view)}`,
            on: [view.plugins.get(first), view.route],
          }
      }
  },
}

export const keyHeaderMismatch: Rule = {
  id: 'key-header-mismatch',
  severity: 'error',
  title: 'llm-key moves keys to a header that key-auth does not read',
  why: 'Nobody can sign in, or keys pass key-auth unread and travel on.',
  fix: 'Name llm-key’s `key_name` (default apikey) among key-auth’s `key_names`.',
  *find({ routes }) {
    for (const { views } of routes)
      for (const view of views) {
        const mover = view.plugins.get('llm-key')
        const auth = view.plugins.get('key-auth')
        if (mover === undefined || auth === undefined) continue
        const name = String(mover.config.key_name ?? 'apikey').toLowerCase()
        const read = Array.isArray(auth.config.key_names) ? strings(auth.config.key_names) : ['apikey']
        if (!read.some((known) => known.toLowerCase() === name) || auth.config.key_in_header === false)
          yield { place: mover.place, what: `key-auth does not read the header that llm-key writes`, on: [mover, auth] }
      }
  },
}

export const neverApplies: Rule = {
  id: 'never-applies',
  severity: 'warning',
  title: 'A consumer’s plugin that runs before anybody knows the consumer',
  why: 'Kong chooses plugins one after the other: before authentication there is no consumer, so this one never runs.',
  fix: 'Put it on the route or globally.',
  *find({ config, routes }) {
    const used = new Set(
      routes.flatMap(({ views }) => views.flatMap(({ plugins }) => AUTH_PLUGINS.filter((name) => plugins.has(name)))),
    )
    const first = Math.max(...[...used].map(priorityOf))
    if (used.size === 0) return
    for (const plugin of config.plugins)
      if (
        plugin.enabled &&
        plugin.consumer !== undefined &&
        plugin.name !== 'llm-edge' &&
        priorityOf(plugin.name) >= first
      )
        yield { place: plugin.place, what: `${plugin.name} of a consumer never runs`, on: [plugin, plugin.consumer] }
  },
}

export const consumerGroup: Rule = {
  id: 'consumer-group',
  severity: 'warning',
  title: 'A plugin of a consumer group',
  why: 'Kong OSS 3.9 has no consumer groups and refuses the configuration; in Kong Enterprise such a plugin may replace one that this check looked at.',
  fix: 'Use consumer tags as tiers (`match: {tags: [gold]}`) in one llm-token-limit instead.',
  *find({ config }) {
    for (const plugin of config.plugins)
      if (plugin.enabled && plugin.group !== undefined)
        yield { place: plugin.place, what: `${plugin.name} belongs to a consumer group`, on: [plugin] }
  },
}
