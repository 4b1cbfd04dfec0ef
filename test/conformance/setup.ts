/** One config for almost all scenarios: each has consumers of its own, and their tags pick the rule. */

import type { ConsumerSetup } from './gateway.ts'

export const ROOMY = 100_000
export const TIGHT = 1_000
/** Window of the rule that recovers while a test waits. */
export const QUICK = { limit: 200, windowSeconds: 2 }
export const COUNTED = 3

/** Long, so that nothing recovers while the scenarios run. */
export const WINDOW_SECONDS = 3_600

const HOUR = { name: 'tokens', window_seconds: WINDOW_SECONDS }

export const STANDARD: Readonly<Record<string, unknown>> = {
  max_body_bytes: 65_536,
  unmetered: ['/v1/moderations'],
  limits: [
    { ...HOUR, limit: TIGHT, match: { tags: ['tight'] } },
    { ...HOUR, limit: TIGHT, match: { tags: ['clamp'] }, on_short_budget: 'clamp' },
    { ...HOUR, limit: 10, match: { tags: ['shadow'] }, mode: 'shadow' },
    { name: 'tokens', window_seconds: QUICK.windowSeconds, limit: QUICK.limit, match: { tags: ['quick'] } },
    { ...HOUR, limit: ROOMY },
    { name: 'calls', window_seconds: WINDOW_SECONDS, limit: COUNTED, count: 'requests', match: { tags: ['counted'] } },
  ],
}

export const CUTTING: Readonly<Record<string, unknown>> = {
  enforce_stream: true,
  limits: [{ ...HOUR, limit: ROOMY }],
}

/** `<tag>-<what for>`: a consumer that no other scenario touches. */
const NAMES = [
  'roomy-calls',
  'roomy-streams',
  'roomy-frames',
  'roomy-open',
  'roomy-usage-choice',
  'roomy-failures',
  'roomy-unreachable',
  'roomy-broken',
  'roomy-waiting',
  'roomy-odd',
  'roomy-lies',
  'roomy-sdk-openai',
  'roomy-sdk-anthropic',
  'roomy-sdk-google',
  'roomy-bad',
  'roomy-unmetered',
  'roomy-key',
  'roomy-other',
  'roomy-cut',
  'tight-burst',
  'tight-full',
  'tight-stream-burst',
  'clamp-budget',
  'shadow-over',
  'quick-recovery',
  'quick-sdk-openai',
  'quick-sdk-anthropic',
  'counted-calls',
] as const

export const CONSUMERS: readonly ConsumerSetup[] = NAMES.map((name) => ({
  name,
  tags: [name.slice(0, name.indexOf('-'))],
}))
