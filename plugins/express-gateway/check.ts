/** Refuses, at start and on reload, a gateway config in which a Portcullis policy would not do what it says. */

import { PortcullisError } from '../../policies/errors.ts'
import type { GatewayConfig } from './eg.ts'
import {
  asList,
  asRecord,
  isRecord,
  isUnconditional,
  type OwnStep,
  type PipelineConfig,
  type PipelinePolicy,
  readPipelines,
} from './pipelines.ts'
import { proxyMappings, proxyOptions, sameMapping } from './upstream-path.ts'

/** Conditions of Express Gateway 1.16.11 that decide at once. `json-schema` does not: its handler returns a promise. */
const SYNCHRONOUS = new Set([
  'always',
  'never',
  'allOf',
  'oneOf',
  'not',
  'pathMatch',
  'pathExact',
  'method',
  'hostMatch',
  'expression',
  'authenticated',
  'anonymous',
  'tlsClientAuthenticated',
])

const AUTHENTICATION = new Set(['key-auth', 'jwt', 'basic-auth', 'oauth2', 'oauth2-introspect'])

export interface CheckOptions {
  /** The policy that asks. */
  readonly policy: string
  /** `before-auth`: it hands credentials to the auth policies. `after-auth`: it judges whoever they let in. */
  readonly place: 'before-auth' | 'after-auth'
  /** Further conditions that the operator vouches for. */
  readonly synchronousConditions: readonly string[]
}

/** @throws {PortcullisError} `invalid_config` naming the pipeline and every reason. */
export function checkPipelines(config: GatewayConfig, options: CheckOptions): void {
  const faults = readPipelines(config)
    .filter((pipeline) => pipeline.policies.some((policy) => policy.name === options.policy))
    .flatMap((pipeline) => faultsOf(pipeline, config, options).map((fault) => `pipeline ${pipeline.name}: ${fault}`))
  if (faults.length > 0)
    throw new PortcullisError('invalid_config', `${options.policy} refuses to start. ${faults.join(' ')}`)
}

/**
 * A request must not meet the same step twice: a limit would count it twice, an audit log would have two records of it.
 * @throws {PortcullisError} `invalid_config` naming the pipeline.
 */
export function checkRepeats(config: GatewayConfig, { policy, isOwn }: OwnStep): void {
  const repeated = readPipelines(config).find(({ policies }) => {
    const same = policies
      .filter(({ name }) => name === policy)
      .flatMap(({ steps }) => steps)
      .filter(({ action }) => isOwn(action))
    return same.length > 1 && same.some(isUnconditional)
  })
  if (repeated === undefined) return
  const fault = `pipeline ${repeated.name}: it stands there twice with the same config. Remove one of the two.`
  throw new PortcullisError('invalid_config', `${policy} refuses to start. ${fault}`)
}

function faultsOf(pipeline: PipelineConfig, config: GatewayConfig, options: CheckOptions): string[] {
  return [...conditionFaults(pipeline, options), ...orderFaults(pipeline, options), ...proxyFaults(pipeline, config)]
}

/**
 * Express Gateway mounts a policy once its condition's promise is done, which is after everything that has none: the
 * policy then stands behind `proxy` and never runs.
 */
function conditionFaults(pipeline: PipelineConfig, options: CheckOptions): string[] {
  const known = new Set([...SYNCHRONOUS, ...options.synchronousConditions])
  return pipeline.policies.flatMap((policy) =>
    policy.steps
      .flatMap((step) => (step.condition === undefined ? [] : namesOf(step.condition)))
      .filter((name) => !known.has(name))
      .map((name) =>
        name === 'json-schema'
          ? `${policy.name} stands behind the condition json-schema, which Express Gateway mounts too late to run.`
          : `${policy.name} stands behind the condition ${name}; if it never returns a promise, list it in the plugin's synchronous_conditions.`,
      ),
  )
}

/** The condition and all it is made of. */
function namesOf(condition: Readonly<Record<string, unknown>>): string[] {
  const inner = [...asList(condition.conditions), ...asList(condition.condition)].filter(isRecord)
  return [String(condition.name), ...inner.flatMap(namesOf)]
}

function orderFaults(pipeline: PipelineConfig, { policy, place }: CheckOptions): string[] {
  const { policies } = pipeline
  const first = policies.findIndex((candidate) => candidate.name === policy)
  const last = policies.findLastIndex((candidate) => candidate.name === policy)
  const before = policies.slice(0, last)
  const after = policies.slice(first + 1)
  const faults: string[] = []
  if (!after.some((candidate) => candidate.name === 'proxy')) faults.push('no proxy policy comes after it.')
  const early = before.find(
    (candidate) => (candidate.name === 'proxy' || candidate.name === 'terminate') && alwaysRuns(candidate),
  )
  if (early !== undefined) faults.push(`${early.name} comes before it and answers every request.`)
  const misplaced = (place === 'after-auth' ? after : before).filter((candidate) => AUTHENTICATION.has(candidate.name))
  const side = place === 'after-auth' ? 'before' : 'after'
  for (const candidate of misplaced) faults.push(`${candidate.name} must come ${side} it.`)
  if (place === 'after-auth' && after.some(changesBody))
    faults.push('a request-transformer that changes the body must come before it.')
  return faults
}

function alwaysRuns(policy: PipelinePolicy): boolean {
  return policy.steps.some(isUnconditional)
}

function changesBody(policy: PipelinePolicy): boolean {
  return policy.name === 'request-transformer' && policy.steps.some((step) => step.action.body !== undefined)
}

function proxyFaults(pipeline: PipelineConfig, config: GatewayConfig): string[] {
  const faults: string[] = []
  for (const options of proxyOptions(pipeline, config)) {
    if (options.followRedirects === true)
      faults.push('followRedirects would send the request to a path that nobody judged.')
    if (options.forward !== undefined) faults.push('forward would send a copy of every request past it.')
  }
  const [mapping, ...others] = proxyMappings(pipeline, config)
  if (mapping !== undefined && others.some((other) => !sameMapping(mapping, other)))
    faults.push('its proxies map paths differently, so that nobody could tell which path the upstream sees.')
  return faults
}

/** Names under which the pipeline's auth policies read credentials, besides the well-known ones. */
export function credentialNames(pipeline: PipelineConfig): {
  readonly headers: readonly string[]
  readonly query: readonly string[]
} {
  const headers: string[] = []
  const query: string[] = []
  for (const { action } of pipeline.policies
    .filter((policy) => AUTHENTICATION.has(policy.name))
    .flatMap((policy) => policy.steps)) {
    for (const source of [action, asRecord(action.jwt)]) {
      if (typeof source.apiKeyHeader === 'string') headers.push(source.apiKeyHeader.toLowerCase())
      if (typeof source.apiKeyField === 'string') query.push(source.apiKeyField)
      if (typeof source.jwtExtractorField !== 'string') continue
      if (source.jwtExtractor === 'query') query.push(source.jwtExtractorField)
      else headers.push(source.jwtExtractorField.toLowerCase())
    }
  }
  return { headers, query }
}
