/** A `gateway.config.yml` as the quick start shows it. */

export interface LlmConfigOptions {
  readonly upstreamUrl: string
  readonly upstreamKey?: string
  readonly tokenLimit: Readonly<Record<string, unknown>>
  /** Replaces the pipeline's policies. */
  readonly policies?: readonly object[]
  readonly proxy?: Readonly<Record<string, unknown>>
}

export function llmConfig(options: LlmConfigOptions): Readonly<Record<string, unknown>> {
  const { upstreamUrl, upstreamKey, tokenLimit, proxy } = options
  const headers = upstreamKey === undefined ? {} : { headers: { authorization: `Bearer ${upstreamKey}` } }
  const policies = options.policies ?? [
    { 'llm-key': null },
    { 'key-auth': null },
    { 'llm-token-limit': { action: tokenLimit } },
    { proxy: { action: { serviceEndpoint: 'model', ...headers, ...proxy } } },
  ]
  return {
    apiEndpoints: { llm: { host: '*', paths: '/*' } },
    serviceEndpoints: { model: { url: upstreamUrl } },
    policies: [...new Set(policies.flatMap(Object.keys))],
    pipelines: { llm: { apiEndpoints: ['llm'], policies } },
  }
}
