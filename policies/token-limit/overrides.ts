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

export interface Overrides {
  /** The largest budget of thinking among them; zero when there is none. */
  readonly thinkingBudget: number
}

/**
 * Such settings of the body; undefined when it has none. @param except names that its protocol reads itself
 * @throws {RefusedRead} `invalid_request` when they decide how much is used.
 */
export function readOverrides(body: JsonObject, except: readonly string[]): Overrides | undefined {
  const found = Object.entries(body).filter(
    ([name, value]) => value !== null && redirects(name) && !except.includes(name),
  )
  if (found.length === 0) return undefined
  return { thinkingBudget: Math.max(...found.map(([name, value]) => thinkingIn(value, name, name))) }
}

/** @param place the member at the top of the body @param parent the member that holds the value */
function thinkingIn(value: unknown, place: string, parent: string): number {
  if (Array.isArray(value)) return Math.max(0, ...value.map((item) => thinkingIn(item, place, parent)))
  if (!isObject(value)) return 0
  let largest = 0
  for (const [key, member] of Object.entries(value)) {
    const folded = foldName(key)
    if (folded === 'thinkingbudget' && foldName(parent) === 'thinkingconfig') {
      largest = Math.max(largest, thinkingBudget(value, key))
      continue
    }
    if (DECISIVE.has(folded) || REASONING_BUDGET.test(folded))
      throw invalid(`The field ${fieldName(key)} must stand at the top of the body, not inside ${fieldName(place)}.`)
    largest = Math.max(largest, thinkingIn(member, place, key))
  }
  return largest
}

/** Minus one leaves it to Gemini, as no budget does: the limit of all output holds for its thoughts as well. */
function thinkingBudget(config: JsonObject, key: string): number {
  return config[key] === -1 ? 0 : (readLimit(config, key, 'thinking_config.thinking_budget') ?? 0)
}
