/** Who calls: what Express Gateway's auth policies proved, looked up rather than taken from headers. */

import { createHash, timingSafeEqual } from 'node:crypto'
import { isIPv4, isIPv6, SocketAddress } from 'node:net'
import type { Caller, Consumer, Credential } from '../../policies/policy.ts'
import type { EgCredential, EgRequest, EgServices } from './eg.ts'
import { asList, asRecord, isRecord, type PipelineConfig } from './pipelines.ts'

/** What the request carried for key-auth, true or not. Taken before credentials are removed from it. */
export interface CarriedKey {
  readonly id: string
  readonly secret: string
}

/** How the pipeline's key-auth steps look for keys. */
export interface KeyAuthPlaces {
  readonly headers: readonly { readonly name: string; readonly scheme: string | undefined }[]
  readonly query: readonly string[]
}

export function keyAuthPlaces(pipeline: PipelineConfig): KeyAuthPlaces {
  const steps = pipeline.policies.filter((policy) => policy.name === 'key-auth').flatMap((policy) => policy.steps)
  return {
    headers: steps
      .filter(({ action }) => action.disableHeaders !== true)
      .map(({ action }) => ({
        name: String(action.apiKeyHeader ?? 'Authorization').toLowerCase(),
        scheme:
          action.disableHeadersScheme === true
            ? undefined
            : String(action.apiKeyHeaderScheme ?? 'apiKey').toLowerCase(),
      })),
    query: steps
      .filter(({ action }) => action.disableQueryParam !== true)
      .map(({ action }) => String(action.apiKeyField ?? 'apiKey')),
  }
}

/**
 * Every key that some step of key-auth could have read: the last word of its header, or its query parameter. Which step
 * ran, and what it took, nobody says.
 */
export function carriedKeys(request: EgRequest, places: KeyAuthPlaces): readonly CarriedKey[] {
  const inHeaders = places.headers.flatMap(({ name, scheme }) => {
    const words = String(request.headers[name] ?? '').split(' ')
    return scheme === undefined || words[0]?.toLowerCase() === scheme ? (words.at(-1) ?? '') : []
  })
  const query = new URLSearchParams(request.originalUrl.split('?').slice(1).join('?'))
  const texts = [...inHeaders, ...places.query.map((name) => query.get(name) ?? '')]
  return [...new Set(texts)].flatMap((text) => {
    const [id = '', secret = ''] = text.split(':')
    return id === '' || secret === '' ? [] : { id, secret }
  })
}

export interface CallerSources {
  readonly services: EgServices
  readonly keys: readonly CarriedKey[]
  /** An auth policy of the pipeline may leave a token's claims in the consumer's place. */
  readonly mayHoldClaims: boolean
}

export async function callerOf(request: EgRequest, sources: CallerSources): Promise<Caller> {
  const address = plainAddress(request.ip ?? request.socket.remoteAddress ?? '')
  // Only what an auth policy left. The header `eg-consumer-id` is whatever a client sends on an open pipeline.
  const { user } = request
  if (!isRecord(user)) return { address }
  const byKey = await credentialByKey(user, sources)
  if (byKey !== undefined) return { consumer: consumerOf(user), credential: byKey, address }
  if (sources.mayHoldClaims) return { claims: user, address }
  return { consumer: consumerOf(user), credential: tokenCredential(user), address }
}

const MAPPED = '::ffff:'

/** A socket that listens for IPv6 as well writes an IPv4 caller as ::ffff:192.0.2.1. */
function plainAddress(address: string): string {
  if (!/^[0:]+:ffff:[^%]+$/i.test(address) || !isIPv6(address)) return address
  const canonical = new SocketAddress({ address, family: 'ipv6' }).address
  const rest = canonical.slice(MAPPED.length)
  return canonical.startsWith(MAPPED) && isIPv4(rest) ? rest : address
}

/**
 * The credential that key-auth accepted. `user.authorizedScopes` would be what the endpoint asks for; what the
 * credential was granted stands only in the store.
 */
async function credentialByKey(
  user: Readonly<Record<string, unknown>>,
  { services, keys }: CallerSources,
): Promise<Credential | undefined> {
  for (const { id, secret } of keys) {
    const credential = await services.credential.getCredential(id, 'key-auth')
    if (credential?.isActive !== true || credential.consumerId === undefined) continue
    // Another step may have let the caller in: whoever only knows the id must not pass for the key's owner.
    if (credential.keySecret === undefined || !isSame(secret, credential.keySecret)) continue
    // Express Gateway lets a credential name its consumer by id or by user name.
    if (credential.consumerId !== user.id && credential.consumerId !== user.username) continue
    return { ...describe(credential), id, fingerprint: digest(`${id}:${secret}`).toString('hex').slice(0, 32) }
  }
  return undefined
}

function isSame(one: string, other: string): boolean {
  return timingSafeEqual(digest(one), digest(other))
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

function describe(credential: EgCredential): Credential {
  const createdAt = Math.floor(Date.parse(credential.createdAt ?? '') / 1_000)
  return {
    tags: [],
    scopes: asList(credential.scopes).map(String),
    ...(Number.isFinite(createdAt) ? { createdAt } : {}),
  }
}

/** Of basic-auth, oauth2 and jwt only what the gateway itself attached is known. */
function tokenCredential(user: Readonly<Record<string, unknown>>): Credential {
  const token = asRecord(user.token)
  return {
    tags: [],
    ...(typeof token.id === 'string' ? { id: token.id } : {}),
    ...(token.scopes === undefined ? {} : { scopes: asList(token.scopes).map(String) }),
  }
}

export function consumerOf(user: Readonly<Record<string, unknown>>): Consumer {
  return {
    id: String(user.id),
    ...(typeof user.username === 'string' ? { username: user.username } : {}),
    tags: tagsOf(user.tags),
    groups: [],
  }
}

/** Express Gateway keeps lists as comma-separated text. */
function tagsOf(value: unknown): string[] {
  return asList(value)
    .flatMap((item) => String(item).split(','))
    .map((item) => item.trim())
    .filter((item) => item !== '')
}

export function mayHoldClaims(pipeline: PipelineConfig): boolean {
  return pipeline.policies.some(
    ({ name, steps }) =>
      name === 'oauth2-introspect' ||
      (name === 'jwt' && steps.some(({ action }) => action.checkCredentialExistence === false)) ||
      (name === 'oauth2' && steps.some(({ action }) => asRecord(action.jwt).checkCredentialExistence === false)),
  )
}
