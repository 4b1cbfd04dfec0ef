/** A token's text, read strictly before anything is believed of it. */

import { RefusedRead } from '../../errors.ts'
import { isObject, type JsonObject, parseJsonBody } from '../../llm/json.ts'
import type { KeyHeader } from './key-set.ts'

/** Longest token worth reading, in characters: twice what nginx takes as one header by default. */
const MAX_TOKEN = 16_384

export type Carried =
  | { readonly type: 'none' }
  /** Some other credential: for whatever authenticates it. */
  | { readonly type: 'other' }
  | { readonly type: 'token'; readonly token: string }

/** What a header carries. Whatever looks like a JWT is one, and must then be a good one. */
export function readCarried(value: string | undefined): Carried {
  if (value === undefined || value.trim() === '') return { type: 'none' }
  if (!/^bearer /i.test(value)) return { type: 'other' }
  const token = value.slice('bearer '.length).trim()
  return token.startsWith('ey') && token.includes('.') ? { type: 'token', token } : { type: 'other' }
}

/** Why a token is refused: fixed text, fit for a header. */
export class TokenRefused extends Error {
  override name = 'TokenRefused'
}

export interface ReadToken {
  readonly header: TokenHeader
  readonly payload: JsonObject
  /** Header and payload as they stand in the token: what the signature is over. */
  readonly signed: string
  readonly signature: Uint8Array<ArrayBuffer>
}

export interface TokenHeader extends KeyHeader {
  readonly typ?: string
}

/** Header parameters that change what is signed or how: none of them has a place in an access token. */
const UNWANTED = ['crit', 'b64', 'zip', 'enc', 'cty', 'p2c', 'p2s', 'epk']

/** Headers that are remembered: an issuer writes the same one into every token. */
const KNOWN_HEADERS = 64

export type TokenReader = (token: string) => ReadToken

/**
 * Reads header and claims of a compact JWS, both without duplicate names. `jku`, `x5u`, `jwk` and `x5c` are not looked at:
 * keys come from the config alone. The reader throws {@link TokenRefused}.
 */
export function createTokenReader(): TokenReader {
  const headers = new Map<string, TokenHeader>()

  function readHeader(part: string): TokenHeader {
    const known = headers.get(part)
    if (known !== undefined) return known
    const header = headerOf(readPart(part))
    if (headers.size >= KNOWN_HEADERS) headers.clear()
    // A copy: a piece of a text keeps all of it in memory, here a whole token.
    headers.set(Buffer.from(part).toString(), header)
    return header
  }

  return (token) => {
    if (token.length > MAX_TOKEN) throw new TokenRefused('The token is too long.')
    const parts = token.split('.', 6)
    if (parts.length === 5) throw new TokenRefused('The token is encrypted; a signed one is needed.')
    if (parts.length !== 3) throw malformed()
    const [head = '', body = '', tail = ''] = parts
    const signature = decode(tail)
    return {
      header: readHeader(head),
      payload: readPart(body),
      signed: token.slice(0, head.length + 1 + body.length),
      signature,
    }
  }
}

function headerOf(header: JsonObject): TokenHeader {
  for (const name of UNWANTED)
    if (Object.hasOwn(header, name)) throw new TokenRefused('The token has a header that is not accepted.')
  const { alg, kid, typ } = header
  if (typeof alg !== 'string') throw malformed()
  if (kid !== undefined && (typeof kid !== 'string' || kid.length > 256)) throw malformed()
  if (typ !== undefined && typeof typ !== 'string') throw malformed()
  return { alg, ...(kid === undefined ? {} : { kid }), ...(typ === undefined ? {} : { typ }) }
}

/** Canonical: without padding, and with unused bits zero. Otherwise many texts would be the same token. */
function decode(part: string): Buffer<ArrayBuffer> {
  const bytes = Buffer.from(part, 'base64url')
  if (bytes.length === 0 || bytes.toString('base64url') !== part) throw malformed()
  return bytes
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
/** Fewer brackets than this cannot nest deeper than the strict reader allows. */
const FEW_BRACKETS = 64

function readPart(part: string): JsonObject {
  const bytes = decode(part)
  const quick = readMinified(bytes)
  if (quick !== undefined) return quick
  try {
    return parseJsonBody(bytes).value
  } catch (error) {
    if (error instanceof RefusedRead) throw malformed()
    throw error
  }
}

/**
 * What almost every issuer writes: JSON just as JSON.stringify would. That such a text has no name twice is sure, as
 * JSON.stringify writes none twice. Undefined for any other text, which needs the strict reader.
 */
function readMinified(bytes: Uint8Array): JsonObject | undefined {
  try {
    const text = utf8.decode(bytes)
    if (!isFlat(text) && text.split(/[[{]/, FEW_BRACKETS).length === FEW_BRACKETS) return undefined
    const value: unknown = JSON.parse(text)
    return isObject(value) && JSON.stringify(value) === text ? value : undefined
  } catch {
    // No UTF-8 or no JSON: the strict reader says so.
    return undefined
  }
}

function isFlat(text: string): boolean {
  return text.indexOf('{', 1) === -1 && text.indexOf('[') === -1
}

function malformed(): TokenRefused {
  return new TokenRefused('The token is malformed.')
}
