/** An exchange over what `llm-edge` packed: everything but a large body is here already. */

import { PortcullisError, RefusedRead } from '../../../policies/errors.ts'
import { queryNames } from '../../../policies/llm/query.ts'
import type { Caller, Exchange, RouteRef } from '../../../policies/policy.ts'
import { FACT_HEADERS, type Facts } from '../shared-context.ts'
import type { KongPdk } from './pdk.ts'
import type { Turn } from './turn.ts'

const ALWAYS_PACKED: ReadonlySet<string> = new Set(FACT_HEADERS)

/** @param maxBodyBytes the most that any policy reads. */
export function exchangeFromFacts(facts: Facts, kong: KongPdk, turn: Turn, maxBodyBytes: number): Exchange {
  let body: Promise<Uint8Array | undefined> | undefined
  return {
    requestId: facts.request_id,
    method: facts.method,
    path: facts.path,
    route: routeRef(facts.route, facts.service),
    queryNames: () => queryNames(facts.query ?? ''),
    header(name) {
      if (facts.headers !== undefined && Object.hasOwn(facts.headers, name)) return facts.headers[name]
      if (name === 'host') return facts.host
      if (ALWAYS_PACKED.has(name) || facts.extra_headers?.includes(name)) return undefined
      return turn.call(() => kong.request.getHeader(name))
    },
    body() {
      body ??= readBody(facts, kong, turn, maxBodyBytes)
      return body
    },
    caller: () => callerOf(facts),
  }
}

async function readBody(
  facts: Facts,
  kong: KongPdk,
  turn: Turn,
  maxBodyBytes: number,
): Promise<Uint8Array | undefined> {
  if (facts.body_in === 'none') return undefined
  const size = facts.body_size ?? 0
  if (size > maxBodyBytes) throw tooLarge(maxBodyBytes)
  const body =
    facts.body_in === 'base64'
      ? (facts.body ?? Buffer.from(facts.body_base64 ?? '', 'base64'))
      : await turn.call(() => kong.request.getRawBody(maxBodyBytes))
  if (body === undefined || body.length !== size)
    throw new PortcullisError('kong_body_differs', 'the body is not as long as llm-edge said')
  return body
}

export function tooLarge(maxBodyBytes: number): RefusedRead {
  return new RefusedRead('request_too_large', `The request body is larger than ${maxBodyBytes} bytes.`)
}

export function routeRef(route: Facts['route'], service: Facts['service']): RouteRef {
  return {
    ...(route === undefined ? {} : { id: route.id }),
    ...(route?.name === undefined ? {} : { name: route.name }),
    ...(service === undefined ? {} : { serviceId: service.id }),
    ...(service?.name === undefined ? {} : { serviceName: service.name }),
  }
}

/** What both sources know of a caller, in Kong's names. */
export type CallerFacts = Pick<Facts, 'address' | 'consumer' | 'credential' | 'groups'>

export function callerOf(facts: CallerFacts): Caller {
  const { consumer, credential } = facts
  return {
    address: facts.address,
    ...(consumer === undefined
      ? {}
      : {
          consumer: {
            id: consumer.id,
            ...(consumer.username === undefined ? {} : { username: consumer.username }),
            ...(consumer.custom_id === undefined ? {} : { customId: consumer.custom_id }),
            tags: consumer.tags ?? [],
            groups: facts.groups ?? [],
          },
        }),
    ...(credential === undefined
      ? {}
      : {
          credential: {
            ...(credential.id === undefined ? {} : { id: credential.id }),
            ...(credential.created_at === undefined ? {} : { createdAt: credential.created_at }),
            ...(credential.fingerprint === undefined ? {} : { fingerprint: credential.fingerprint }),
            tags: credential.tags ?? [],
          },
        }),
  }
}
