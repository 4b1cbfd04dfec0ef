/** Metrics of every policy. Labels hold only names from code and config, never a caller's. */

import { Counter, Histogram, type Registry } from 'prom-client'
import { type DecisionEvent, listen, type SettleEvent } from '../../policies/telemetry.ts'
import { amount } from './amount.ts'
import { type Measured, SECONDS } from './measured.ts'

/** Actual divided by estimated. */
const RATIOS = [0.1, 0.25, 0.5, 0.75, 0.9, 1, 1.1, 1.25, 1.5, 2, 4, 10]

export function measurePolicies(registry: Registry): Measured {
  const registers = [registry]
  const decisions = new Counter({
    name: 'portcullis_decisions_total',
    help: 'Decisions by code; the code is empty for a pass, would_reject what shadow mode held back.',
    labelNames: ['policy', 'decision', 'code', 'would_reject'],
    registers,
  })
  const refusals = new Counter({
    name: 'portcullis_refusals_total',
    help: 'Refusals by reason, and by the limit that had no room; those of mode `shadow` were held back.',
    labelNames: ['policy', 'code', 'mode', 'rule'],
    registers,
  })
  const decisionSeconds = new Histogram({
    name: 'portcullis_decision_seconds',
    help: 'Time that a policy took to decide.',
    labelNames: ['policy'],
    buckets: SECONDS,
    registers,
  })
  const tokens = new Counter({
    name: 'portcullis_tokens_total',
    help: 'Tokens reserved at admission, settled as used, and refunded of what was reserved.',
    labelNames: ['policy', 'kind'],
    registers,
  })
  const settlements = new Counter({
    name: 'portcullis_settlements_total',
    help: 'Settled requests by how they ended and how their usage is known.',
    labelNames: ['policy', 'ended', 'usage'],
    registers,
  })
  const estimates = new Histogram({
    name: 'portcullis_estimate_ratio',
    help: 'Tokens really used divided by those reserved: for input the error of the estimate.',
    labelNames: ['policy', 'part'],
    buckets: RATIOS,
    registers,
  })
  const faults = new Counter({
    name: 'portcullis_faults_total',
    help: 'Failures that were handled; each one refused a request or lost a settlement.',
    labelNames: ['where', 'code'],
    registers,
  })

  function onDecision(event: DecisionEvent): void {
    const { policy, decision, code = '', wouldReject = '', reserved, durationMs } = event
    decisions.inc({ policy, decision, code, would_reject: wouldReject })
    const refused = code === '' ? wouldReject : code
    if (refused !== '')
      refusals.inc({ policy, code: refused, mode: code === '' ? 'shadow' : 'enforce', rule: limitOf(event) })
    if (durationMs !== undefined) decisionSeconds.observe({ policy }, durationMs / 1_000)
    if (reserved !== undefined) tokens.inc({ policy, kind: 'reserved' }, amount(reserved.input + reserved.output))
  }

  function onSettle({ policy, ended, usage, estimated, charged, actual }: SettleEvent): void {
    settlements.inc({ policy, ended, usage })
    if (actual?.inputTokens !== undefined && estimated.input > 0)
      estimates.observe({ policy, part: 'input' }, amount(actual.inputTokens / estimated.input))
    if (actual?.outputTokens !== undefined && estimated.output > 0)
      estimates.observe({ policy, part: 'output' }, amount(actual.outputTokens / estimated.output))
    const used = charged.input + charged.output
    tokens.inc({ policy, kind: 'settled' }, amount(used))
    tokens.inc({ policy, kind: 'refunded' }, amount(estimated.input + estimated.output - used))
  }

  const stop = [
    listen('decision', onDecision),
    listen('settle', onSettle),
    listen('fault', ({ where, code }) => faults.inc({ where, code })),
  ]
  return { collect() {}, close: () => stop.forEach((end) => void end()) }
}

/** Only a limit's name is from the config: what else a decision goes by may name a model, which clients choose. */
function limitOf({ rule, limits }: DecisionEvent): string {
  return rule !== undefined && limits?.some((limit) => limit.rule === rule) === true ? rule : ''
}
