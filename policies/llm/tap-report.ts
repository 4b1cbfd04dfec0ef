/** Reads what a tap in another process reports. It crossed Lua and MessagePack, so nothing is taken on trust. */

import { isObject } from './json.ts'
import type { Protocol } from './protocol.ts'
import { protocolById } from './protocols/index.ts'
import { type Delivered, inputOnly, mergeUsage, type Usage } from './usage.ts'

export interface TapResult {
  /** What the provider reported. */
  readonly usage?: Usage
  /** Text that passed to the caller; absent when none was seen. */
  readonly delivered?: Delivered
  /** The protocol's last event, or the whole JSON reply, passed. */
  readonly sawFinal: boolean
  /** `maxOutputTokens` ended the stream. */
  readonly cut: boolean
}

/** Malformed parts are left out: then that usage was not observed. */
export function readReport(protocolId: string, report: unknown): TapResult {
  const protocol = protocolById(protocolId)
  const table = isObject(report) ? report : {}
  const usage = protocol === undefined ? undefined : readUsage(protocol, table)
  const delivered = readDelivered(table.characters)
  return {
    ...(usage === undefined ? {} : { usage }),
    ...(delivered === undefined ? {} : { delivered }),
    sawFinal: table.ended === 'final',
    cut: table.ended === 'cut',
  }
}

/**
 * Usage from the data of a stream's candidate events, oldest first. An output figure is dropped when a later event
 * carries more text: it was a running one.
 */
export function usageFromEvents(protocol: Protocol, events: readonly string[]): Usage | undefined {
  let usage: Usage | undefined
  for (const data of events) {
    const event = parseJson(data)
    if (event === undefined) continue
    const reported = protocol.eventUsage(event, usage)
    if (reported?.outputTokens === undefined && protocol.eventText(event) !== '') usage = inputOnly(usage)
    usage = mergeUsage(usage, reported)
  }
  return usage
}

/** Usage from the raw text of a JSON reply's usage member, judged at its own place. */
export function usageFromMember(protocol: Protocol, json: string): Usage | undefined {
  const value = parseJson(json)
  return value === undefined ? undefined : protocol.replyUsage({ [protocol.usageMember]: value })
}

function readUsage(protocol: Protocol, table: Readonly<Record<string, unknown>>): Usage | undefined {
  const events = Array.isArray(table.events) ? table.events.filter((event) => typeof event === 'string') : []
  const member = typeof table.usage_json === 'string' ? usageFromMember(protocol, table.usage_json) : undefined
  return mergeUsage(usageFromEvents(protocol, events), member)
}

function readDelivered(characters: unknown): Delivered | undefined {
  if (!Array.isArray(characters) || characters.length !== 4) return undefined
  const [one, two, three, four] = characters
  if (!isCount(one) || !isCount(two) || !isCount(three) || !isCount(four)) return undefined
  return one + two + three + four === 0 ? undefined : { characters: [one, two, three, four] }
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Not JSON, so no event of a protocol: nothing to learn from it.
    return undefined
  }
}
