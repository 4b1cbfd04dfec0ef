/** What a tap learns of a reply, event by event. */

import { estimateDelivered } from './estimate.ts'
import { createEventScanner, HAS_TEXT, MAY_BE_FINAL, MAY_HAVE_USAGE } from './event-scan.ts'
import { fillTemplate } from './final-template.ts'
import type { Protocol } from './protocol.ts'
import type { TapPlan } from './tap.ts'
import { parseJson, type TapResult, usageFromMember } from './tap-report.ts'
import { type Delivered, inputOnly, mergeUsage, type Usage } from './usage.ts'

export interface TapState {
  /** Learns from one event, its data being `bytes` from `start` to `end`; returns whether to withhold it. */
  event(bytes: Uint8Array, start: number, end: number): boolean
  /** Learns from the usage member of a whole JSON reply. */
  member(json: Uint8Array): void
  /** The reply came to its proper end. */
  finish(): void
  /** Whether more was delivered than the plan allows. */
  overBudget(): boolean
  /** Whether an event that is too large to be read ends the stream: nobody can tell how much it delivers. */
  readonly endsUnread: boolean
  /** The events that end the stream behind the last one that passed. */
  finalEvents(): string
  result(cut: boolean): TapResult
}

const DONE = '[DONE]'
const decoder = new TextDecoder()

export function createTapState(plan: TapPlan, protocol: Protocol): TapState {
  const scanner = createEventScanner(protocol)
  let usage: Usage | undefined
  let sawFinal = false
  let firstEvent: string | undefined
  let lastEvent: Uint8Array | undefined

  function event(bytes: Uint8Array, start: number, end: number): boolean {
    if (end - start === DONE.length && text(bytes, start, end) === DONE) {
      sawFinal = true
      return false
    }
    const found = scanner.scan(bytes, start, end)
    if (plan.maxOutputTokens !== undefined) {
      firstEvent ??= text(bytes, start, end)
      lastEvent = new Uint8Array(bytes.subarray(start, end))
    }
    const parsed = (found & (MAY_HAVE_USAGE | MAY_BE_FINAL)) === 0 ? undefined : parseJson(text(bytes, start, end))
    const reported = parsed === undefined ? undefined : protocol.eventUsage(parsed, usage)
    // Text behind an output figure shows that it was a running one.
    if ((found & HAS_TEXT) !== 0 && usage?.outputTokens !== undefined) usage = inputOnly(usage)
    // And behind an end, that it was none.
    if ((found & HAS_TEXT) !== 0) sawFinal = false
    usage = mergeUsage(usage, reported)
    if (parsed === undefined) return false
    if (protocol.isFinalEvent(parsed)) sawFinal = true
    return plan.withholdUsage && protocol.isUsageEvent(parsed)
  }

  function delivered(): Delivered {
    const [one = 0, two = 0, three = 0, four = 0] = scanner.characters
    return { characters: [one, two, three, four] }
  }

  return {
    event,
    member(json) {
      usage = mergeUsage(usage, usageFromMember(protocol, decoder.decode(json)))
    },
    finish() {
      sawFinal = true
    },
    overBudget: () =>
      plan.maxOutputTokens !== undefined &&
      !sawFinal &&
      usage?.outputTokens === undefined &&
      estimateDelivered(delivered()) > plan.maxOutputTokens,
    endsUnread: plan.maxOutputTokens !== undefined,
    finalEvents: () =>
      fillTemplate(protocol.finalTemplate(plan.candidates ?? 1), {
        first: firstEvent === undefined ? undefined : parseJson(firstEvent),
        last: lastEvent === undefined ? undefined : parseJson(decoder.decode(lastEvent)),
        tokens: estimateDelivered(delivered()),
      }),
    result(cut) {
      const seen = delivered()
      return {
        ...(usage === undefined ? {} : { usage }),
        ...(seen.characters.some((count) => count > 0) ? { delivered: seen } : {}),
        sawFinal,
        cut,
      }
    },
  }
}

function text(bytes: Uint8Array, start: number, end: number): string {
  return decoder.decode(bytes.subarray(start, end))
}
