/**
 * The path that the upstream will see: what Express Gateway's proxy policy and http-proxy 1.18 do to a URL
 * (express-gateway `lib/policies/proxy/proxy.js`, http-proxy `lib/http-proxy/common.js`). The adapter compares it with
 * the request that is really sent, so a mistake here shuts the door rather than opening it.
 */

import type { EgRequest, GatewayConfig } from './eg.ts'
import { asList, asRecord, type PipelineConfig } from './pipelines.ts'

/** What one proxy step does to paths. */
export interface ProxyMapping {
  readonly serviceEndpoint: string
  readonly stripPath: boolean
  readonly ignorePath: boolean
  readonly prependPath: boolean
  /** Path, and query if there is one, of the service endpoint's URL. */
  readonly targetPath: string
}

/** Every mapping the pipeline may use: one per proxy step and target URL. */
export function proxyMappings(pipeline: PipelineConfig, config: GatewayConfig): readonly ProxyMapping[] {
  const endpoints = asRecord(config.serviceEndpoints)
  return pipeline.policies
    .filter((policy) => policy.name === 'proxy')
    .flatMap((policy) => policy.steps)
    .flatMap(({ action }) => {
      const endpoint = asRecord(endpoints[String(action.serviceEndpoint)])
      const options = { ...action, ...asRecord(endpoint.proxyOptions), ...asRecord(action.proxyOptions) }
      return asList(endpoint.url ?? endpoint.urls).map((url) => ({
        serviceEndpoint: String(action.serviceEndpoint),
        stripPath: options.stripPath === true,
        ignorePath: options.ignorePath === true,
        prependPath: options.prependPath !== false,
        targetPath: pathOf(String(url)),
      }))
    })
}

/** Options of every proxy step, wherever they are written. */
export function proxyOptions(
  pipeline: PipelineConfig,
  config: GatewayConfig,
): readonly Readonly<Record<string, unknown>>[] {
  const endpoints = asRecord(config.serviceEndpoints)
  return pipeline.policies
    .filter((policy) => policy.name === 'proxy')
    .flatMap((policy) => policy.steps)
    .map(({ action }) => ({
      ...action,
      ...asRecord(asRecord(endpoints[String(action.serviceEndpoint)]).proxyOptions),
      ...asRecord(action.proxyOptions),
    }))
}

export function sameMapping(a: ProxyMapping, b: ProxyMapping): boolean {
  return (
    a.stripPath === b.stripPath &&
    a.ignorePath === b.ignorePath &&
    a.prependPath === b.prependPath &&
    a.targetPath === b.targetPath
  )
}

/** Undefined when Express Gateway itself could not tell (`stripPath` under a `pathRegex`), or for a URL that no client writes (absolute, or with a fragment). */
export function upstreamPath(request: EgRequest, mapping: ProxyMapping): string | undefined {
  const url = mapping.stripPath ? stripped(request) : request.url
  if (url === undefined || !url.startsWith('/') || url.includes('#')) return undefined
  const outgoing = mapping.ignorePath ? '' : escapeAsParsed(url)
  return withoutQuery(join(mapping.prependPath ? mapping.targetPath : '', outgoing))
}

function stripped(request: EgRequest): string | undefined {
  const path = request.route?.path
  if (typeof path !== 'string') return undefined
  const wildcard = path.search(/[:*]/)
  if (wildcard === 0) return request.url
  return wildcard === -1 ? '/' : `/${request.originalUrl.substring(wildcard)}`
}

/** http-proxy's `urlJoin`: repeated slashes of the whole path become one. */
function join(target: string, outgoing: string): string {
  const [path = '', ...query] = outgoing.split('?')
  const joined = [target, path]
    .filter((part) => part !== '')
    .join('/')
    .replace(/\/+/g, '/')
    .replace('http:/', 'http://')
    .replace('https:/', 'https://')
  return [joined, ...query].join('?')
}

/** What `url.parse` escapes, unless it takes its short cut for plain paths. A backslash is refused wherever a path is judged. */
const ESCAPED = /[{}|^`<>"']/g

function escapeAsParsed(url: string): string {
  if (!url.includes('@')) return url
  return url.replace(ESCAPED, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
}

export function withoutQuery(url: string): string {
  return url.split('?', 1)[0] ?? ''
}

/** A request through a forward proxy names its target whole. */
export function withoutOrigin(target: string): string {
  return target.replace(/^https?:\/\/[^/]*/, '')
}

function pathOf(url: string): string {
  const parsed = new URL(url)
  return parsed.pathname + parsed.search
}
