/** Sends an upstream's reply on as it comes, past the tap, and tells how it ended. */

import type { IncomingMessage } from 'node:http'
import { pipeline, type Readable } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'
import { PortcullisError } from '../../policies/errors.ts'
import { requireProtocol } from '../../policies/llm/protocols/index.ts'
import type { TapPlan } from '../../policies/llm/tap.ts'
import { createTap, type ReplyTap } from '../../policies/llm/tap-stream.ts'
import type { Outcome } from '../../policies/policy.ts'
import type { EgResponse } from './eg.ts'

export interface Relay {
  /** Starts sending. */
  start(response: EgResponse): void
  /** What is known now, for a reply that was cut short. */
  observed(): Pick<Outcome, 'status' | 'usage' | 'delivered'> & { readonly sawFinal: boolean }
}

export interface RelayEvents {
  /** A piece of the upstream's reply, decompressed where it is read at all. */
  data(chunk: Uint8Array): void
  /** The upstream's reply is complete, or was ended on purpose; its last bytes are about to be sent. */
  ended(how: 'complete' | 'ended_early'): void
  /** The upstream broke off. */
  failed(): void
  /** The reply could not be read: the fault is ours, and nothing more is sent. */
  fault(error: unknown): void
}

/**
 * Takes over a reply before http-proxy has copied its headers: they are changed in place.
 * @param plan how to read the reply; undefined sends it on unread
 * @throws {PortcullisError} `reply_unreadable` where a stream may have to be cut, and is in an encoding that nobody knows.
 */
export function createRelay(
  reply: IncomingMessage,
  method: string,
  plan: TapPlan | undefined,
  events: RelayEvents,
): Relay {
  const status = reply.statusCode ?? 0
  const hasBody = method !== 'HEAD' && status !== 204 && status !== 304
  const decoder = plan === undefined || !hasBody ? undefined : decoderFor(reply)
  if (decoder === 'unknown' && plan?.stream === true && plan.maxOutputTokens !== undefined)
    throw new PortcullisError('reply_unreadable', 'nobody here can read the encoding of the reply')
  const tap =
    plan === undefined || !hasBody || decoder === 'unknown'
      ? undefined
      : createTap(plan, requireProtocol(plan.protocol))
  if (tap !== undefined && (changesLength(plan) || decoder !== undefined)) delete reply.headers['content-length']
  if (tap !== undefined && decoder !== undefined) delete reply.headers['content-encoding']

  return {
    start(response) {
      const source = decoder === undefined || decoder === 'unknown' ? reply : decoded(reply, decoder)
      send(source, response, tap, {
        ...events,
        ended(how) {
          events.ended(how)
          if (how === 'ended_early') reply.destroy()
        },
      })
    },
    observed() {
      const { usage, delivered, sawFinal } = tap?.result() ?? { sawFinal: false }
      return {
        status,
        sawFinal,
        ...(usage === undefined ? {} : { usage }),
        ...(delivered === undefined ? {} : { delivered }),
      }
    },
  }
}

function changesLength(plan: TapPlan | undefined): boolean {
  return plan?.withholdUsage === true || plan?.maxOutputTokens !== undefined
}

function send(source: Readable, response: EgResponse, tap: ReplyTap | undefined, events: RelayEvents): void {
  let over = false
  const forward = (pieces: readonly Uint8Array[]): void => {
    for (const piece of pieces) {
      if (response.write(piece) || source.isPaused()) continue
      source.pause()
      response.once('drain', () => source.resume())
    }
  }
  const finish = (how: 'complete' | 'ended_early', rest: readonly Uint8Array[]): void => {
    over = true
    forward(rest)
    // Before the last byte leaves, so that a caller's next request finds this one settled.
    events.ended(how)
    response.end()
  }
  const fail = (): void => {
    if (over) return
    over = true
    events.failed()
    response.destroy()
  }
  // An exception in an event handler would end the process, and every other caller's request with it.
  const guarded = (step: () => void): void => {
    if (over) return
    try {
      step()
    } catch (error) {
      over = true
      events.fault(error)
      response.destroy()
    }
  }
  source.on('data', (chunk: Buffer) => {
    guarded(() => {
      events.data(chunk)
      forward(tap === undefined ? [chunk] : tap.push(chunk))
      if (tap?.cut === true) finish('ended_early', [])
    })
  })
  source.once('end', () => guarded(() => finish('complete', tap?.end() ?? [])))
  source.on('error', fail)
  source.once('close', fail)
}

/** An upstream may compress although it was asked not to. `unknown`: nobody can look into it. */
function decoderFor(reply: IncomingMessage): 'gzip' | 'deflate' | 'br' | 'unknown' | undefined {
  const encoding = reply.headers['content-encoding']?.trim().toLowerCase() ?? 'identity'
  if (encoding === 'identity' || encoding === '') return undefined
  if (encoding === 'x-gzip') return 'gzip'
  return encoding === 'gzip' || encoding === 'deflate' || encoding === 'br' ? encoding : 'unknown'
}

const DECODERS = { gzip: createGunzip, deflate: createInflate, br: createBrotliDecompress } as const

function decoded(reply: IncomingMessage, encoding: keyof typeof DECODERS): Readable {
  const decoder = DECODERS[encoding]()
  // A failure of either side destroys both; `send` sees it on the decoder.
  pipeline(reply, decoder, () => {})
  return decoder
}
