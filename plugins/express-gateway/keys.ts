/** Where clients put their keys, and how to take them out of a request again. */

import type { ClientRequest } from 'node:http'
import type { Readable } from 'node:stream'
import type { EgRequest } from './eg.ts'

export interface CredentialNames {
  /** In lower case. */
  readonly headers: readonly string[]
  readonly query: readonly string[]
}

const KEY_HEADERS = ['x-api-key', 'api-key', 'x-goog-api-key']
/** Gemini's, and key-auth's own. */
const KEY_QUERY = ['key', 'apiKey']

/** Every place where some SDK or some auth policy of Express Gateway looks for a credential. */
export const WELL_KNOWN: CredentialNames = {
  headers: ['authorization', 'proxy-authorization', ...KEY_HEADERS],
  query: [...KEY_QUERY, 'access_token'],
}

const MAX_KEY = 1024

export type FoundKey =
  | { readonly type: 'none' }
  /** `inBearer`: it stands in `Authorization: Bearer`, where another policy's token could stand as well. */
  | { readonly type: 'key'; readonly key: string; readonly inBearer: boolean }
  | { readonly type: 'refused'; readonly message: string }

/** @param scheme what key-auth expects before a key in `Authorization`. */
export function findKey(request: EgRequest, scheme: string): FoundKey {
  const keys = new Set([
    ...bearerKeys(request),
    ...schemeValues(request, scheme),
    ...KEY_HEADERS.flatMap((name) => request.headersDistinct[name] ?? []),
    ...queryValues(request.originalUrl, KEY_QUERY),
  ])
  keys.delete('')
  const [key, ...others] = keys
  if (key === undefined) return { type: 'none' }
  if (others.length > 0) return { type: 'refused', message: 'The request carries two different API keys.' }
  if (key.length > MAX_KEY || /[^\x21-\x7e]/.test(key)) return { type: 'refused', message: 'The API key is malformed.' }
  return { type: 'key', key, inBearer: bearerKeys(request).length > 0 }
}

function bearerKeys(request: EgRequest): string[] {
  return schemeValues(request, 'bearer').filter((token) => token !== '' && !isJwt(token))
}

function schemeValues(request: EgRequest, scheme: string): string[] {
  return (request.headersDistinct.authorization ?? []).flatMap((value) => {
    const trimmed = value.trim()
    const space = trimmed.search(/\s/)
    return trimmed.slice(0, space).toLowerCase() === scheme.toLowerCase() ? [trimmed.slice(space).trim()] : []
  })
}

/** A token for somebody else to verify: signed (three parts) or encrypted (five). Its header is an object, thus `ey`. */
function isJwt(token: string): boolean {
  return /^ey[\w-]+(?:\.[\w-]*){2}$/.test(token) || /^ey[\w-]+(?:\.[\w-]*){4}$/.test(token)
}

/** Those of `present` that are one of `names`: many an upstream, and the policies, take underscores for dashes. */
export function spelledAs(present: readonly string[], names: readonly string[]): readonly string[] {
  const wanted = new Set(names.map(dashed))
  return present.filter((name) => wanted.has(dashed(name)))
}

function dashed(name: string): string {
  return name.toLowerCase().replaceAll('_', '-')
}

/** Removes credentials from headers and from every form in which Express keeps the URL. */
export function removeCredentials(request: EgRequest, names: CredentialNames): void {
  for (const name of spelledAs(Object.keys(request.headers), names.headers)) delete request.headers[name]
  if (request.url !== undefined) request.url = withoutParameters(request.url, names.query)
  request.originalUrl = withoutParameters(request.originalUrl, names.query)
}

/** A stream that the proxy may pipe upstream by itself: then the head that it goes with loses the client's credentials. */
export function withoutCredentials(stream: Readable, request: EgRequest, names: CredentialNames): Readable {
  const pipe = stream.pipe.bind(stream)
  stream.pipe = ((destination: ClientRequest) => {
    const claims = isNobody(request) ? ['eg-consumer-id'] : []
    for (const name of spelledAs(destination.getHeaderNames(), [...names.headers, ...claims]))
      if (destination.getHeader(name) === request.headers[name]) destination.removeHeader(name)
    return pipe(destination)
  }) as unknown as Readable['pipe']
  return stream
}

/** Then `eg-consumer-id` is the client's own claim to be somebody; else the auth policy wrote it. */
export function isNobody({ user }: EgRequest): boolean {
  return user === undefined || user === null
}

export const KEY_PLACES: CredentialNames = { headers: KEY_HEADERS, query: KEY_QUERY }

export function withoutParameters(url: string, names: readonly string[]): string {
  const start = url.indexOf('?')
  if (start === -1) return url
  const kept = url
    .slice(start + 1)
    .split('&')
    .filter((pair) => !names.includes(parameterName(pair)))
  return kept.length === 0 ? url.slice(0, start) : `${url.slice(0, start)}?${kept.join('&')}`
}

function queryValues(url: string, names: readonly string[]): string[] {
  const start = url.indexOf('?')
  if (start === -1) return []
  return url
    .slice(start + 1)
    .split('&')
    .filter((pair) => names.includes(parameterName(pair)))
    .map((pair) => decode(pair.slice(pair.indexOf('=') + 1 || pair.length)))
}

function parameterName(pair: string): string {
  const end = pair.indexOf('=')
  return decode(end === -1 ? pair : pair.slice(0, end))
}

/** As query parsers do: what cannot be decoded stays as it is. */
function decode(text: string): string {
  const spaced = text.replaceAll('+', ' ')
  try {
    return decodeURIComponent(spaced)
  } catch {
    return spaced
  }
}
