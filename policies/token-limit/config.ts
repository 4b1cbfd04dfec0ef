/** The config of `llm-token-limit`: the one declaration, and the combinations that make no sense. */

import { boolean, choice, integer, list, record, string } from '../schema/declare.ts'
import { type Config, type ConfigIssue, defineFields } from '../schema/fields.ts'
import { checkRedis } from '../stores/redis/config.ts'
import { operationFields } from './operation-fields.ts'
import { parsePart } from './parts.ts'
import { storeFields } from './redis-fields.ts'
import { ruleFields } from './rule-fields.ts'

export const fields = defineFields({
  limits: {
    type: list(record(ruleFields), { minItems: 1, maxItems: 64 }),
    description:
      'The limit rules. Of those with one name the first that matches applies; different names all apply together.',
    required: true,
  },
  mode: {
    type: choice('enforce', 'shadow'),
    description: '`shadow`: every rule decides, counts and audits, but nothing is refused and no reply header added.',
    default: 'enforce',
  },
  enforce_stream: {
    type: boolean(),
    description: 'End a stream that runs past what was reserved for it, with the proper final event of its API.',
    default: false,
  },
  max_body_bytes: {
    type: integer({ min: 1024, max: 67_108_864 }),
    description: 'Largest request body in bytes; a larger one is refused with 413.',
    default: 1_048_576,
  },
  default_output_tokens: {
    type: integer({ min: 1, max: 1_000_000 }),
    description:
      'Output tokens expected of each candidate of a request without a declared budget, until five calls of that caller and model have settled.',
    default: 1024,
  },
  unseen_input_tokens: {
    type: integer({ min: 0, max: 100_000_000 }),
    description:
      'Least input tokens assumed for input outside the body, such as a stored conversation; the last settled input of that caller and model when that is more.',
    default: 4096,
  },
  image_tokens: {
    type: integer({ min: 0, max: 10_000_000 }),
    description: 'Input tokens that one image is estimated at; settling corrects it.',
    default: 1600,
  },
  audio_tokens: {
    type: integer({ min: 0, max: 10_000_000 }),
    description: 'Input tokens that one piece of audio is estimated at; settling corrects it.',
    default: 2000,
  },
  file_tokens: {
    type: integer({ min: 0, max: 10_000_000 }),
    description: 'Input tokens that one file is estimated at; settling corrects it.',
    default: 10_000,
  },
  tokenizer: {
    type: choice('estimate', 'gpt-tokenizer'),
    description:
      'How input text is counted before it is sent: by characters and script, corrected by what was settled, or exactly with the optional package `gpt-tokenizer`.',
    default: 'estimate',
  },
  unmetered: {
    type: list(string({ maxLength: 1024, pattern: { js: '^/', lua: '^/' } })),
    description:
      'Path globs of operations that cannot be metered and are let through all the same; they count for `requests` rules only.',
    default: [],
  },
  operations: {
    type: list(record(operationFields), { maxItems: 256 }),
    description: 'Further operations that can be metered, where an API hangs at a path that the pack does not know.',
    default: [],
  },
  ...storeFields,
})

export type TokenLimitConfig = Config<typeof fields>
export type RuleConfig = TokenLimitConfig['limits'][number]

/** What the field kinds cannot say. */
export function check(config: TokenLimitConfig): readonly ConfigIssue[] {
  const issues: ConfigIssue[] = []
  for (const [index, rule] of config.limits.entries()) {
    const path = `limits[${index}]`
    checkLimit(rule, path, issues)
    checkBudget(rule, path, issues)
    checkParts(rule, path, issues)
    checkClaims(rule, path, issues)
  }
  checkStore(config, issues)
  return issues
}

function checkLimit(rule: RuleConfig, path: string, issues: ConfigIssue[]): void {
  if (rule.limit === undefined && rule.limit_from === undefined)
    issues.push({ path: `${path}.limit`, message: 'is required, unless `limit_from` is set' })
  if (rule.limit !== undefined && rule.limit_from !== undefined)
    issues.push({ path: `${path}.limit_from`, message: 'cannot be set together with `limit`' })
  if (rule.limit_from !== undefined && parsePart(rule.limit_from)?.kind !== 'claim')
    issues.push({ path: `${path}.limit_from`, message: 'must be `claim:<path>`' })
  if (rule.burst !== undefined && rule.algorithm !== 'token_bucket')
    issues.push({ path: `${path}.burst`, message: 'is for `algorithm: token_bucket` only' })
}

function checkBudget(rule: RuleConfig, path: string, issues: ConfigIssue[]): void {
  const countsOutput = rule.count === 'total_tokens' || rule.count === 'output_tokens'
  if (!countsOutput && rule.reserve !== 'declared')
    issues.push({ path: `${path}.reserve`, message: `means nothing with \`count: ${rule.count}\`` })
  if (!countsOutput && rule.on_short_budget !== 'refuse')
    issues.push({ path: `${path}.on_short_budget`, message: `means nothing with \`count: ${rule.count}\`` })
  if (rule.clamp_floor !== undefined && rule.on_short_budget !== 'clamp')
    issues.push({ path: `${path}.clamp_floor`, message: 'is for `on_short_budget: clamp` only' })
  const most = rule.burst ?? rule.limit
  if (rule.clamp_floor !== undefined && most !== undefined && rule.clamp_floor > most)
    issues.push({ path: `${path}.clamp_floor`, message: 'is more than the rule ever allows' })
  if (rule.cached_input_weight !== 1 && (rule.count === 'output_tokens' || rule.count === 'requests'))
    issues.push({ path: `${path}.cached_input_weight`, message: `means nothing with \`count: ${rule.count}\`` })
}

function checkParts(rule: RuleConfig, path: string, issues: ConfigIssue[]): void {
  const seen = new Set<string>()
  let caller = false
  let minting: number | undefined
  for (const [index, text] of rule.per.entries()) {
    const part = parsePart(text)
    if (part === undefined) {
      issues.push({ path: `${path}.per[${index}]`, message: 'is not a known part' })
      continue
    }
    const name = part.kind === 'header' ? `header:${part.name}` : text
    if (seen.has(name)) issues.push({ path: `${path}.per[${index}]`, message: 'is there twice' })
    seen.add(name)
    if (part.caller) caller = true
    else if (part.kind === 'model' || part.kind === 'header') minting ??= index
    if (part.kind === 'global' && rule.per.length > 1)
      issues.push({ path: `${path}.per[${index}]`, message: 'stands alone: one counter for everybody' })
  }
  if (minting !== undefined && !caller)
    issues.push({
      path: `${path}.per[${minting}]`,
      message: 'needs a caller part beside it, or any caller could mint counters',
    })
}

function checkClaims(rule: RuleConfig, path: string, issues: ConfigIssue[]): void {
  for (const claim of Object.keys(rule.match?.claims ?? {})) {
    if (parsePart(`claim:${claim}`) === undefined)
      issues.push({ path: `${path}.match.claims`, message: 'has a path that is empty or holds spaces or `=`' })
  }
}

function checkStore(config: TokenLimitConfig, issues: ConfigIssue[]): void {
  const { redis } = config
  if (config.store === 'redis' && redis === undefined)
    issues.push({ path: 'redis', message: 'is required with `store: redis`' })
  if (redis === undefined) return
  if (config.store !== 'redis') issues.push({ path: 'redis', message: 'is for `store: redis` only' })
  issues.push(...checkRedis(redis, 'redis'))
}
