/** Plans of taps as text. The same plan is the same text, so that Lua decodes it once and not for every request. */

import { createHash } from 'node:crypto'
import type { TapPlan } from '../../../policies/llm/tap.ts'
import { tapWire } from '../../../policies/llm/tap-wire.ts'

export interface TapText {
  readonly protocol: string
  /** JSON of the `TapWire`. */
  readonly text: string
  /** Stands for the text wherever that was seen before; none for a plan of one request only. */
  readonly id?: string
}

/** With `enforce_stream` a plan has the request's own budget in it, so there may be any number. */
const MOST = 1_000
const texts = new Map<string, TapText>()

/** @throws {PortcullisError} `unknown_protocol`. */
export function tapText(plan: TapPlan): TapText {
  const key = JSON.stringify(plan)
  const known = texts.get(key)
  if (known?.id !== undefined) return known
  if (known === undefined && texts.size >= MOST) texts.clear()
  const text = known?.text ?? JSON.stringify(tapWire(plan))
  const made = { protocol: plan.protocol, text, ...(known === undefined ? {} : { id: idOf(text) }) }
  texts.set(key, made)
  return made
}

function idOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}
