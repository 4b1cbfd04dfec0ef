/** One request to the upstream and its reply: what is known of how they went. */

import type { ClientRequest, IncomingMessage } from 'node:http'
import type { TapPlan } from '../../policies/llm/tap.ts'
import type { Logger, Outcome } from '../../policies/policy.ts'
import { systemClock } from '../deps.ts'
import type { EgRequest, EgResponse } from './eg.ts'
import { reportFault } from './fault.ts'
import { createRelay, type Relay } from './relay.ts'

export interface UpstreamCall {
  /** @param sent before its head has left */
  follow(sent: ClientRequest): void
  /** Whether the client gets the upstream's reply, and no longer one of the gateway's own. */
  readonly relays: boolean
  /** Milliseconds until the reply began; undefined when none came. */
  readonly waitedMs: number | undefined
  /** How it ended, once the response is closed. */
  end(): Outcome
  /** With what is known of the reply so far. */
  outcome(ended: Outcome['ended']): Outcome
  abort(): void
}

export interface UpstreamCallOptions {
  readonly request: EgRequest
  readonly response: EgResponse
  readonly logger: Logger
  plan(): TapPlan | undefined
  /** The reply has begun: its headers may still be changed. */
  begins(reply: IncomingMessage): void
  data(chunk: Uint8Array): void
  /** The reply is complete, or was ended on purpose; its last bytes are about to be sent. */
  ended(how: 'complete' | 'ended_early'): void
  /** Nobody can read the reply as the plan asks: nothing of it may be sent on. */
  unreadable(): void
}

export function createUpstreamCall(options: UpstreamCallOptions): UpstreamCall {
  const { request, response, logger } = options
  let upstream: ClientRequest | undefined
  let upstreamError: NodeJS.ErrnoException | undefined
  let sentAt = 0
  let waitedMs: number | undefined
  let relay: Relay | undefined
  let failed: 'upstream_failed' | 'unknown' | undefined
  let timedOut: 'not_forwarded' | 'unknown' | undefined

  function follow(sent: ClientRequest): void {
    upstream = sent
    sentAt = systemClock.monotonic()
    sent.on('error', (error) => {
      upstreamError = error
    })
    sent.once('timeout', () => {
      // Nobody knows what an upstream that had the request did with it.
      timedOut = sent.socket?.connecting === true ? 'not_forwarded' : 'unknown'
    })
    sent.once('response', (reply: IncomingMessage) => takeReply(reply))
  }

  function takeReply(reply: IncomingMessage): void {
    waitedMs = systemClock.monotonic() - sentAt
    if (response.headersSent || response.destroyed) {
      reply.destroy()
      return
    }
    const taken = openRelay(reply)
    if (taken === undefined) return
    options.begins(reply)
    relay = taken
    reply.pipe = ((destination: EgResponse) => {
      Reflect.deleteProperty(reply, 'pipe')
      taken.start(destination)
      return destination
    }) as unknown as IncomingMessage['pipe']
  }

  function openRelay(reply: IncomingMessage): Relay | undefined {
    try {
      return createRelay(reply, request.method ?? '', options.plan(), {
        data: options.data,
        ended: options.ended,
        failed() {
          failed = 'upstream_failed'
        },
        fault(error) {
          failed = 'unknown'
          reportFault(logger, 'express-gateway.relay', error)
        },
      })
    } catch (error) {
      reportFault(logger, 'express-gateway.relay', error)
      reply.destroy()
      options.unreadable()
      return undefined
    }
  }

  function outcome(ended: Outcome['ended']): Outcome {
    const { sawFinal = false, ...observed } = relay?.observed() ?? {}
    const afterFinal = sawFinal && (ended === 'client_gone' || ended === 'upstream_failed')
    return { ended: afterFinal ? 'complete' : ended, ...observed }
  }

  function howItEnded(): Outcome['ended'] {
    if (!response.writableFinished) return failed ?? (upstream === undefined ? 'not_forwarded' : 'client_gone')
    if (upstream === undefined || isUnreached(upstreamError)) return 'not_forwarded'
    if (relay !== undefined) return 'complete'
    // The gateway answered by itself.
    if (timedOut !== undefined) return timedOut
    return waitedMs === undefined ? 'upstream_failed' : 'unknown'
  }

  return {
    follow,
    get relays() {
      return relay !== undefined
    },
    get waitedMs() {
      return waitedMs
    },
    end: () => outcome(howItEnded()),
    outcome,
    abort: () => void upstream?.destroy(),
  }
}

/** The upstream never saw a byte: no name, no route, nobody listening. */
function isUnreached(error: NodeJS.ErrnoException | undefined): boolean {
  return error?.syscall === 'connect' || error?.syscall === 'getaddrinfo'
}
