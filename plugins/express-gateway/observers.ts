/**
 * Tells policies that watch how every request of their endpoints ended: also of those that another policy refused
 * before they ran.
 */

import type { EventEmitter } from 'node:events'
import type { Server } from 'node:http'
import { callerParts, type Pipeline } from '../../policies/pipeline.ts'
import type { Caller, Ending, Logger } from '../../policies/policy.ts'
import { systemClock } from '../deps.ts'
import { consumerOf } from './caller.ts'
import type { EgRequest, EgResponse, GatewayConfig, PluginContext } from './eg.ts'
import { reportFault } from './fault.ts'
import { endedPassage, type PassageEnd } from './passage.ts'
import { asList, asRecord, isRecord, isUnconditional, type OwnStep, readPipelines, type Step } from './pipelines.ts'
import { pathAt, type Site, sitesOf } from './site.ts'

export interface Observers {
  /** Follows every request to this server to its end. */
  attach(server: Server): void
  /** A step of this config watches the endpoints of its pipeline, unless it stands behind a condition. */
  watch(config: GatewayConfig, step: OwnStep, pipeline: Pipeline): void
}

/** One for each gateway: a reload runs the plugin's `init` again, but keeps the server that is listened to. */
const known = new WeakMap<EventEmitter, Observers>()

export function observersOf({ eventBus }: PluginContext, logger: Logger): Observers {
  const observers = known.get(eventBus) ?? createObservers(logger)
  known.set(eventBus, observers)
  return observers
}

/** Who watches the endpoints of one config. */
interface Watched {
  readonly sites: ReadonlyMap<string, Site>
  /** By endpoint and key: of equal steps Express Gateway does not tell which pipeline each is from, and one is enough. */
  readonly byEndpoint: Map<string, Map<string, Pipeline>>
}

/**
 * Marks every endpoint of a config that is watched. Nobody tells a plugin whether a reload was mounted or the earlier
 * config goes on; but Express Gateway copies an endpoint, symbols too, into each request that it takes for it.
 */
const WATCHED = Symbol('portcullis.watched')

function createObservers(logger: Logger): Observers {
  const watchedIn = new WeakMap<GatewayConfig, Watched>()
  const keys = new WeakMap<Pipeline, string>()

  function watchedOf(config: GatewayConfig): Watched {
    let watched = watchedIn.get(config)
    if (watched === undefined) {
      watched = { sites: sitesOf(config), byEndpoint: new Map() }
      watchedIn.set(config, watched)
      const endpoints = Object.values(asRecord(config.apiEndpoints)).flatMap(asList).filter(isRecord)
      for (const endpoint of endpoints) Object.assign(endpoint, { [WATCHED]: watched })
    }
    return watched
  }

  function watch(config: GatewayConfig, { policy, key, isOwn }: OwnStep, pipeline: Pipeline): void {
    const { byEndpoint } = watchedOf(config)
    const own = `${policy} ${key}`
    keys.set(pipeline, own)
    const always = (step: Step) => isUnconditional(step) && isOwn(step.action)
    for (const { policies, apiEndpoints } of readPipelines(config)) {
      if (!policies.some(({ name, steps }) => name === policy && steps.some(always))) continue
      for (const endpoint of apiEndpoints)
        byEndpoint.set(endpoint, (byEndpoint.get(endpoint) ?? new Map()).set(own, pipeline))
    }
  }

  function follow(request: EgRequest, response: EgResponse): void {
    const startedAt = systemClock.now()
    const began = systemClock.monotonic()
    response.once('close', () => {
      const durationMs = systemClock.monotonic() - began
      const status = response.headersSent ? response.statusCode : undefined
      const times = { startedAt, durationMs, ...(status === undefined ? {} : { status }) }
      tell(request, times).catch((error: unknown) => reportFault(logger, 'express-gateway.observe', error))
    })
  }

  async function tell(request: EgRequest, times: Times): Promise<void> {
    const endpoint = request.egContext?.apiEndpoint
    const watched = endpoint?.[WATCHED] as Watched | undefined
    // No pipeline took it, or nobody watches.
    if (endpoint === undefined || watched === undefined) return
    const name = endpoint.apiEndpointName
    const end = await endedPassage(request)
    const judges = [...(end?.judges ?? [])].filter((pipeline) => pipeline.observes)
    const heard = new Set(judges.map((pipeline) => keys.get(pipeline)))
    const others = [...(watched.byEndpoint.get(name) ?? [])].filter(([key]) => !heard.has(key))
    for (const pipeline of [...judges, ...others.map(([, other]) => other)])
      pipeline.observe(
        endingOf(request, name, watched.sites.get(name), times, end, pipeline),
        end?.readers.get(pipeline),
      )
  }

  return {
    attach: (server) =>
      void server.prependListener('request', (request, response) => follow(request as EgRequest, response)),
    watch,
  }
}

type Times = Pick<Ending, 'startedAt' | 'durationMs' | 'status'>

function endingOf(
  request: EgRequest,
  endpoint: string,
  site: Site | undefined,
  times: Times,
  end: PassageEnd | undefined,
  pipeline: Pipeline,
): Ending {
  const requestId = end?.requestId ?? request.egContext?.requestID
  const path = end === undefined && site !== undefined ? pathAt(request, site) : end?.path
  return {
    ...times,
    ...(requestId === undefined ? {} : { requestId }),
    ...(request.method === undefined ? {} : { method: request.method }),
    ...(path === undefined ? {} : { path }),
    route: { name: endpoint, ...(site?.mapping === undefined ? {} : { serviceName: site.mapping.serviceEndpoint }) },
    caller: callerAtEnd(request, site, end),
    ...(end?.upstreamMs === undefined ? {} : { upstreamMs: end.upstreamMs }),
    // Nothing of this pack ran, so some policy before answered.
    outcome: end?.outcome ?? { ended: (times.status ?? 0) >= 400 ? 'not_forwarded' : 'unknown' },
    verdicts: end?.verdicts ?? [],
    reservations: end?.reservationsOf(pipeline) ?? [],
  }
}

function callerAtEnd(request: EgRequest, site: Site | undefined, end: PassageEnd | undefined): Caller {
  const { user } = request
  return {
    address: request.ip ?? request.socket.remoteAddress ?? '',
    ...(isRecord(user) && site?.mayHoldClaims === false ? { consumer: consumerOf(user) } : {}),
    ...(end === undefined ? {} : callerParts(end.proven)),
  }
}
