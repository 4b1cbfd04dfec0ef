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
import { isRecord, readPipelines, type Step } from './pipelines.ts'
import { pathAt, type Site, sitesOf } from './site.ts'

export interface Observers {
  /** A config is about to be mounted: whoever watched an earlier one is forgotten. */
  begin(config: GatewayConfig): void
  /** A step of this config watches the endpoints of its pipeline, unless it stands behind a condition. */
  watch(config: GatewayConfig, step: WatchingStep, pipeline: Pipeline): void
}

export interface WatchingStep {
  readonly policy: string
  /** The same for steps of this policy whose actions mean the same. */
  readonly key: string
  /** Whether a step with this action is meant. */
  isOwn(action: unknown): boolean
}

/** One for each gateway: a reload runs the plugin's `init` again, but keeps the server that is listened to. */
const known = new WeakMap<EventEmitter, Observers>()

export function observersOf({ eventBus }: PluginContext, logger: Logger): Observers {
  let observers = known.get(eventBus)
  if (observers === undefined) {
    const created = createObservers(logger)
    observers = created
    known.set(eventBus, created)
    const attach = ({ httpServer }: { readonly httpServer: Server }) => created.attach(httpServer)
    eventBus.on('http-ready', attach)
    eventBus.on('https-ready', attach)
  }
  return observers
}

interface Mounted {
  readonly config: GatewayConfig
  readonly sites: ReadonlyMap<string, Site>
  /** By endpoint and key: of equal steps Express Gateway does not tell which pipeline each is from, and one is enough. */
  readonly byEndpoint: Map<string, Map<string, Pipeline>>
}

function createObservers(logger: Logger): Observers & { attach(server: Server): void } {
  let mounted: Mounted | undefined
  const keys = new WeakMap<Pipeline, string>()

  function mountedFor(config: GatewayConfig): Mounted {
    if (mounted?.config !== config) mounted = { config, sites: sitesOf(config), byEndpoint: new Map() }
    return mounted
  }

  function watch(config: GatewayConfig, { policy, key, isOwn }: WatchingStep, pipeline: Pipeline): void {
    const { byEndpoint } = mountedFor(config)
    const own = `${policy} ${key}`
    keys.set(pipeline, own)
    const always = (step: Step) => step.condition === undefined && isOwn(step.action)
    for (const { policies, apiEndpoints } of readPipelines(config)) {
      if (!policies.some(({ name, steps }) => name === policy && steps.some(always))) continue
      for (const endpoint of apiEndpoints)
        byEndpoint.set(endpoint, (byEndpoint.get(endpoint) ?? new Map()).set(own, pipeline))
    }
  }

  function follow(request: EgRequest, response: EgResponse): void {
    const atStart = mounted
    const startedAt = systemClock.now()
    const began = systemClock.monotonic()
    response.once('close', () => {
      const durationMs = systemClock.monotonic() - began
      const status = response.headersSent ? response.statusCode : undefined
      const times = { startedAt, durationMs, ...(status === undefined ? {} : { status }) }
      tell(request, times, atStart).catch((error: unknown) => reportFault(logger, 'express-gateway.observe', error))
    })
  }

  /** @param mounted what was mounted when the request came */
  async function tell(request: EgRequest, times: Times, mounted: Mounted | undefined): Promise<void> {
    const endpoint = request.egContext?.apiEndpoint.apiEndpointName
    // No pipeline took it.
    if (endpoint === undefined) return
    const end = await endedPassage(request)
    const judges = [...(end?.judges ?? [])].filter((pipeline) => pipeline.observes)
    const heard = new Set(judges.map((pipeline) => keys.get(pipeline)))
    const others = [...(mounted?.byEndpoint.get(endpoint) ?? [])].filter(([key]) => !heard.has(key))
    const site = mounted?.sites.get(endpoint)
    for (const pipeline of [...judges, ...others.map(([, other]) => other)])
      pipeline.observe(endingOf(request, endpoint, site, times, end, pipeline), end?.readers.get(pipeline))
  }

  return {
    begin: (config) => void mountedFor(config),
    watch,
    attach: (server) =>
      void server.prependListener('request', (request, response) => follow(request as EgRequest, response)),
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
