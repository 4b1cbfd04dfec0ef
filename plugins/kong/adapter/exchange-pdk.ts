/** An exchange without `llm-edge`: every read is a round trip, and some things cannot be seen. */

import { PortcullisError } from '../../../policies/errors.ts'
import { queryNames } from '../../../policies/llm/query.ts'
import type { Caller, Exchange } from '../../../policies/policy.ts'
import { callerOf, routeRef, tooLarge } from './exchange-facts.ts'
import type { KongConsumer, KongCredential, KongEntity, KongPdk } from './pdk.ts'
import type { Turn } from './turn.ts'

/** Said once, where an operator looks. */
export const UNSEEN_WITHOUT_EDGE = [
  'headers beyond the hundredth and all but the first of a repeated one',
  'ACL groups',
  'a fingerprint of the credential',
  'the usage in replies, unless ai-proxy logs it',
  'the usage event of a stream, which then also reaches a caller who did not ask for it',
  'a chunked body over the cap (the client gets 500 instead of 413)',
] as const

export async function exchangeFromPdk(kong: KongPdk, turn: Turn, maxBodyBytes: number): Promise<Exchange> {
  const requestId = await turn.call(() => kong.nginx.getVar('kong_request_id'))
  const method = await turn.call(() => kong.request.getMethod())
  const upstream = await turn.call(() => kong.nginx.getVar('upstream_uri'))
  const route = await turn.call(() => kong.router.getRoute())
  const service = await turn.call(() => kong.router.getService())
  if (typeof requestId !== 'string' || typeof method !== 'string' || typeof upstream !== 'string')
    throw new PortcullisError('kong_answer_malformed', 'Kong did not say what the request is')

  const headers = new Map<string, Promise<string | undefined>>()
  function header(name: string): Promise<string | undefined> {
    const known = headers.get(name)
    if (known !== undefined) return known
    const read = turn.call(() => kong.request.getHeader(name))
    headers.set(name, read)
    return read
  }

  let body: Promise<Uint8Array | undefined> | undefined
  async function readBody(): Promise<Uint8Array | undefined> {
    const declared = Number((await header('content-length')) ?? 0)
    if (declared > maxBodyBytes) throw tooLarge(maxBodyBytes)
    const bytes = await turn.call(() => kong.request.getRawBody(maxBodyBytes))
    return bytes === undefined || bytes.length === 0 ? undefined : bytes
  }

  let caller: Promise<Caller> | undefined
  return {
    requestId,
    method,
    path: upstream.split('?', 1)[0] ?? '',
    route: routeRef(entity(route), entity(service)),
    async queryNames() {
      return queryNames((await turn.call(() => kong.nginx.getVar('args'))) ?? '')
    },
    header,
    body() {
      body ??= readBody()
      return body
    },
    caller() {
      caller ??= readCaller(kong, turn)
      return caller
    },
  }
}

async function readCaller(kong: KongPdk, turn: Turn): Promise<Caller> {
  const address = await turn.call(() => kong.client.getForwardedIp())
  const consumer = await turn.call(() => kong.client.getConsumer())
  const credential = await turn.call(() => kong.client.getCredential())
  if (typeof address !== 'string' || address === '')
    throw new PortcullisError('kong_answer_malformed', 'Kong did not say where the request came from')
  return callerOf({
    address,
    ...(isObject(consumer) ? { consumer: consumerFacts(consumer) } : {}),
    ...(isObject(credential) ? { credential: credentialFacts(credential) } : {}),
  })
}

function consumerFacts(consumer: KongConsumer): KongConsumer {
  const { id, username, custom_id, tags } = consumer
  if (typeof id !== 'string') throw new PortcullisError('kong_answer_malformed', 'Kong named a consumer without an id')
  return {
    id,
    ...(typeof username === 'string' ? { username } : {}),
    ...(typeof custom_id === 'string' ? { custom_id } : {}),
    ...(Array.isArray(tags) ? { tags } : {}),
  }
}

/** Picks by name: Kong's credential holds the raw key. */
function credentialFacts(credential: KongCredential): KongCredential {
  const { id, created_at, tags } = credential
  return {
    ...(typeof id === 'string' ? { id } : {}),
    ...(typeof created_at === 'number' ? { created_at } : {}),
    ...(Array.isArray(tags) ? { tags } : {}),
  }
}

function entity(value: KongEntity | undefined): KongEntity | undefined {
  if (!isObject(value) || typeof value.id !== 'string') return undefined
  return { id: value.id, ...(typeof value.name === 'string' ? { name: value.name } : {}) }
}

function isObject<T extends object>(value: T | undefined | null): value is T {
  return typeof value === 'object' && value !== null
}
