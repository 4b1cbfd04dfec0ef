/**
 * Settings that a router behind the gateway (LiteLLM, Portkey) puts over those of the body. What was judged must be what
 * counts, so they may not hold what decides how much a request uses.
 */

import { fieldName, invalid, isObject, type JsonObject } from '../llm/json.ts'
import { LIMIT_FIELDS } from '../llm/protocols/openai.ts'
import { foldName, redirects } from '../scope/redirects.ts'

const DECISIVE: ReadonlySet<string> = new Set(
  [...LIMIT_FIELDS, 'n', 'best_of', 'stream', 'stream_options', 'background', 'candidate_count'].map(foldName),
)

/**
 * Whether the body has such settings. @param except names that its protocol reads itself
 * @throws {RefusedRead} `invalid_request` when they decide how much is used.
 */
export function hasOverrides(body: JsonObject, except: readonly string[]): boolean {
  let found = false
  for (const [name, value] of Object.entries(body)) {
    if (value === null || !redirects(name) || except.includes(name)) continue
    found = true
    assertUndecided(value, name)
  }
  return found
}

function assertUndecided(value: unknown, place: string): void {
  if (Array.isArray(value)) for (const item of value) assertUndecided(item, place)
  if (!isObject(value)) return
  for (const [key, member] of Object.entries(value)) {
    if (DECISIVE.has(foldName(key)))
      throw invalid(`The field ${fieldName(key)} must stand at the top of the body, not inside ${fieldName(place)}.`)
    assertUndecided(member, place)
  }
}
