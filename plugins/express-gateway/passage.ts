/**
 * One request on its way through the gateway: what the policies held for it, what is forwarded, and the one settlement
 * at its end.
 */

import type { ClientRequest } from 'node:http'
import type { PassThrough, Readable } from 'node:stream'
import { mergeTaps, type TapPlan } from '../../policies/llm/tap.ts'
import {
  type PassVerdict,
  type Pipeline,
  type Proven,
  provenBy,
  type RejectVerdict,
  type ReplyReaders,
  type Verdict,
  verdictsOf,
} from '../../policies/pipeline.ts'
import type { Edits, Logger, Outcome, PolicyVerdict, Reject, Reservation } from '../../policies/policy.ts'
import { answer, convertErrors, protocolOf } from './answers.ts'
import { createRequestBody } from './body.ts'
import type { EgContext, EgRequest, EgResponse } from './eg.ts'
import { UNAVAILABLE } from './fault.ts'
import { type CredentialNames, isNobody, removeCredentials, spelledAs, withoutCredentials } from './keys.ts'
import { createUpstreamCall } from './upstream-call.ts'
import { withoutOrigin, withoutQuery } from './upstream-path.ts'

export interface Passage {
  readonly requestId: string
  /** The body as the policies so far leave it. @throws as `RequestBody.read` does. */
  readBody(maxBytes: number): Promise<Uint8Array | undefined>
  /** What the policies so far found out about the caller. */
  readonly proven: Proven
  /** True once nothing can be sent any more. */
  readonly over: boolean
  /** Keeps a verdict's reservations until the end, and its edits until the request is forwarded. */
  accept(pipeline: Pipeline, verdict: PassVerdict): void
  refuse(reject: Reject): void
  /** What a policy is about to say; whoever watches how the request ends waits for it. */
  judging(policy: string, pipeline: Pipeline | undefined, verdict: Promise<Verdict | Reject>): void
}

/** A request that is over, for those who watch. */
export interface PassageEnd {
  readonly requestId: string
  readonly path: string | undefined
  readonly outcome: Outcome
  readonly upstreamMs: number | undefined
  readonly proven: Proven
  /** In the order in which they judged. */
  readonly verdicts: readonly PolicyVerdict[]
  readonly judges: ReadonlySet<Pipeline>
  readonly readers: ReadonlyMap<Pipeline, ReplyReaders>
  /** What a pipeline held, given back or settled by now. */
  reservationsOf(pipeline: Pipeline): readonly Reservation[]
}

interface Judgement {
  readonly policy: string
  readonly pipeline: Pipeline | undefined
  readonly verdict: Verdict | Reject
}

export interface PassageOptions {
  readonly context: EgContext
  /** What the upstream will see; undefined when nobody can tell. */
  readonly path: string | undefined
  /** What to take out of the request before it is forwarded. */
  readonly credentials: CredentialNames
  readonly logger: Logger
}

interface Held {
  readonly pipeline: Pipeline
  readonly verdict: PassVerdict
}

interface Ended {
  /** Resolves once every policy that began to judge has done so. */
  end(): Promise<PassageEnd>
}

const passages = new WeakMap<EgRequest, Passage & Ended>()

/** To be asked once the response is closed. Undefined when no policy of this pack saw the request. */
export async function endedPassage(request: EgRequest): Promise<PassageEnd | undefined> {
  return passages.get(request)?.end()
}

/** The passage of this request; made by whichever policy comes first. */
export function passageOf(request: EgRequest, response: EgResponse, options: PassageOptions): Passage {
  let passage = passages.get(request)
  if (passage === undefined) {
    passage = createPassage(request, response, options)
    passages.set(request, passage)
  }
  return passage
}

function createPassage(request: EgRequest, response: EgResponse, options: PassageOptions): Passage & Ended {
  const { context, path, logger } = options
  const requestId = requestIdOf(request, context)
  const body = createRequestBody(request, context.requestStream)
  const held: Held[] = []
  let replaced = false
  let settled: Outcome | undefined
  const judged: Promise<Judgement>[] = []
  const readers = new Map<Pipeline, ReplyReaders>()
  let forwarded: PassThrough | undefined
  let foreign: Readable | undefined
  const call = createUpstreamCall({
    request,
    response,
    logger,
    plan: tapPlan,
    begins(reply) {
      for (const { pipeline, verdict } of held) {
        Object.assign(reply.headers, verdict.replyHeaders)
        const reader = pipeline.readReply(verdict.reservations)
        if (reader !== undefined) readers.set(pipeline, reader)
      }
    },
    data(chunk) {
      for (const reader of readers.values()) reader.push(chunk)
    },
    ended: (how) => settle(call.outcome(how)),
    unreadable() {
      judging('express-gateway', undefined, Promise.resolve(UNAVAILABLE))
      refuse(UNAVAILABLE)
    },
  })

  function settle(outcome: Outcome): void {
    if (settled !== undefined) return
    settled = outcome
    for (const { pipeline, verdict } of held) void pipeline.settle(verdict.reservations, outcome)
  }

  function editedBody(): Uint8Array | undefined {
    return held.map(({ verdict }) => verdict.request.body).findLast((bytes) => bytes !== undefined)
  }

  /** Runs when the proxy policy asks for the body, which is the last thing it does before it sends. */
  function forward(): PassThrough {
    removeCredentials(request, options.credentials)
    delete request.headers.expect
    if (isNobody(request)) delete request.headers['eg-consumer-id']
    for (const { verdict } of held) editHeaders(request, verdict.request)
    if (tapPlan() !== undefined) request.headers['accept-encoding'] = 'identity'
    const { stream, length } = body.forward(editedBody())
    if (length !== undefined) {
      request.headers['content-length'] = String(length)
      delete request.headers['transfer-encoding']
    }
    const pipe = stream.pipe.bind(stream)
    stream.pipe = ((destination: ClientRequest) => {
      release(destination)
      return pipe(destination)
    }) as unknown as PassThrough['pipe']
    return stream
  }

  /** @param sent the request to the upstream, before its head has left: the last moment to keep it back */
  function release(sent: ClientRequest): void {
    const differs =
      held.length > 0 && (withoutQuery(withoutOrigin(sent.path)) !== path || sent.method !== request.method)
    if (differs || replaced) {
      const part = replaced ? 'body' : 'path or method'
      logger.error('another policy changed the request after it was judged', { requestId, part })
      judging('express-gateway', undefined, Promise.resolve(UNAVAILABLE))
      refuse(UNAVAILABLE)
    }
    if (differs || replaced || response.destroyed) {
      sent.destroy()
      return
    }
    call.follow(sent)
  }

  function tapPlan(): TapPlan | undefined {
    return held.map(({ verdict }) => verdict.tap).reduce(mergeTaps, undefined)
  }

  function refuse(reject: Reject): void {
    answer(response, reject, { requestId, protocol: protocolOf(request, path) })
    body.discard()
  }

  function judging(policy: string, pipeline: Pipeline | undefined, verdict: Promise<Verdict | Reject>): void {
    const judgement = verdict.then((said) => ({ policy, pipeline, verdict: said }))
    // Whoever asked for the verdict deals with its failure.
    judgement.catch(() => undefined)
    judged.push(judgement)
  }

  function proven(): Proven {
    return Object.assign({}, ...held.map(({ verdict }) => provenBy(verdict)))
  }

  async function end(): Promise<PassageEnd> {
    const judgements = (await Promise.allSettled(judged)).flatMap((one) =>
      one.status === 'fulfilled' ? one.value : [],
    )
    const refusals = judgements.map(({ verdict }) => verdict).filter((verdict) => verdict.type === 'reject')
    return {
      requestId,
      path,
      outcome: settled ?? call.outcome('unknown'),
      upstreamMs: call.waitedMs,
      // Of a refused request the policies before the one that refused may have found out who called.
      proven: Object.assign(proven(), ...refusals.map((refusal: Partial<RejectVerdict>) => provenBy(refusal))),
      verdicts: judgements.flatMap(({ policy, verdict }) => verdictsOf(verdict, policy)),
      judges: new Set(judgements.flatMap(({ pipeline }) => pipeline ?? [])),
      readers,
      reservationsOf: (pipeline) =>
        judgements.filter((judgement) => judgement.pipeline === pipeline).flatMap(({ verdict }) => heldBy(verdict)),
    }
  }

  response.once('close', () => {
    settle(call.end())
    if (response.writableFinished) return
    // http-proxy listens for this; Node itself emits it only while the body is still coming.
    request.emit('aborted')
    call.abort()
  })

  convertErrors(
    response,
    () => !call.relays,
    () => ({ requestId, protocol: protocolOf(request, path) }),
  )
  Object.defineProperty(context, 'requestStream', {
    configurable: true,
    get() {
      // A transformer reads back what it has just set, to write into it.
      if (foreign !== undefined && held.length === 0) return foreign
      forwarded ??= forward()
      return forwarded
    },
    set(stream: Readable) {
      replaced ||= body.wasRead || forwarded !== undefined
      body.replace(stream)
      foreign = withoutCredentials(stream, request, options.credentials)
    },
  })

  return {
    requestId,
    readBody: async (maxBytes) => editedBody() ?? body.read(maxBytes),
    get proven() {
      return proven()
    },
    get over() {
      return response.destroyed || response.writableEnded
    },
    accept(pipeline, verdict) {
      if (settled !== undefined) void pipeline.settle(verdict.reservations, { ended: 'not_forwarded' })
      else held.push({ pipeline, verdict })
    },
    refuse,
    judging,
    end,
  }
}

function editHeaders({ headers }: EgRequest, { removeHeaders = [], setHeaders = {} }: Edits): void {
  for (const name of spelledAs(Object.keys(headers), removeHeaders)) delete headers[name]
  Object.assign(headers, setHeaders)
}

function heldBy(verdict: Verdict | Reject): readonly Reservation[] {
  if (verdict.type === 'pass') return verdict.reservations
  return 'givenBack' in verdict ? (verdict.givenBack ?? []) : []
}

/** The client's own id when it can do no harm in a log, else the gateway's. */
function requestIdOf(request: EgRequest, context: EgContext): string {
  const own = request.headers['x-request-id']
  return typeof own === 'string' && /^[\w.:-]{1,128}$/.test(own) ? own : context.requestID
}
