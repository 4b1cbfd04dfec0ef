/**
 * What Kong may ask of a plugin server. Kong lets a request pass when a plugin answers with an error, so an access phase
 * that cannot go on is answered with a refusal, never with an error.
 */

import { randomInt } from 'node:crypto'
import type { Instance, Module } from 'kong-pdk/lib/mod.js'
import Pdk from 'kong-pdk/pdk.js'
import type { Logger } from '../../../policies/policy.ts'
import { UNAVAILABLE_REPLY } from '../unavailable.ts'
import { ADOPT } from './adopt.ts'
import { createRecentFacts, type DirectAnswer, DirectCalls, directPdk, readDirectRequest } from './direct-event.ts'
import { type EventEnd, endsEvent, type KongEvent, type Phase, type ToKong } from './event.ts'
import { createEventTable, type EventLimits, phaseOfId } from './event-table.ts'
import { createInstances, MAX_FIRST_ID, RpcError } from './instances.ts'
import type { SettleAnswer, StartPlugin } from './settle-batch.ts'

/** What answers Kong: a result, or an error's text. */
export interface Reply {
  /** @param last Kong will not come back with this event. */
  result(value: unknown, last: boolean): void
  /** A result in the form that llm-edge reads. */
  direct(answer: DirectAnswer, last: boolean): void
  error(message: string): void
}

/** Tells that Kong no longer waits for the answer. */
export type Cancel = () => void

/** Told of what happens; never of an argument. */
export interface EventObserver {
  /** @param ms from its first frame to its end, Kong's own part included */
  eventEnded?(plugin: string, phase: Phase, how: EventEnd, roundTrips: number, ms: number): void
}

export interface PluginServerOptions extends EventLimits {
  readonly plugins: readonly Module[]
  readonly logger: Logger
  /** Milliseconds on a clock that never steps back. */
  readonly now: () => number
  readonly observer?: EventObserver
  /** @throws {RpcError} */
  readonly settle: (argument: unknown, start: StartPlugin) => Promise<SettleAnswer>
  /** @throws {RpcError} */
  readonly adopt: (argument: unknown) => string
}

export interface PluginServer {
  /** Handles one request of Kong. */
  handle(method: string, argument: unknown, reply: Reply): Cancel | undefined
  readonly openEvents: number
  readonly instances: number
  sweep(): void
  /** Ends every open event: access events with a refusal. */
  close(): void
}

/** Kong 3.9 knows no other. */
const STEP_METHODS: ReadonlySet<string> = new Set(
  ['', 'Error', 'MultiMap', 'Service', 'Consumer', 'Route', 'Plugin', 'Credential', 'MemoryStats'].map(
    (kind) => `plugin.Step${kind}`,
  ),
)
/** Of `llm-edge`. */
const EDGE_STEP_METHODS: ReadonlySet<string> = new Set(['portcullis.Step', 'portcullis.StepError'])

/** Makes Kong answer 503 by itself. */
export const REFUSAL: ToKong = {
  Method: 'kong.response.exit',
  Args: [UNAVAILABLE_REPLY.status, UNAVAILABLE_REPLY.body, UNAVAILABLE_REPLY.headers],
}

/** Of `llm-edge`, not of Kong. */
export const ACCESS = 'portcullis.Access'
const SETTLE = 'portcullis.Settle'

const METHODS: ReadonlySet<string> = new Set([
  ...STEP_METHODS,
  ...EDGE_STEP_METHODS,
  'plugin.HandleEvent',
  'plugin.StartInstance',
  'plugin.CloseInstance',
  ACCESS,
  SETTLE,
  ADOPT,
])

/** What only `llm-edge` asks, over a connection that its requests share. */
export function isOfEdge(method: string): boolean {
  return method === ACCESS || EDGE_STEP_METHODS.has(method)
}

/** A name that is safe to show: what Kong took for a method may be a part of a request. */
export function shownMethod(method: string): string {
  return METHODS.has(method) ? method : 'other'
}

export function createPluginServer(options: PluginServerOptions): PluginServer {
  const { logger } = options
  const instances = createInstances(options.plugins, logger)
  const recentFacts = createRecentFacts()
  const events = createEventTable({
    answerMs: options.answerMs,
    idleMs: options.idleMs,
    maxOpen: options.maxOpen,
    firstId: randomInt(MAX_FIRST_ID),
    now: options.now,
    refusal: REFUSAL,
    onEnd(event, how) {
      if (how !== 'returned' && how !== 'exited')
        logger.warn('event ended early', { plugin: event.plugin, phase: event.phase, how })
      options.observer?.eventEnded?.(event.plugin, event.phase, how, event.roundTrips, event.age)
    },
  })

  function handleEvent(argument: unknown, reply: Reply): Cancel {
    const { InstanceId: id, EventName: phase } = members(argument)
    const instance = instances.find(id)
    if (phase !== 'access' && phase !== 'log') throw new RpcError('no such phase')
    instance.resetExpireTs()
    const event = events.open(phase, instance.getName())
    void run(instance, event, new Pdk(event.pipe).kong)
    return ask(event, reply)
  }

  function handleDirect(argument: unknown, reply: Reply): Cancel {
    const request = readDirectRequest(argument, recentFacts)
    const instance = instances.find(request.instanceId)
    instance.resetExpireTs()
    const event = events.open('access', instance.getName())
    const calls = new DirectCalls(event)
    event.direct = calls
    void run(instance, event, directPdk(event, calls, request))
    return ask(event, reply)
  }

  async function run(instance: Instance, event: KongEvent, kong: unknown): Promise<void> {
    try {
      await instance.executePhase(event.phase, kong)
      // Throws when what was put off until now cannot be sent.
      event.pipe.put('ret')
    } catch (error) {
      logger.error('plugin fault', { plugin: event.plugin, phase: event.phase, kind: kindOf(error) })
      event.end('faulted', event.phase === 'access' ? REFUSAL : 'ret')
    }
    instance.resetExpireTs()
  }

  function step(method: string, argument: unknown, reply: Reply): Cancel | undefined {
    const { EventId: id, Data: data } = members(argument)
    const event = typeof id === 'number' ? events.find(id) : undefined
    // A table with a key `_method` makes Kong name any method; a second answer to one question has no right one.
    if (event !== undefined && (event.kongWaits || !isStep(method)))
      event.end('faulted', event.phase === 'access' ? REFUSAL : 'ret')
    if (event === undefined || event.ended !== undefined) {
      if (typeof id !== 'number' || phaseOfId(id) === 'log') throw new RpcError(`event id ${Number(id)} not found`)
      reply.result({ Data: REFUSAL, EventId: id }, true)
      return undefined
    }
    if (method.endsWith('.StepError')) event.resolve(undefined, 'Kong reported an error')
    else event.resolve(data ?? undefined)
    return ask(event, reply)
  }

  function ask(event: KongEvent, reply: Reply): Cancel {
    const calls = event.direct
    try {
      event.ask((data) => {
        if (calls === undefined) reply.result({ Data: data, EventId: event.id }, endsEvent(data))
        else reply.direct(calls.answer(data), endsEvent(data))
      })
    } catch (error) {
      // A call that cannot be encoded.
      logger.error('plugin fault', { plugin: event.plugin, phase: event.phase, kind: kindOf(error) })
      event.end('faulted', event.phase === 'access' ? REFUSAL : 'ret')
    }
    return () => {
      if (event.kongWaits) event.end('disconnected')
    }
  }

  async function settle(argument: unknown, reply: Reply): Promise<void> {
    try {
      reply.result(await options.settle(argument, instances.try), true)
    } catch (error) {
      if (!(error instanceof RpcError)) logger.error('settlement fault', { kind: kindOf(error) })
      reply.error(error instanceof RpcError ? error.message : 'not settled')
    }
  }

  function dispatch(method: string, argument: unknown, reply: Reply): Cancel | undefined {
    if (isStep(method) || members(argument).EventId !== undefined) return step(method, argument, reply)
    switch (method) {
      case 'plugin.HandleEvent':
        return handleEvent(argument, reply)
      case 'plugin.StartInstance': {
        const { Name: name, Config: config } = members(argument)
        reply.result(instances.start(name, config), false)
        return undefined
      }
      case 'plugin.CloseInstance':
        reply.result(instances.close(argument), false)
        return undefined
      case ACCESS:
        return handleDirect(argument, reply)
      case SETTLE:
        void settle(argument, reply)
        return undefined
      case ADOPT:
        reply.result(options.adopt(argument), true)
        return undefined
      default:
        throw new RpcError('no such method')
    }
  }

  return {
    handle(method, argument, reply) {
      try {
        return dispatch(method, argument, reply)
      } catch (error) {
        if (!(error instanceof RpcError)) throw error
        logger.info('request answered with an error', { error: error.message })
        reply.error(error.message)
        return undefined
      }
    },
    get openEvents() {
      return events.size
    },
    get instances() {
      return instances.size
    },
    sweep() {
      events.sweep()
      instances.sweep()
    },
    close() {
      events.endAll('shutdown')
      instances.clear()
    },
  }
}

function isStep(method: string): boolean {
  return STEP_METHODS.has(method) || EDGE_STEP_METHODS.has(method)
}

function members(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

function kindOf(error: unknown): string {
  return error instanceof Error ? error.name : typeof error
}
