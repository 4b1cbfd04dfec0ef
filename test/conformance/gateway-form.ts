/** The configs of all four policies, in both forms in which they may stand: whatever judges must come out the same. */

import { WINDOW_SECONDS } from './setup.ts'

/** The members of `llm-gateway`, which are the configs of the single plugins. */
export interface Policies {
  readonly audit: object
  readonly api_key: object
  readonly scope: object
  readonly token_limit: object
}

export interface NamedConfig {
  readonly name: string
  readonly config: object
}

/** A form of the pack: which plugins an operator configures. */
export type Form = (policies: Policies) => readonly NamedConfig[]

/** One plugin for everything. */
export const inOne: Form = (policies) => [{ name: 'llm-gateway', config: policies }]

/** A plugin for each policy. */
export const asSingles: Form = ({ audit, api_key, scope, token_limit }) => [
  { name: 'llm-audit-log', config: audit },
  { name: 'llm-api-key', config: api_key },
  { name: 'llm-scope', config: scope },
  { name: 'llm-token-limit', config: token_limit },
]

/** Every policy that the scenarios of limits do not ask about lets them pass, but judges them all the same. */
export function withTokenLimit(tokenLimit: object): Policies {
  return { ...AROUND, scope: WIDE_SCOPE, token_limit: tokenLimit }
}

/** The same for the scenarios of scopes. */
export function withScope(scope: object): Policies {
  return { ...AROUND, scope, token_limit: WIDE_LIMIT }
}

const AROUND = {
  audit: { sinks: [{ type: 'stdout' }], content: 'redacted', redaction: {}, only_on: ['would_reject'] },
  api_key: { rotation: { on_unknown_age: 'allow' } },
} as const

/** By model, so that the body is read and judged; and for what only a token limit may refuse. */
const GRANTS = [
  ...['gpt-*', 'claude-*', 'gemini-*', 'text-embedding-*', 'm'].map((models) => `llm:*:${models}`),
  'llm:batches',
  'llm:files',
  'llm:fine_tuning',
  'llm:models:read',
  'llm:moderations',
]

const WIDE_SCOPE = {
  aliases: Object.fromEntries(['roomy', 'tight', 'clamp', 'shadow', 'quick', 'counted'].map((tag) => [tag, GRANTS])),
  operations: [
    { path: '/v1/nothing/like/that', operation: 'files' },
    { method: 'PUT', path: '/v1/chat/completions', operation: 'files' },
  ],
}

const WIDE_LIMIT = {
  limits: [{ name: 'tokens', limit: 1_000_000_000, window_seconds: WINDOW_SECONDS }],
  unmetered: ['/**'],
}
