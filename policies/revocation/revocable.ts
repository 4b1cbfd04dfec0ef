/** Makes any policy honour the deny list before it decides. */

import type { Decision, Policy, PolicyInstance } from '../policy.ts'
import { record } from '../schema/declare.ts'
import type { Config, ConfigIssue, Fields } from '../schema/fields.ts'
import { createRevocationCheck, type RevocationCheck } from './check.ts'
import { checkRevocation, type RevocationConfig, revocationFields } from './fields.ts'

const field = {
  revocation: {
    type: record(revocationFields),
    description: 'The deny list to honour before anything else. Unset: none.',
  },
} as const

export type Revocable<F extends Fields> = F & typeof field

/** The same policy with one more config field, `revocation`. */
export function revocable<F extends Fields>(policy: Policy<F>): Policy<Revocable<F>> {
  const fields: Revocable<F> = { ...policy.fields, ...field }
  return {
    name: policy.name,
    fields,
    check(config): readonly ConfigIssue[] {
      const { revocation, rest } = split<F>(config)
      const issues = revocation === undefined ? [] : checkRevocation(revocation, 'revocation')
      return [...(policy.check?.(rest) ?? []), ...issues]
    },
    create(config, deps) {
      const { revocation, rest } = split<F>(config)
      const inner = policy.create(rest, deps)
      if (revocation === undefined) return inner
      return checked(inner, createRevocationCheck(revocation, deps), 'mode' in rest && rest.mode === 'shadow')
    },
  }
}

function split<F extends Fields>(config: object): { revocation: RevocationConfig | undefined; rest: Config<F> } {
  const { revocation, ...rest } = config as { readonly revocation?: RevocationConfig }
  return { revocation, rest: rest as Config<F> }
}

function checked(inner: PolicyInstance, { check }: RevocationCheck, shadow: boolean): PolicyInstance {
  return {
    ...inner,
    readsClaims: true,
    async decide(exchange): Promise<Decision> {
      const caller = await exchange.caller()
      const refused = await check(caller, caller.claims)
      if (refused === undefined) return inner.decide(exchange)
      if (!shadow) return refused
      const decision = await inner.decide(exchange)
      return decision.type === 'pass' ? { ...decision, wouldReject: refused } : decision
    },
  }
}
