/** An operator's `gateway.config.yml`, read into the shape that the checks and the adapter need. */

import type { GatewayConfig } from './eg.ts'

export interface Step {
  readonly action: Readonly<Record<string, unknown>>
  readonly condition?: Readonly<Record<string, unknown>>
}

export interface PipelinePolicy {
  readonly name: string
  /** At least one; without a config Express Gateway runs the policy once. */
  readonly steps: readonly Step[]
}

/**
 * A step as the policy understands it: Express Gateway hands over a copy of the action with defaults filled in, and not the
 * place that it is from.
 */
export interface OwnStep {
  readonly policy: string
  /** The same for steps of this policy whose actions mean the same. */
  readonly key: string
  /** Whether a step with this action is meant. */
  isOwn(action: unknown): boolean
}

export interface PipelineConfig {
  readonly name: string
  readonly apiEndpoints: readonly string[]
  readonly policies: readonly PipelinePolicy[]
}

export function readPipelines(config: GatewayConfig): readonly PipelineConfig[] {
  return Object.entries(asRecord(config.pipelines)).map(([name, value]) => {
    const pipeline = asRecord(value)
    return {
      name,
      apiEndpoints: asList(pipeline.apiEndpoints ?? pipeline.apiEndpoint).map(String),
      policies: asList(pipeline.policies ?? pipeline.policy).map(readPolicy),
    }
  })
}

function readPolicy(value: unknown): PipelinePolicy {
  // As Express Gateway does: the first key names the policy.
  const [name = '', steps] = Object.entries(asRecord(value))[0] ?? []
  const read = asList(steps).map((step): Step => {
    const { action, condition } = asRecord(step)
    return { action: asRecord(action), ...(isRecord(condition) ? { condition } : {}) }
  })
  return { name, steps: read.length === 0 ? [{ action: {} }] : read }
}

export function isUnconditional({ condition }: Step): boolean {
  return condition === undefined || condition.name === 'always'
}

export function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return isRecord(value) ? value : {}
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}

/** A single value counts as a list of one, as everywhere in Express Gateway's config. */
export function asList(value: unknown): readonly unknown[] {
  if (value === undefined || value === null) return []
  return Array.isArray(value) ? value : [value]
}
