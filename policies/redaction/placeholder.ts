/** Placeholders whose keyed tag lets equal values be matched without being recovered. */

import { createHmac, hash } from 'node:crypto'
import { PortcullisError } from '../errors.ts'

export interface TagOptions {
  /** Secret of the HMAC, at least 16 bytes; without it placeholders carry no tag. */
  readonly key?: string | Uint8Array
  /** Whose values these are: tags of different tenants never match. */
  readonly tenant?: string
  /** Epoch milliseconds, from the caller's clock. */
  readonly now?: number
  /** How long equal values keep equal tags, in seconds. Default 86,400; 0 for ever. */
  readonly rotateSeconds?: number
  /** Hex digits of a tag, 4 to 32. Default 4: enough to follow a value through a conversation, too few to test guesses against. */
  readonly tagLength?: number
}

export type Tagger = (type: string, value: string) => string

const DEFAULT_ROTATION = 86_400
const MIN_KEY_BYTES = 16
const CACHED = 256

const BLOCK_BYTES = 64

/**
 * HMAC-SHA-256 (RFC 2104) in hex under one key of at most 64 bytes. Two one-shot hashes cost a fifth of `createHmac`,
 * which makes a key object for every value.
 */
export function hmacSha256(key: Uint8Array): (message: string) => string {
  const inner = Buffer.alloc(BLOCK_BYTES, 0x36)
  const outer = Buffer.alloc(BLOCK_BYTES, 0x5c)
  for (const [i, byte] of key.entries()) {
    inner[i] = byte ^ 0x36
    outer[i] = byte ^ 0x5c
  }
  return (message) => {
    const digest = hash('sha256', Buffer.concat([inner, Buffer.from(message)]), 'buffer')
    return hash('sha256', Buffer.concat([outer, digest]), 'hex')
  }
}

/**
 * Makes placeholders such as `[EMAIL:7f3a]`. The key of a tag is HMAC-SHA-256(key, tenant and period), the tag
 * HMAC-SHA-256(that, type and value), cut.
 * @throws {PortcullisError} `invalid_options` for a short key, a tag length out of range, or a rotation without a clock.
 */
export function createTagger(options: TagOptions): Tagger {
  const { key, tenant = '', now, rotateSeconds = DEFAULT_ROTATION, tagLength = 4 } = options
  if (key === undefined) return (type) => `[${type}]`
  if (Buffer.byteLength(key) < MIN_KEY_BYTES)
    throw new PortcullisError('invalid_options', `key must have at least ${MIN_KEY_BYTES} bytes`)
  if (!Number.isInteger(tagLength) || tagLength < 4 || tagLength > 32)
    throw new PortcullisError('invalid_options', 'tagLength must be an integer from 4 to 32')
  if (!(rotateSeconds >= 0)) throw new PortcullisError('invalid_options', 'rotateSeconds must be 0 or more')
  if (rotateSeconds > 0 && now === undefined)
    throw new PortcullisError('invalid_options', 'now is needed to rotate tags')
  const period = rotateSeconds > 0 ? Math.floor((now ?? 0) / 1000 / rotateSeconds) : 0
  const derived = createHmac('sha256', key).update(`${tenant.length}:${tenant}:${rotateSeconds}:${period}`).digest()
  const mac = hmacSha256(derived)
  const cache = new Map<string, string>()
  return (type, value) => {
    const id = `${type}:${value}`
    const known = cache.get(id)
    if (known !== undefined) return known
    const tag = mac(id).slice(0, tagLength)
    const placeholder = `[${type}:${tag}]`
    if (cache.size >= CACHED) cache.clear()
    cache.set(id, placeholder)
    return placeholder
  }
}
