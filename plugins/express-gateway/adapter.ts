/** A Portcullis policy, or a set of them, as a policy of Express Gateway. */

import { CODES, ConfigError, PortcullisError } from '../../policies/errors.ts'
import { queryNames } from '../../policies/llm/query.ts'
import { createPipeline, type Pipeline, withProven } from '../../policies/pipeline.ts'
import type { Caller, Deps, Exchange, MaybePromise, Policy, Reject } from '../../policies/policy.ts'
import { createInstances, type Declared, type PolicySet } from '../../policies/policy-set.ts'
import { canonical } from '../../policies/runtime.ts'
import type { Config, Fields } from '../../policies/schema/fields.ts'
import { toJsonSchema } from '../../policies/schema/json-schema.ts'
import { parsePolicyConfig } from '../../policies/schema/parse.ts'
import { answer } from './answers.ts'
import { callerOf, carriedKeys } from './caller.ts'
import { checkPipelines, checkRepeats } from './check.ts'
import type { EgConfig, EgContext, EgPolicy, EgRequest, EgResponse, EgServices } from './eg.ts'
import { reportFault, UNAVAILABLE } from './fault.ts'
import type { Observers } from './observers.ts'
import { type Passage, passageOf } from './passage.ts'
import type { OwnStep } from './pipelines.ts'
import { pathAt, type Site, sitesOf } from './site.ts'

export interface AdapterOptions {
  readonly deps: Deps
  readonly services: EgServices
  readonly synchronousConditions: readonly string[]
  readonly observers: Observers
}

/** Express Gateway mixes this function of its own into every action. */
export const OWN_KEYS = ['getCommonAuthCallback']

export function schemaId(name: string): string {
  return `https://portcullis.dev/schemas/express-gateway/${name}.json`
}

export function adaptPolicy<F extends Fields>(policy: Policy<F> | PolicySet<F>, options: AdapterOptions): EgPolicy {
  const { deps, services } = options
  return {
    name: policy.name,
    schema: toJsonSchema(policy.fields, { id: schemaId(policy.name), ignore: OWN_KEYS }),
    policy(action: unknown, config: EgConfig) {
      checkPipelines(config.gatewayConfig, {
        policy: policy.name,
        place: 'after-auth',
        synchronousConditions: options.synchronousConditions,
      })
      const parsed = parsePolicyConfig(policy, action, { ignore: OWN_KEYS })
      const step = stepOf(policy, parsed)
      checkRepeats(config.gatewayConfig, step)
      const pipeline = createPipeline(createInstances(policy, parsed, deps), deps.logger)
      const sites = sitesOf(config.gatewayConfig)
      if (pipeline.observes) options.observers.watch(config.gatewayConfig, step, pipeline)
      return (request, response, next) => {
        judge({ request, response, sites, pipeline, services, deps, name: policy.name }).then((goOn) => {
          if (goOn) next()
        })
      }
    },
  }
}

function stepOf<F extends Fields>(policy: Declared<F>, config: Config<F>): OwnStep {
  const key = canonical(config)
  return {
    policy: policy.name,
    key,
    isOwn(action) {
      try {
        return canonical(parsePolicyConfig(policy, action, { ignore: OWN_KEYS })) === key
      } catch (error) {
        if (error instanceof ConfigError) return false
        throw error
      }
    },
  }
}

interface Judging {
  readonly request: EgRequest
  readonly response: EgResponse
  readonly sites: ReadonlyMap<string, Site>
  readonly pipeline: Pipeline
  readonly services: EgServices
  readonly deps: Deps
  readonly name: string
}

/** Whether the request may go on. Never throws: whatever goes wrong, the door stays shut. */
async function judge(judging: Judging): Promise<boolean> {
  const { request, response, pipeline, deps } = judging
  let passage: Passage | undefined
  try {
    const { context, site } = placeOf(judging)
    const path = pathAt(request, site)
    passage = passageOf(request, response, { context, path, credentials: site.credentials, logger: deps.logger })
    const refusal = path === undefined ? UNKNOWN_PATH : request.headers.upgrade === undefined ? undefined : UPGRADE
    const deciding =
      refusal === undefined
        ? pipeline.decide(exchangeOf(judging, passage, context, site, path ?? ''))
        : Promise.resolve(refusal)
    passage.judging(judging.name, pipeline, deciding)
    const verdict = await deciding
    if (verdict.type === 'reject') passage.refuse(verdict)
    else passage.accept(pipeline, verdict)
    return verdict.type === 'pass' && !passage.over
  } catch (error) {
    reportFault(deps.logger, `${judging.name}.adapter`, error)
    passage?.judging(judging.name, pipeline, Promise.resolve(UNAVAILABLE))
    if (passage !== undefined) passage.refuse(UNAVAILABLE)
    else answer(response, UNAVAILABLE, { requestId: deps.random.id(), protocol: undefined })
    return false
  }
}

/** @throws {PortcullisError} `not_in_a_pipeline` */
function placeOf({ request, sites }: Judging): { readonly context: EgContext; readonly site: Site } {
  const context = request.egContext
  const site = sites.get(context?.apiEndpoint.apiEndpointName ?? '')
  if (context === undefined || site === undefined)
    throw new PortcullisError('not_in_a_pipeline', 'the request is at no API endpoint of a pipeline')
  return { context, site }
}

function exchangeOf(judging: Judging, passage: Passage, context: EgContext, site: Site, path: string): Exchange {
  const { request, services, pipeline } = judging
  let caller: MaybePromise<Caller> | undefined
  return {
    requestId: passage.requestId,
    method: request.method ?? '',
    path,
    route: {
      name: context.apiEndpoint.apiEndpointName,
      ...(site.mapping === undefined ? {} : { serviceName: site.mapping.serviceEndpoint }),
    },
    queryNames: () => queryNames(request.url?.split('?').slice(1).join('?') ?? ''),
    header: (name) => headerOf(request, name),
    body: () => passage.readBody(pipeline.maxBodyBytes),
    caller() {
      const keys = carriedKeys(request, site.keyAuth)
      const own = () => callerOf(request, { services, keys, mayHoldClaims: site.mayHoldClaims })
      caller ??= withProven({ caller: own }, passage.proven)
      return caller
    },
  }
}

/**
 * What will be forwarded, not what came: of some duplicates Node drops all but the first. A name in underscores counts
 * as well: some upstreams do not tell it from the one with dashes.
 */
function headerOf({ headers }: EgRequest, name: string): string | undefined {
  const spellings = name.includes('-') ? [name, name.replaceAll('-', '_')] : [name]
  const values = spellings.map((spelling) => headers[spelling]).filter((value) => value !== undefined)
  return values.length === 0 ? undefined : values.map(String).join(', ')
}

const UNKNOWN_PATH: Reject = {
  type: 'reject',
  status: CODES.invalid_request.status,
  code: 'invalid_request',
  message: 'The path cannot be understood.',
}
const UPGRADE: Reject = {
  type: 'reject',
  status: CODES.unmetered_operation.status,
  code: 'unmetered_operation',
  message: 'A connection that changes its protocol cannot be metered.',
}
