/** Express Gateway's config for the canary suite: keys, tokens, and every policy in one; sinks that work and that fail. */

import { join } from 'node:path'
import type { IssuerKey } from '../../support/jwks/issuer.ts'
import type { Canaries } from './canaries.ts'

export interface GatewayConfigOptions {
  readonly content: 'none' | 'redacted' | 'hash'
  readonly folder: string
  /** Of the tokens. */
  readonly key: IssuerKey
  readonly upstream: string
  readonly collector: string
}

export function gatewayConfig(
  plant: Canaries['plant'],
  options: GatewayConfigOptions,
): Readonly<Record<string, unknown>> {
  const { content, folder, key, upstream, collector } = options
  const audit = {
    content,
    max_body_bytes: 4_096,
    hash_key: plant('hash key'),
    redaction: { tag_key: plant('tag key') },
    chain: { key: plant('chain key') },
    sinks: [
      { type: 'file', path: join(folder, 'audit.ndjson'), flush_ms: 0, max_bytes: 8_192 },
      {
        type: 'http',
        url: `${collector}/logs?token=${plant('collector url')}`,
        headers: { authorization: `Bearer ${plant('collector header')}` },
        flush_ms: 0,
      },
      { type: 'http', url: `http://127.0.0.1:1/${plant('dead collector url')}`, format: 'otlp', flush_ms: 0 },
      { type: 'file', path: join(folder, 'no/such/folder/audit.ndjson'), flush_ms: 0 },
      { type: 'stdout', flush_ms: 0 },
    ],
  }
  const limits = [{ name: 'tokens', limit: 20_000, window_seconds: 3_600 }]
  const redis = { url: `redis://user:${plant('redis password')}@127.0.0.1:1` }
  const jwt = {
    issuers: [{ issuer: 'https://idp.test', jwks: JSON.stringify({ keys: [key.jwk] }), audiences: ['llm-gateway'] }],
  }
  const proxy = {
    proxy: { action: { serviceEndpoint: 'model', headers: { authorization: `Bearer ${plant('upstream key')}` } } },
  }
  return {
    apiEndpoints: {
      keyed: { host: 'keyed.test', paths: '/*' },
      tokens: { host: 'tokens.test', paths: '/*' },
      whole: { host: 'whole.test', paths: '/*' },
    },
    serviceEndpoints: { model: { url: upstream } },
    policies: [
      'llm-key',
      'key-auth',
      'llm-audit-log',
      'llm-scope',
      'llm-token-limit',
      'llm-gateway',
      'llm-faulty',
      'llm-leaky',
      'proxy',
    ],
    pipelines: {
      keyed: {
        apiEndpoints: ['keyed'],
        policies: [
          { 'llm-key': null },
          { 'key-auth': null },
          { 'llm-audit-log': { action: audit } },
          { 'llm-token-limit': { action: { limits, store: 'redis', redis, nodes: 1, max_body_bytes: 2_048 } } },
          { 'llm-faulty': null },
          { 'llm-leaky': null },
          proxy,
        ],
      },
      tokens: {
        apiEndpoints: ['tokens'],
        policies: [
          { 'llm-audit-log': { action: audit } },
          { 'llm-scope': { action: { sources: ['jwt'], jwt } } },
          proxy,
        ],
      },
      whole: {
        apiEndpoints: ['whole'],
        policies: [
          {
            'llm-gateway': {
              action: {
                audit,
                scope: { sources: ['jwt'], jwt },
                token_limit: { limits, store: 'redis', redis, nodes: 1, max_body_bytes: 2_048 },
              },
            },
          },
          proxy,
        ],
      },
    },
  }
}
