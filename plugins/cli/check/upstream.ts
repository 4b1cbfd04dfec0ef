/** Where a service leads. */

import { addressOf } from './address.ts'
import type { Service } from './entities.ts'

export interface Upstream {
  readonly protocol: string
  /** One, or those of the targets of one of Kong's upstreams. */
  readonly hosts: readonly string[]
}

const PROVIDERS = new RegExp(
  `(^|\\.)(${[
    'openai\\.com',
    '(openai|cognitiveservices|(services|models|inference)\\.ai)\\.azure\\.com',
    'anthropic\\.com',
    'generativelanguage\\.googleapis\\.com',
    // A region stands before it: us-central1-aiplatform.
    '([\\w-]+-)?aiplatform\\.googleapis\\.com',
    'bedrock-runtime(-fips)?\\.[\\w-]+\\.amazonaws\\.com',
    'mistral\\.ai',
    'groq\\.com',
    'openrouter\\.ai',
    'deepseek\\.com',
    'together\\.(xyz|ai)',
    'fireworks\\.ai',
    'cohere\\.(com|ai)',
    'x\\.ai',
    'perplexity\\.ai',
    'cerebras\\.ai',
    '(router|api-inference)\\.huggingface\\.co',
    'models\\.github\\.ai',
    'integrate\\.api\\.nvidia\\.com',
  ].join('|')})\\.?$`,
  'i',
)

export function upstreamOf(service: Service | undefined): Upstream | undefined {
  const address = service === undefined ? undefined : addressOf(service.raw)
  if (address === undefined) return undefined
  return { protocol: address.protocol, hosts: service?.targets ?? [address.host] }
}

/** Whether deck fills in from its environment where a service leads. */
export function isFilledInLater(service: Service | undefined): boolean {
  const told = [service?.raw.url, service?.raw.host, ...(service?.targets ?? [])]
  return told.some((value) => typeof value === 'string' && /\$\{\{/.test(value))
}

/** Undefined where it leads to none that is known. */
export function providerOf(service: Service | undefined): string | undefined {
  return upstreamOf(service)?.hosts.find((host) => PROVIDERS.test(host))
}

/** A name or address that the public Internet does not lead to. */
export function isInside(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, '')
  if (!/[.:]/.test(bare)) return true
  if (/^(127|10)\.|^192\.168\.|^172\.(1[6-9]|2\d|3[01])\.|^169\.254\./.test(bare)) return true
  if (/^(::1|f[cd][\da-f]{2}:.*|fe80:.*)$/i.test(bare)) return true
  return /\.(local|internal|svc|lan|home\.arpa|localhost|cluster\.local)$/i.test(bare)
}
