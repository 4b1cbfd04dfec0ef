/** Several policies under one config: what a gateway runs as one plugin. */

import type { NamedInstance } from './pipeline.ts'
import type { Deps, Policy } from './policy.ts'
import type { Config, Fields } from './schema/fields.ts'

/** What a policy and a set of them declare about their config. */
export type Declared<F extends Fields> = Pick<Policy<F>, 'name' | 'fields' | 'check'>

export interface PolicySet<F extends Fields> extends Declared<F> {
  /** The policies that the config asks for, in the order in which they judge. */
  createAll(config: Config<F>, deps: Deps): readonly NamedInstance[]
}

/** For a pipeline: those of a set, or the one of a policy. */
export function createInstances<F extends Fields>(
  policy: Policy<F> | PolicySet<F>,
  config: Config<F>,
  deps: Deps,
): readonly NamedInstance[] {
  if ('createAll' in policy) return policy.createAll(config, deps)
  return [{ name: policy.name, instance: policy.create(config, deps) }]
}
