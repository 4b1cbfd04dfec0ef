/** Where a service leads. */

import type { Service } from './entities.ts'
import { text } from './place.ts'

export interface Upstream {
  readonly protocol: string
  readonly host: string
}

const PROVIDERS =
  /(^|\.)(openai\.com|openai\.azure\.com|anthropic\.com|generativelanguage\.googleapis\.com|aiplatform\.googleapis\.com|mistral\.ai|groq\.com|openrouter\.ai|deepseek\.com|together\.xyz|fireworks\.ai|cohere\.(com|ai)|x\.ai|perplexity\.ai|services\.ai\.azure\.com)$/i

export function upstreamOf(service: Service | undefined): Upstream | undefined {
  if (service === undefined) return undefined
  const url = text(service.raw.url)
  if (url !== undefined && URL.canParse(url)) {
    const { protocol, hostname } = new URL(url)
    return { protocol: protocol.slice(0, -1), host: hostname }
  }
  const host = text(service.raw.host)
  return host === undefined ? undefined : { protocol: text(service.raw.protocol) ?? 'http', host }
}

export function isProviderHost(host: string | undefined): boolean {
  return host !== undefined && PROVIDERS.test(host)
}

/** A name or address that the public Internet does not lead to. */
export function isInside(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, '')
  if (!/[.:]/.test(bare)) return true
  if (/^(127|10)\.|^192\.168\.|^172\.(1[6-9]|2\d|3[01])\.|^169\.254\./.test(bare)) return true
  if (/^(::1|f[cd][\da-f]{2}:.*|fe80:.*)$/i.test(bare)) return true
  return /\.(local|internal|svc|lan|home\.arpa|localhost|cluster\.local)$/i.test(bare)
}
