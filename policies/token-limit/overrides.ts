/**
 * Settings that a router behind the gateway (LiteLLM, Portkey) puts over those of the body. What was judged must be what
 * counts, so they may not hold what decides how much a request uses. One may: Gemini's compatible API takes its budget of
 * thinking nowhere else, so that one counts.
 * @see https://ai.google.dev/gemini-api/docs/openai#thinking
 */

import { readLimit } from '../llm/body-fields.ts'
import { fieldName, invalid, isObject, type JsonObject } from '../llm/json.ts'
import { LIMIT_FIELDS } from '../llm/protocols/openai.ts'
import { foldName, redirects } from '../scope/redirects.ts'

const DECISIVE: ReadonlySet<string> = new Set(
  [...LIMIT_FIELDS, 'n', 'best_of', 'stream', 'stream_options', 'background', 'candidate_count'].map(foldName),
)
/** Every name of a budget of reasoning: `thinking_token_budget`, `reasoning_budget`, `max_thinking_tokens`. */
const REASONING_BUDGET = /^(?:(?:max)?(?:thinking|reasoning)(?:token)?(?:budget|tokens|budgettokens)|budgettokens)$/

/** What brings in input that is not in the body: tools and searches that run elsewhere, and what was kept there. */
const UNSEEN: ReadonlySet<string> = new Set(
  [
    'tools',
    'plugins',
    'data_sources',
    'web_search_options',
    'search_parameters',
    'cached_content',
    'previous_response_id',
    'conversation',
    'prompt',
  ].map(foldName),
)

export interface Overrides {
  /** The largest budget of thinking among them; zero when there is none. */
  readonly thinkingBudget: number
  /** They bring in input that is not in the body. */
  readonly unseen: boolean
}

/**
 * Such settings of the body; undefined when it has none. @param except names that its protocol reads itself
 * @throws {RefusedRead} `invalid_request` when they decide how much is used.
 */
export function readOverrides(body: JsonObject, except: readonly string[]): Overrides | undefined {
  const settings = Object.entries(body).filter(
    ([name, value]) => value !== null && redirects(name) && !except.includes(name),
  )
  if (settings.length === 0) return undefined
  const found = { thinkingBudget: 0, unseen: false }
  for (const [name, value] of settings) collect(value, name, name, found)
  return found
}

/** @param place the member at the top of the body @param parent the member that holds the value */
function collect(
  value: unknown,
  place: string,
  parent: string,
  into: { -readonly [K in keyof Overrides]: Overrides[K] },
) {
  if (Array.isArray(value)) for (const item of value) collect(item, place, parent, into)
  if (!isObject(value)) return
  for (const [key, member] of Object.entries(value)) {
    const folded = foldName(key)
    if (folded === 'thinkingbudget' && foldName(parent) === 'thinkingconfig') {
      into.thinkingBudget = Math.max(into.thinkingBudget, thinkingBudget(value, key))
      continue
    }
    if (DECISIVE.has(folded) || REASONING_BUDGET.test(folded))
      throw invalid(`The field ${fieldName(key)} must stand at the top of the body, not inside ${fieldName(place)}.`)
    if (UNSEEN.has(folded) && !isEmpty(member)) into.unseen = true
    collect(member, place, key, into)
  }
}

function isEmpty(value: unknown): boolean {
  return value === null || (Array.isArray(value) && value.length === 0)
}

/** Minus one leaves it to Gemini, as no budget does: the limit of all output holds for its thoughts as well. */
function thinkingBudget(config: JsonObject, key: string): number {
  return config[key] === -1 ? 0 : (readLimit(config, key, 'thinking_config.thinking_budget') ?? 0)
}
