/** Settling: counters get what was really used, and the estimators learn from it. */

import type { Outcome } from '../policy.ts'
import type { LimitStore } from '../stores/ports.ts'
import { publish } from '../telemetry.ts'
import { observeOutput } from './expected-output.ts'
import type { Held, HeldCall } from './held.ts'
import type { LearnedTable } from './learned.ts'
import type { LlmToolkit } from './toolkit.ts'
import { actualFor, type Used, usedBy } from './used.ts'

export interface SettleContext {
  readonly store: LimitStore
  readonly learned: LearnedTable
  readonly llm: LlmToolkit
  readonly policy: string
}

/** Settles once; a second settlement of the same id changes nothing. */
export async function settleHeld(id: string, held: Held, outcome: Outcome, context: SettleContext): Promise<void> {
  const { call } = held
  const counted: Used = { known: outcome.ended === 'not_forwarded' ? 'refunded' : 'reported' }
  const used = call === undefined ? counted : usedBy(call, outcome, context.llm.estimateDelivered)
  const entries = held.entries.map((entry) => {
    const { key, caller, counter, at, epoch, reserved } = entry
    const actual = actualFor(entry, used, outcome)
    return { key, ...(caller === undefined ? {} : { caller }), counter, at, epoch, reserved, actual }
  })
  const first = await context.store.settle({
    id,
    ...(held.ticket === undefined ? {} : { ticket: held.ticket }),
    entries,
  })
  if (!first) return
  if (call !== undefined) learn(call, outcome, context)
  publish('settle', () => ({
    policy: context.policy,
    reservationId: id,
    ended: outcome.ended,
    usage: used.known,
    estimated: call?.estimated ?? NOTHING,
    charged: call === undefined ? NOTHING : chargedFor(call, used),
    ...(outcome.usage === undefined ? {} : { actual: outcome.usage }),
    ...(call?.caller === undefined ? {} : { caller: call.caller }),
  }))
}

const NOTHING = { input: 0, output: 0 }

/** What a rule of total tokens is charged with, before any weight of cached input. */
function chargedFor({ estimated }: HeldCall, { input, output, seenOutput }: Used) {
  return { input: input ?? estimated.input, output: output ?? Math.max(estimated.output, seenOutput ?? 0) }
}

/** Only what the provider itself reported teaches anything. */
function learn(call: HeldCall, { usage }: Outcome, { learned, llm }: SettleContext): void {
  const output = call.generates ? usage?.outputTokens : undefined
  const input = usage?.inputTokens
  if (output === undefined && input === undefined) return
  const before = learned.get(call.learnedBy)
  const { texts } = call
  learned.set(call.learnedBy, {
    ...before,
    ...(output === undefined ? {} : { output: observeOutput(before?.output, output / call.candidates) }),
    ...(input === undefined ? {} : { lastInput: input }),
    ...(input === undefined || texts === undefined
      ? {}
      : { inputRatio: llm.correctRatio(before?.inputRatio, texts.estimated, Math.max(0, input - texts.counted)) }),
  })
}
