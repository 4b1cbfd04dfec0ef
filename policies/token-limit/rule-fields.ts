/** The config fields of one limit rule. */

import { choice, integer, list, map, number, record, string } from '../schema/declare.ts'
import { defineFields } from '../schema/fields.ts'

/** Far above any real budget, and small enough that every sum of counters stays an exact double. */
export const MAX_LIMIT = 1_000_000_000_000

const matchFields = defineFields({
  models: {
    type: list(string({ maxLength: 256 }), { minItems: 1 }),
    description:
      'Model globs, compared without regard to case; `*` is any text and `?` one character. Names count as callers write them, so let a rule for all models come last; a request that leaves open which model answers is held to the rules of all. Unset: any model.',
  },
  consumers: {
    type: list(string({ maxLength: 256 }), { minItems: 1 }),
    description: 'Ids, user names or custom ids of consumers. An anonymous consumer never matches. Unset: anybody.',
  },
  tags: {
    type: list(string({ maxLength: 256 }), { minItems: 1 }),
    description:
      'Tags of which the consumer or its credential has at least one, such as the name of a tier. Unset: any.',
  },
  claims: {
    type: map(list(string({ maxLength: 256 }), { minItems: 1 })),
    description: 'By path into the verified claims: values of which the claim has at least one; every path must match.',
  },
  routes: {
    type: list(string({ maxLength: 256 }), { minItems: 1 }),
    description: "Names or ids of the gateway's routes to which the rule applies. Unset: all routes.",
  },
})

export const ruleFields = defineFields({
  name: {
    type: string({
      maxLength: 64,
      pattern: { js: '^[A-Za-z0-9][A-Za-z0-9._-]*$', lua: '^[A-Za-z0-9][A-Za-z0-9._-]*$' },
    }),
    description:
      'Name of the limit, shown to callers. Of the rules with one name the first that matches applies; rules with the same name and store share counters.',
    required: true,
  },
  limit: {
    type: integer({ min: 1, max: MAX_LIMIT }),
    description: 'How much may be used in one window, in the unit of `count`. Either this or `limit_from`.',
  },
  limit_from: {
    type: string({ maxLength: 256 }),
    description:
      'Takes the limit from a verified claim: `claim:<path>`. A caller whose claim is no positive whole number is refused with 403.',
  },
  window_seconds: {
    type: integer({ min: 1, max: 31_622_400 }),
    description: 'Length of the window in seconds, at most 366 days.',
    required: true,
  },
  algorithm: {
    type: choice('sliding_window', 'fixed_window', 'token_bucket'),
    description:
      '`sliding_window`: never more than the limit in any window. `fixed_window`: per aligned window. `token_bucket`: refills steadily up to `burst`.',
    default: 'sliding_window',
  },
  count: {
    type: choice('total_tokens', 'input_tokens', 'output_tokens', 'requests'),
    description: 'What is counted: input and output tokens together, one of them, or requests.',
    default: 'total_tokens',
  },
  per: {
    type: list(string({ maxLength: 256 }), { minItems: 1, maxItems: 8 }),
    description:
      'Parts that together name a counter: `consumer`, `credential`, `claim:<path>`, `ip`; `model`, `route`, `service`, `header:<name>`; or `global` alone.',
    default: ['consumer'],
  },
  match: {
    type: record(matchFields),
    description: 'When the rule applies; everything set must match. Unset: always.',
  },
  burst: {
    type: integer({ min: 1, max: MAX_LIMIT }),
    description: 'With `token_bucket`: the most that can be used at once. Unset: the limit.',
  },
  reserve: {
    type: choice('declared', 'expected'),
    description:
      'Output reserved for a request: the budget it declares, or what this caller and model usually produce when that is less.',
    default: 'declared',
  },
  on_short_budget: {
    type: choice('refuse', 'clamp'),
    description:
      'When the declared output budget does not fit: refuse the request, or lower its budget to what fits, but not below `clamp_floor`.',
    default: 'refuse',
  },
  clamp_floor: {
    type: integer({ min: 1, max: MAX_LIMIT }),
    description:
      'With `clamp`: the least output tokens worth forwarding. Unset: 256 or a tenth of the limit, the lesser.',
  },
  cached_input_weight: {
    type: number({ min: 0, max: 1 }),
    description: 'What an input token that the provider read from its cache costs, from 0 to 1.',
    default: 1,
  },
  mode: {
    type: choice('enforce', 'shadow'),
    description: '`shadow`: decide, count and audit, but refuse nothing and show nothing.',
    default: 'enforce',
  },
})
