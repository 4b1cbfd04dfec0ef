/** Who calls: what Express Gateway's auth policies proved, looked up rather than taken from headers. */

import { createHash } from 'node:crypto'
import type { Caller, Consumer, Credential } from '../../policies/policy.ts'
import type { EgCredential, EgRequest, EgServices } from './eg.ts'
import { asList, asRecord, isRecord, type PipelineConfig } from './pipelines.ts'

/** What the request carried for key-auth. Taken before credentials are removed from it. */
export interface CarriedKey {
  readonly id: string
  readonly fingerprint: string
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

/** Reads the key as key-auth does: the last word of the header, else the query parameter. */
export function carriedKey(request: EgRequest, places: KeyAuthPlaces): CarriedKey | undefined {
  for (const { name, scheme } of places.headers) {
    const value = request.headers[name]
    if (typeof value !== 'string') continue
    const words = value.split(' ')
    if (scheme !== undefined && words[0]?.toLowerCase() !== scheme) continue
    return fromKey(words.at(-1) ?? '')
  }
  const query = new URL(request.originalUrl, 'http://gateway').searchParams
  for (const name of places.query) {
    const value = query.get(name)
    if (value !== null) return fromKey(value)
  }
  return undefined
}

function fromKey(key: string): CarriedKey | undefined {
  const [id = '', secret = ''] = key.split(':')
  if (id === '' || secret === '') return undefined
  return { id, fingerprint: createHash('sha256').update(`${id}:${secret}`).digest('hex').slice(0, 32) }
}

export interface CallerSources {
  readonly services: EgServices
  readonly key: CarriedKey | undefined
  /** An auth policy of the pipeline may leave a token's claims in the consumer's place. */
  readonly mayHoldClaims: boolean
}

export async function callerOf(request: EgRequest, sources: CallerSources): Promise<Caller> {
  const address = request.ip ?? request.socket.remoteAddress ?? ''
  // Only what an auth policy left. The header `eg-consumer-id` is whatever a client sends on an open pipeline.
  const { user } = request
  if (!isRecord(user)) return { address }
  const byKey = await credentialByKey(user, sources)
  if (byKey !== undefined) return { consumer: consumerOf(user), credential: byKey, address }
  if (sources.mayHoldClaims) return { claims: user, address }
  return { consumer: consumerOf(user), credential: tokenCredential(user), address }
}

/**
 * The credential that key-auth accepted. `user.authorizedScopes` would be what the endpoint asks for; what the
 * credential was granted stands only in the store.
 */
async function credentialByKey(
  user: Readonly<Record<string, unknown>>,
  { services, key }: CallerSources,
): Promise<Credential | undefined> {
  if (key === undefined) return undefined
  const credential = await services.credential.getCredential(key.id, 'key-auth')
  if (credential?.isActive !== true || credential.consumerId === undefined) return undefined
  // Express Gateway lets a credential name its consumer by id or by user name.
  if (credential.consumerId !== user.id && credential.consumerId !== user.username) return undefined
  return { ...describe(credential), id: key.id, fingerprint: key.fingerprint }
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
