/** What would end up in logs. */

import type { Plugin } from '../entities.ts'
import type { Environment } from '../environment.ts'
import { isRaw, memberAt, strings, text } from '../place.ts'
import { LOGGERS } from '../priorities.ts'
import type { Rule } from '../rule.ts'
import { nameOf, type View } from '../site.ts'
import { listOf } from './variables.ts'

/** Where Kong's log line shows credentials: headers but Authorization, and the address with its query. */
const SENSITIVE = ['request.headers', 'request.querystring', 'request.uri', 'request.url', 'upstream_uri']

/** Lua that reads what a prompt is in. */
const READS_BODY = /get_(raw_)?body|request_body|get_body_data|get_body_file|body_filter|resp_body|buffered_body/

/** Lua that reads what a key may be in. */
const READS_KEYS =
  /get_headers\b|get_header\(\s*["'](authorization|(x-)?api-?key|x-goog-api-key)|get_(raw_)?query|get_path_with_query|serialize|request_uri|ngx\.var\.(http_(authorization|(x_)?api_?key|x_goog)|args|arg_|request\b)|get_uri_args/i

/** Lua that writes somewhere. */
const WRITES = /ngx\.log|kong\.log|\bprint\s*\(|io\.(open|write|stderr|stdout)|ngx\.socket|resty\.|ngx\.timer/

const BLANK = /^\s*return(\s+nil)?\s*;?\s*$/

/** The pieces of Lua that stand in a configuration, one by one. */
function* functionsIn({ plugins }: View): Iterable<{ readonly plugin: Plugin; readonly lua: string }> {
  for (const name of ['pre-function', 'post-function']) {
    const plugin = plugins.get(name)
    if (plugin !== undefined)
      for (const phase of Object.values(plugin.config)) for (const lua of strings(phase)) yield { plugin, lua }
  }
}

export const keysInLogs: Rule = {
  id: 'keys-in-logs',
  severity: 'error',
  title: 'A logging plugin, or Lua in the configuration, that writes keys',
  why: 'Kong’s log line holds every request header but Authorization, and the address with its query: the provider’s key that was put in, and the `?key=` of Gemini clients.',
  fix: 'Use llm-audit-log; take such Lua out, or tag its plugin `portcullis-ack:keys-in-logs` if it writes no more than it should; or blank the fields with custom_fields_by_lua: request.headers, request.querystring, request.uri, request.url and upstream_uri, each `return nil`.',
  *find({ routes }) {
    for (const { views } of routes)
      for (const view of views) {
        for (const { plugin, lua } of functionsIn(view))
          if (WRITES.test(lua) && READS_KEYS.test(lua))
            yield { place: plugin.place, what: `${plugin.name} reads headers or addresses, and writes`, on: [plugin] }
        for (const name of LOGGERS) {
          const plugin = view.plugins.get(name)
          if (plugin === undefined) continue
          const fields = isRaw(plugin.config.custom_fields_by_lua) ? plugin.config.custom_fields_by_lua : {}
          const left = SENSITIVE.filter((field) => !BLANK.test(text(fields[field]) ?? ''))
          if (left.length > 0)
            yield { place: plugin.place, what: `${name} writes ${left.join(', ')} of ${nameOf(view)}`, on: [plugin] }
        }
      }
  },
}

export const promptsInLogs: Rule = {
  id: 'prompts-in-logs',
  severity: 'error',
  title: 'Prompts or answers are written to a log',
  why: 'Personal data and secrets of prompts end up, unredacted, where many can read them.',
  fix: 'Switch payload logging off, and use llm-audit-log with `content: redacted` or `hash`.',
  *find({ routes }) {
    for (const { views } of routes)
      for (const view of views) {
        const { plugins } = view
        for (const { plugin, lua } of functionsIn(view))
          if (WRITES.test(lua) && READS_BODY.test(lua))
            yield { place: plugin.place, what: `${plugin.name} reads bodies, and writes`, on: [plugin] }
        for (const plugin of plugins.values()) {
          const places = ['logging', 'llm'].map((member) =>
            member === 'llm' ? memberAt(plugin.config, 'llm', 'logging') : memberAt(plugin.config, member),
          )
          if (places.some((logging) => memberAt(logging, 'log_payloads') === true))
            yield { place: plugin.place, what: `${plugin.name} has log_payloads: true`, on: [plugin] }
        }
        for (const name of [...LOGGERS, 'opentelemetry', 'zipkin']) {
          const plugin = plugins.get(name)
          const fields = plugin?.config.custom_fields_by_lua
          if (plugin === undefined || !isRaw(fields)) continue
          if (Object.values(fields).some((lua) => READS_BODY.test(text(lua) ?? '')))
            yield { place: plugin.place, what: `${name} reads bodies in custom_fields_by_lua`, on: [plugin] }
        }
      }
  },
}

/** The second is its older name. */
const TRACING = ['KONG_TRACING_INSTRUMENTATIONS', 'KONG_OPENTELEMETRY_TRACING']

/** Kong begins the span of a request whatever it traces besides; where nothing says, somebody who sends traces does. */
function isTracing(environment: Environment | undefined): boolean {
  if (environment === undefined) return true
  return TRACING.some((name) => listOf(environment, name).some((kind) => kind !== 'off'))
}

export const keysInTraces: Rule = {
  id: 'keys-in-traces',
  severity: 'warning',
  title: 'Traces that hold addresses with their query',
  why: 'Kong’s span of a request has the address as the client sent it, so also the `?key=` of Gemini clients, whether or not it is refused.',
  fix: 'Set KONG_TRACING_INSTRUMENTATIONS=off, or let your collector drop `http.url` and tag the plugin `portcullis-ack:keys-in-traces`.',
  *find({ routes, environment }) {
    if (!isTracing(environment)) return
    for (const { views } of routes)
      for (const view of views) {
        const plugin = view.plugins.get('opentelemetry')
        const sent = ['traces_endpoint', 'endpoint'].some((field) => text(plugin?.config[field]) !== undefined)
        if (plugin !== undefined && sent)
          yield { place: plugin.place, what: `opentelemetry sends the addresses of ${nameOf(view)}`, on: [plugin] }
      }
  },
}
