/** Metrics by caller. Labels are names of the gateway's consumers, so many of them at most. */

import { Counter, Gauge, type Registry } from 'prom-client'
import { listen } from '../../policies/telemetry.ts'
import { ALL, type CallerBookOptions, createCallerBook, KINDS } from './caller-book.ts'
import type { Measured } from './measured.ts'

export function measureCallers(registry: Registry, options: CallerBookOptions): Measured {
  const registers = [registry]
  const tokens = new Counter({
    name: 'portcullis_caller_tokens_total',
    help: 'Tokens of each caller: reserved at admission, settled as used, and refunded of what was reserved.',
    labelNames: ['caller', 'kind'],
    registers,
  })
  const limits = new Gauge({
    name: 'portcullis_limit',
    help: 'The limit that a caller has by a rule, in its unit.',
    labelNames: ['caller', 'rule', 'unit'],
    registers,
  })
  const used = new Gauge({
    name: 'portcullis_limit_used',
    help: 'How much of the limit was taken when its counter was last asked; 0 once all of it is free again.',
    labelNames: ['caller', 'rule', 'unit'],
    registers,
  })
  const due = new Gauge({
    name: 'portcullis_key_due_timestamp_seconds',
    help: 'When the first of the keys that a caller used within a day should be replaced.',
    labelNames: ['caller'],
    registers,
  })
  const ends = new Gauge({
    name: 'portcullis_key_end_timestamp_seconds',
    help: 'From when the first of the keys that a caller used within a day is refused.',
    labelNames: ['caller'],
    registers,
  })
  const book = createCallerBook(options)
  const stop = [
    listen('decision', ({ caller, reserved, limits: standings, key }) => {
      if (reserved !== undefined) book.count(caller, 'reserved', reserved.input + reserved.output)
      if (standings !== undefined) book.noteLimits(caller, standings)
      if (key !== undefined) book.noteKey(caller, key)
    }),
    listen('settle', ({ caller, estimated, charged }) => {
      const taken = charged.input + charged.output
      book.count(caller, 'settled', taken)
      book.count(caller, 'refunded', estimated.input + estimated.output - taken)
    }),
  ]

  return {
    collect() {
      for (const metric of [tokens, limits, used, due, ends]) metric.reset()
      for (const [caller, page] of book.pages) {
        if (caller !== ALL) for (const kind of KINDS) tokens.inc({ caller, kind }, page.tokens[kind])
        for (const standing of page.limits()) {
          const labels = { caller, rule: standing.rule, unit: standing.unit }
          limits.set(labels, standing.limit)
          used.set(labels, standing.used)
        }
        const { dueAt, endsAt } = page.keys()
        if (dueAt !== undefined) due.set({ caller }, dueAt / 1_000)
        if (endsAt !== undefined) ends.set({ caller }, endsAt / 1_000)
      }
    },
    close: () => stop.forEach((end) => void end()),
  }
}
